//! Registrations at once and again: one address has one user, and one key makes one.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{ADA, Answer, App, PASSWORD, all_at_once};

fn ada() -> Value {
    json!({"email": ADA, "password": PASSWORD, "name": "Ada"})
}

async fn with_key(app: &App, key: &str, body: &Value) -> Answer {
    app.send(app.request(Method::POST, "/register").header("Idempotency-Key", key).json(body)).await
}

/// The users who have anything in the log.
async fn users(app: &App) -> BTreeSet<String> {
    let items = app.items(&app.tables.events).await;
    items.iter().map(|item| item["user"].as_s().unwrap().clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_refused_whatever_else_is_asked() {
    let app = App::start().await;
    let user = app.register().await;
    for body in [ada(), json!({"email": " ADA@example.COM", "password": "another long password"})] {
        app.post("/register", body.clone()).await.is_problem(409, "address-taken");
        with_key(&app, "key", &body).await.is_problem(409, "address-taken");
    }
    assert_eq!(users(&app).await, BTreeSet::from([user.clone()]));
    assert_eq!(app.events(&user).await, ["UserRegistered"]);
    assert_eq!(app.login(PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_registrations_of_one_address_at_once_one_succeeds() {
    let app = Arc::new(App::start().await);
    let tasks = (0..50).map(|_| {
        let app = Arc::clone(&app);
        async move { app.post("/register", ada()).await }
    });
    let (registered, refused): (Vec<_>, Vec<_>) =
        all_at_once(tasks).await.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((registered.len(), refused.len()), (1, 49));
    for answer in refused {
        answer.is_problem(409, "address-taken");
    }
    let user = registered[0].text_of("user_id");
    assert_eq!(users(&app).await, BTreeSet::from([user.clone()]));
    // A commit and a vault.
    assert_eq!(app.items(&app.tables.events).await.len(), 2);
    assert_eq!(app.login(PASSWORD).await.text_of("user_id"), user);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_makes_one_user_and_one_answer_fifty_times_at_once_and_again_later() {
    let app = Arc::new(App::start().await);
    let tasks = (0..50).map(|_| {
        let app = Arc::clone(&app);
        async move { with_key(&app, "key", &ada()).await }
    });
    let answers = all_at_once(tasks).await;
    let first = answers[0].clone();
    assert_eq!(first.status, 201, "{first:?}");
    for answer in answers {
        assert_eq!(answer, first);
    }
    assert_eq!(users(&app).await, BTreeSet::from([first.text_of("user_id")]));
    assert_eq!(app.items(&app.tables.events).await.len(), 2);

    // Later, when the log has gone on, and however the same address is written.
    app.signed_in().await;
    app.pass(chrono::TimeDelta::days(400));
    assert_eq!(with_key(&app, "key", &ada()).await, first);
    let mut shouted = ada();
    shouted["email"] = json!("ADA@EXAMPLE.COM");
    assert_eq!(with_key(&app, "key", &shouted).await, first);

    with_key(&app, "another key", &ada()).await.is_problem(409, "address-taken");
    let mut renamed = ada();
    renamed["name"] = json!("Augusta");
    with_key(&app, "key", &renamed).await.is_problem(409, "address-taken");
    assert_eq!(users(&app).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_gets_its_answer_even_after_the_address_has_changed_hands() {
    let app = App::start().await;
    let first = with_key(&app, "key", &ada()).await;
    assert_eq!(first.status, 201, "{first:?}");
    let row = app.items(&app.tables.identifiers).await.remove(0);
    let identifier = row["identifier"].clone();
    let delete = app.raw.delete_item().table_name(&app.tables.identifiers).key("identifier", identifier);
    delete.send().await.unwrap();
    assert_eq!(with_key(&app, "key", &ada()).await, first, "the address is free");
    assert!(app.items(&app.tables.identifiers).await.is_empty(), "and stays so");

    let newcomer = app.post("/register", ada()).await;
    assert_eq!(newcomer.status, 201, "{newcomer:?}");
    assert_ne!(newcomer.text_of("user_id"), first.text_of("user_id"));
    assert_eq!(with_key(&app, "key", &ada()).await, first, "the address is the newcomer's");
    let row = app.items(&app.tables.identifiers).await.remove(0);
    assert_eq!(row["user"], AttributeValue::S(newcomer.text_of("user_id")));
    assert_eq!(users(&app).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_password_of_a_key_stands() {
    let app = App::start().await;
    let first = with_key(&app, "key", &ada()).await;
    let mut changed = ada();
    changed["password"] = json!("another long password");
    assert_eq!(with_key(&app, "key", &changed).await, first);
    app.login("another long password").await.is_problem(401, "sign-in-refused");
    assert_eq!(app.login(PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_for_two_addresses_makes_two_users() {
    let app = App::start().await;
    let first = with_key(&app, "key", &ada()).await;
    let bob = json!({"email": "bob@example.com", "password": PASSWORD, "name": "Ada"});
    let second = with_key(&app, "key", &bob).await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    assert_ne!(first.text_of("user_id"), second.text_of("user_id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_one_text_of_1_to_255_ascii_characters() {
    let app = App::start().await;
    let (long, longest) = ("k".repeat(256), "k".repeat(255));
    let sent = |keys: &[&[u8]]| {
        let request = app.request(Method::POST, "/register").json(&ada());
        app.send(keys.iter().fold(request, |request, key| request.header("Idempotency-Key", *key)))
    };
    for (keys, detail) in [
        (vec![&b""[..]], "must not be empty"),
        (vec![long.as_bytes()], "must have at most 255 characters"),
        (vec!["schlüssel".as_bytes()], "must have only visible ASCII characters"),
        (vec![&b"\xff"[..]], "must have only visible ASCII characters"),
        (vec![&b"a\tkey"[..]], "must have only visible ASCII characters"),
        (vec![&b"key,key"[..]], "must not have a comma"),
        (vec![&b","[..]], "must not have a comma"),
        (vec![&b"key"[..], b"key"], "stands there more than once"),
        (vec![&b"key"[..], b"other"], "stands there more than once"),
    ] {
        let answer = sent(&keys).await;
        answer.is_problem(422, "invalid");
        assert_eq!(answer.json()["errors"], json!([{"field": "Idempotency-Key", "detail": detail}]));
    }
    assert!(users(&app).await.is_empty());
    assert_eq!(sent(&[longest.as_bytes()]).await.status, 201);
}
