use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::Function;

use crate::events::{event, post};
use crate::gateway::{ADA, Gateway, Ground, PASSWORD, registration};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The same event as the edge hands it on, seen by the edge from this address.
fn through_the_edge(mut event: Value, viewer: &str) -> Value {
    event["headers"]["x-annals-origin"] = SECRET.into();
    event["headers"]["cloudfront-viewer-address"] = viewer.into();
    event
}

async fn behind_the_edge() -> Gateway {
    let ground = Ground::new().await;
    let mut settings = ground.settings();
    settings.insert("ANNALS_ORIGIN_SECRET", SECRET.to_owned());
    let function: Function = ground.start(&settings).await.unwrap();
    Gateway { ground, function }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_the_edge_what_came_past_it_is_refused() {
    let mut gateway = behind_the_edge().await;
    let through = through_the_edge(event("GET", "/health"), "198.51.100.10:46532");
    assert_eq!(gateway.send(through.clone()).await.status, 200);
    for value in [
        Value::Null,
        "".into(),
        SECRET[1..].into(),
        format!("{SECRET}0").into(),
        SECRET.to_uppercase().into(),
        format!("{SECRET},{SECRET}").into(),
    ] {
        let mut past = through.clone();
        if value.is_null() {
            past["headers"].as_object_mut().unwrap().remove("x-annals-origin");
        } else {
            past["headers"]["x-annals-origin"] = value;
        }
        let refused = gateway.send(past).await;
        refused.is_problem(403, "not-through-the-edge");
        assert_eq!(refused.headers["annals-request-id"].as_str().unwrap().len(), 36);
    }
    // Whatever the path, known or not.
    gateway.send(event("GET", "/nowhere")).await.is_problem(403, "not-through-the-edge");
    gateway.send(registration()).await.is_problem(403, "not-through-the-edge");
    let log = gateway.function.stop().await.join("\n");
    assert!(!log.contains(&SECRET[..16]), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_the_edge_the_address_is_the_one_that_the_edge_saw() {
    let mut gateway = behind_the_edge().await;
    let registered = gateway.send(through_the_edge(registration(), "198.51.100.10:46532")).await;
    let user = registered.text("user_id");
    let login = post("/login", &json!({"email": ADA, "password": PASSWORD}));
    for viewer in ["2001:db8::9:443", "nobody"] {
        assert_eq!(gateway.send(through_the_edge(login.clone(), viewer)).await.status, 200);
    }
    let recorded = gateway.ground.recorded(&user).await;
    let addresses: Vec<_> = recorded.iter().map(|meta| meta.address.as_deref()).collect();
    // Never the gateway's, who saw nothing but the edge.
    assert_eq!(addresses, [Some("198.51.100.10"), Some("2001:db8::9"), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_none_is_named_and_fatal() {
    let ground = Ground::new().await;
    let mut settings: BTreeMap<_, _> = ground.settings();
    for secret in ["", "too-short", "0123456789abcdef 0123456789abcdef"] {
        settings.insert("ANNALS_ORIGIN_SECRET", secret.to_owned());
        let reason = ground.start(&settings).await.unwrap_err().reason();
        assert_eq!(reason, "ANNALS_ORIGIN_SECRET must be 32 to 256 visible ASCII characters");
    }
}
