use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::commit_after;

use crate::client::{ADA, Client, PASSWORD};
use crate::poison::{get, put};
use crate::process::Data;

/// Ada, who registered, signed in and signed out again; her id.
async fn ada(client: &Client) -> String {
    let body = json!({"email": ADA, "password": PASSWORD, "name": "Ada"});
    let user = client.try_post("/register", body).await.unwrap().text_of("user_id");
    let signed_in = client.login(ADA).await;
    assert_eq!(client.logout(&signed_in.text_of("access_token")).await.status, 204);
    user
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_found_by_id_and_by_address_in_any_case_beside_the_server_and_after_it() {
    let data = Data::new();
    let server = data.serve().await;
    let user = ada(&Client::of(&server)).await;

    let history = data.run(&["history", &user]).await;
    assert_eq!((history.code, history.err.as_str()), (Some(0), ""), "{history:?}");
    let lines: Vec<Vec<&str>> = history.out.lines().map(|line| line.split_whitespace().collect()).collect();
    let column = |index: usize| lines.iter().map(|line| line[index]).collect::<Vec<_>>();
    assert_eq!(column(0), ["1", "2", "3"]);
    assert!(column(1).is_sorted());
    assert_eq!(column(2), ["Register", "SignIn", "SignOut"]);
    assert_eq!(column(3), ["UserRegistered", "UserSignedIn", "UserSignedOut"]);
    for time in column(1) {
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok() && time.ends_with('Z'), "{time}");
    }

    for name in [ADA, "ADA@Example.COM", " ada@example.com "] {
        let found = data.run(&["history", name]).await;
        assert_eq!((found.code, &found.out), (Some(0), &history.out), "{name}: {found:?}");
    }
    server.stop().await;
    let found = data.run(&["history", ADA]).await;
    assert_eq!((found.code, &found.out), (Some(0), &history.out), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_columns_of_a_history_are_as_wide_as_what_stands_in_them() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    ada(&client).await;
    let forgot = client.try_post("/password/forgot", json!({ "email": ADA })).await.unwrap();
    assert_eq!(forgot.status, 202);
    let history = data.run(&["history", ADA]).await;
    assert!(history.out.contains("  UserRequestedPasswordReset  {"), "{}", history.out);
    for column in ["User", "{"] {
        let begins: BTreeSet<_> = history.out.lines().map(|line| line.find(column)).collect();
        assert!(history.out.lines().count() == 4 && begins.len() == 1, "{column}: {}", history.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_for_scripts_is_one_object_an_event() {
    let data = Data::new();
    let server = data.serve().await;
    ada(&Client::of(&server)).await;
    let history = data.run(&["history", "--json", ADA]).await;
    assert_eq!((history.code, history.err.as_str()), (Some(0), ""), "{history:?}");
    let events: Vec<Value> = history.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 3);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["version"], index + 1);
        assert!(event["command"]["id"].as_str().unwrap().parse::<domain::CommandId>().is_ok());
        assert!(chrono::DateTime::parse_from_rfc3339(event["at"].as_str().unwrap()).is_ok());
        assert_eq!((&event["address"], &event["agent"]), (&json!("127.0.0.1"), &json!("test")));
        let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["address", "agent", "at", "command", "event", "version"]);
    }
    assert_eq!(events[0]["event"]["UserRegistered"]["email"], ADA);
    assert_eq!(events[0]["event"]["UserRegistered"]["name"], "Ada");
    let session = |event: &Value, name: &str| event["event"][name]["session"].clone();
    assert_eq!(session(&events[1], "UserSignedIn"), session(&events[2], "UserSignedOut"));
    assert!(!history.out.contains(PASSWORD) && !history.out.contains("argon2"), "{}", history.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_unknown_or_nobody_has_no_history() {
    let data = Data::new();
    let server = data.serve().await;
    ada(&Client::of(&server)).await;
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    data.run(&["history", unknown]).await.is_refused(&format!("there is no user {unknown}"));
    data.run(&["history", "eve@example.com"]).await.is_refused("there is no user eve@example.com");
    for malformed in ["ada", "", "01890a5d", "a@b@c", "two\nlines"] {
        data.run(&["history", malformed]).await.is_refused("is neither a user id nor an address");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_breaks_off_is_shown_up_to_the_break() {
    let data = Data::new();
    let server = data.serve().await;
    let user = ada(&Client::of(&server)).await;
    let delete = data.tables().delete_item().table_name("annals-events");
    let delete = delete.key("user", aws_sdk_dynamodb::types::AttributeValue::S(user));
    let commit = aws_sdk_dynamodb::types::AttributeValue::S("commit-0000000002".into());
    delete.key("item", commit).send().await.unwrap();

    let history = data.run(&["history", ADA]).await;
    assert_eq!(history.code, Some(2), "{history:?}");
    assert!(history.out.contains("UserRegistered") && history.out.lines().count() == 1, "{history:?}");
    assert_eq!(history.err, "annals: commit 2 is missing, 3 follows\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_old_form_is_read_everywhere_and_shown_in_todays() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    let user = client.register(ADA).await.text_of("user_id");
    let history = data.run(&["history", ADA, "--json"]).await.json();
    let credential = &history["event"]["UserRegistered"]["credential"];
    let session = "01935a00-0000-7000-8000-0000000005e5";
    let old = json!({"session": session, "ends": 4_133_160_000_u64, "credential": credential, "attempt": 7});
    let events = json!([{"event": {"UserSignedIn": old}, "meta": {"command": "SignIn"}}]).to_string();
    let tables = data.tables();
    let (vault, first) = (get(&tables, &user, "vault").await, get(&tables, &user, "commit-0000000001").await);
    put(&tables, commit_after(&data.keys(), &vault, &first, &events)).await;

    let history = data.run(&["history", ADA, "--json"]).await;
    let shown: Value = serde_json::from_str(history.out.lines().nth(1).unwrap()).unwrap();
    let today = json!({
        "session": session, "ends": 4_133_160_000_u64,
        "password": {"credential": credential, "attempt": 7},
    });
    assert_eq!(shown["event"]["UserSignedIn"], today);
    assert_eq!(data.run(&["state", ADA, "--json"]).await.json()["last_success"], 7);
    assert_eq!(client.login(ADA).await.version(), 3, "the log goes on");
    let verified = data.run(&["verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}
