//! Service keys as an operator looks after them, beside a running server.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use storage::keys::ServiceKeys;
use testkit::Parameters;

use crate::client::{ADA, Client};
use crate::process::{Data, Ended, program, run};

const RINGS: [&str; 7] = ["wrapping", "verifiers", "views", "refresh", "one-time", "pepper", "signing"];

/// The ids of the keys of a ring that are in this state.
async fn ids(data: &Data, ring: &str, state: &str) -> Vec<String> {
    let listed = data.run(&["keys", "list", "--json"]).await.json();
    let keys = listed["keys"].as_array().unwrap().iter();
    let of = keys.filter(|key| key["ring"] == ring && key["state"] == state);
    of.map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

/// Every secret in the file of keys, as it is written there.
fn secrets(data: &Data) -> Vec<String> {
    let keys: Value = serde_json::to_value(data.keys()).unwrap();
    let mut all = vec![keys["identifiers"].as_str().unwrap().to_owned()];
    for ring in keys.as_object().unwrap().values().filter_map(|ring| ring["keys"].as_object()) {
        all.extend(ring.values().map(|key| key.as_str().unwrap().to_owned()));
    }
    all
}

/// As if a ring had been rotated an hour ago.
fn an_hour_later(data: &Data, ring: &str) {
    let path = data.path().join("service-keys.json");
    let mut keys: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for from in keys[ring]["from"].as_object_mut().unwrap().values_mut() {
        let time: DateTime<Utc> = from.as_str().unwrap().parse().unwrap();
        *from = (time - TimeDelta::hours(1)).to_rfc3339().into();
    }
    std::fs::write(&path, keys.to_string()).unwrap();
}

fn shows_none(data: &Data, ended: &Ended) {
    let shown = format!("{}{}", ended.out, ended.err);
    assert!(!secrets(data).iter().any(|secret| shown.contains(secret)), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_and_rotated_ahead_of_their_use_and_never_shown() {
    let data = Data::new();
    data.serve().await.stop().await;
    let listed = data.run(&["keys", "list"]).await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    for ring in RINGS {
        assert!(listed.out.contains(&format!("{ring}: ")), "{}", listed.out);
        let current = ids(&data, ring, "current").await;
        let rotated = data.run(&["keys", "rotate", ring]).await;
        assert_eq!(rotated.code, Some(0), "{rotated:?}");
        assert_eq!(ids(&data, ring, "current").await, current, "not before its time");
        let next = ids(&data, ring, "next").await;
        assert_eq!(next.len(), 1);
        shows_none(&data, &rotated);
        data.run(&["keys", "rotate", ring]).await.is_refused("has a next key already");
        // In an emergency the one that waits makes nothing either, but for those who have not heard of it.
        let now = data.run(&["keys", "rotate", ring, "--now"]).await;
        assert_eq!(now.code, Some(0), "{now:?}");
        assert_ne!(ids(&data, ring, "current").await, current);
        assert_eq!(ids(&data, ring, "former").await, [current, next].concat());
        assert!(ids(&data, ring, "next").await.is_empty());
        shows_none(&data, &now);
    }
    for args in [&["keys", "list"][..], &["keys", "list", "--json"]] {
        shows_none(&data, &data.run(args).await);
    }
    assert!(!data.run(&["keys", "rotate", "identifiers"]).await.err.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_beside_a_server_and_retire_when_nobody_needs_them() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    assert_eq!(client.register(ADA).await.status, 201);
    let body: Value = serde_json::from_str(&client.login(ADA).await.text).unwrap();
    let refresh = body["refresh_token"].as_str().unwrap();
    for ring in ["wrapping", "verifiers", "refresh"] {
        let old = ids(&data, ring, "current").await.remove(0);
        data.run(&["keys", "retire", ring, &old]).await.is_refused("is the current one of the ring");
        assert_eq!(data.run(&["keys", "rotate", ring, "--now"]).await.code, Some(0));
        data.run(&["keys", "retire", ring, &old]).await.is_refused("may still be needed until");
    }
    // Whatever the emergency: what could never be opened again is not given up, nor what may be made just now.
    for ring in ["wrapping", "verifiers"] {
        let old = ids(&data, ring, "former").await.remove(0);
        let hurried = data.run(&["keys", "retire", ring, &old, "--force"]).await;
        hurried.is_refused("may still be needed until");
        an_hour_later(&data, ring);
    }
    let old = ids(&data, "wrapping", "former").await.remove(0);
    let refused = data.run(&["keys", "retire", "wrapping", &old, "--force"]).await;
    refused.is_refused("1 data keys are wrapped with the key");
    let done = data.run(&["keys", "rewrap", "--json"]).await.json();
    assert_eq!((&done["vaults"], &done["data_keys"], &done["verifiers"]), (&1.into(), &1.into(), &1.into()));
    let again = data.run(&["keys", "rewrap", "--json"]).await.json();
    assert_eq!(
        (&again["vaults"], &again["data_keys"], &again["verifiers"]),
        (&1.into(), &0.into(), &0.into())
    );
    for ring in ["wrapping", "verifiers"] {
        let old = ids(&data, ring, "former").await.remove(0);
        let retired = data.run(&["keys", "retire", ring, &old, "--force"]).await;
        assert_eq!(retired.code, Some(0), "{retired:?}");
        assert!(ids(&data, ring, "former").await.is_empty());
        data.run(&["keys", "retire", ring, &old])
            .await
            .is_refused(&format!("the ring {ring} has no key {old}"));
    }
    // The server reads what it does not know, and goes on.
    assert_eq!(client.login(ADA).await.status, 200);
    assert_eq!(client.refresh(refresh).await.status, 200);
    // The old key of refresh tokens is needed by what was just refreshed or not at all; forced, it costs those sessions.
    let old = ids(&data, "refresh", "former").await.remove(0);
    let retired = data.run(&["keys", "retire", "refresh", &old, "--force", "--json"]).await.json();
    assert_eq!(retired["ring"], "refresh");
    server.stop().await;
    let verified = data.run(&["verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pepper_retires_when_nobody_needs_it_or_those_who_do_have_to_reset_their_password() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    for address in [ADA, "bob@example.com"] {
        assert_eq!(client.register(address).await.status, 201);
    }
    let body: Value = serde_json::from_str(&client.login("bob@example.com").await.text).unwrap();
    let bobs = body["refresh_token"].as_str().unwrap().to_owned();
    let old = ids(&data, "pepper", "current").await.remove(0);
    assert_eq!(data.run(&["keys", "rotate", "pepper", "--now"]).await.code, Some(0));
    // A server reads the new ring for the first verifier that names it: made by another process.
    server.stop().await;
    let server = data.serve().await;
    let client = Client::of(&server);
    assert_eq!(client.login(ADA).await.status, 200);
    let retire = ["keys", "retire", "pepper", &old, "--force"];
    data.run(&retire).await.is_refused("1 verifiers need the key");
    let retired = data.run(&[&retire[..], &["--disable-those-left", "--json"]].concat()).await.json();
    assert_eq!((&retired["disabled"], &retired["lost"]), (&1.into(), &0.into()));
    server.stop().await;
    let server = data.serve().await;
    let client = Client::of(&server);
    assert_eq!(client.login(ADA).await.status, 200);
    assert_eq!(client.login("bob@example.com").await.status, 401, "until he resets it");
    assert_eq!(client.refresh(&bobs).await.status, 200, "his session goes on");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_stack_are_made_once_and_rotated_in_the_parameter_store() {
    let parameters = Parameters::start().await;
    let on_the_stack = |args: &[&str]| {
        let mut command = program();
        command.args(args).envs([
            ("AWS_ENDPOINT_URL", parameters.endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ]);
        run(command)
    };
    let command = ["keys", "make", "--stack", "prod", "--json"];
    let made = on_the_stack(&command).await.json();
    assert_eq!(made["made"].as_array().unwrap().len(), 10, "{made}");
    let values = parameters.values();
    assert!(values["/annals/prod/keys/deployment"].starts_with("\"prod-"), "{values:?}");
    let again = on_the_stack(&command).await.json();
    assert_eq!(again["kept"].as_array().unwrap().len(), 10, "{again}");
    assert_eq!(parameters.values(), values);
    let deployment =
        r#"{"events":"e","identifiers":"i","views":"v","sessions":"s","issuer":"https://a.example"}"#;
    parameters.put("/annals/prod/deployment", deployment);
    let rotated = on_the_stack(&["keys", "rotate", "signing", "--stack", "prod"]).await;
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    let listed = on_the_stack(&["keys", "list", "--stack", "prod", "--json"]).await.json();
    let next: Vec<&Value> =
        listed["keys"].as_array().unwrap().iter().filter(|key| key["state"] == "next").collect();
    assert_eq!((next.len(), &next[0]["ring"]), (1, &"signing".into()));
    let kid = next[0]["id"].as_str().unwrap();
    assert!(parameters.values()["/annals/prod/keys/public"].contains(kid), "published for the authorizer");
    // As somebody left it who died before the last writing.
    parameters.put("/annals/prod/keys/public", &values["/annals/prod/keys/public"]);
    let listed = on_the_stack(&["keys", "list", "--stack", "prod"]).await;
    assert!(listed.code == Some(0) && listed.err.contains("`annals keys make` mends that"), "{listed:?}");
    let mended = on_the_stack(&["keys", "make", "--stack", "prod"]).await;
    assert!(mended.out.contains("/annals/prod/keys/public was not that of the keys that sign"), "{mended:?}");
    assert!(parameters.values()["/annals/prod/keys/public"].contains(kid));
    let listed = on_the_stack(&["keys", "list", "--stack", "prod"]).await;
    assert_eq!((listed.code, listed.err.as_str()), (Some(0), ""));
    on_the_stack(&["keys", "make", "--prefix", "nonsense"]).await.is_refused("must be a path");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_of_before_one_time_tokens_is_completed_by_the_server() {
    let data = Data::new();
    data.serve().await.stop().await;
    let path = data.path().join("service-keys.json");
    let mut earlier = serde_json::to_value(data.keys()).unwrap();
    earlier.as_object_mut().unwrap().remove("one_time");
    std::fs::write(&path, earlier.to_string()).unwrap();
    data.run(&["keys", "list"]).await.is_refused("malformed");
    data.serve().await.stop().await;
    let completed = ServiceKeys::open(&path).unwrap();
    assert_eq!(serde_json::to_value(&completed).unwrap()["refresh"], earlier["refresh"]);
}
