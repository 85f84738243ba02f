//! `PATCH /me`: a merge patch of the profile, on condition of what the client has seen of it.

use std::sync::Arc;

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, App, all_at_once};

/// Ada, signed in: the app, her id and her access token.
async fn ada() -> (App, String, String) {
    let app = App::start().await;
    let user = app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    (app, user, token)
}

async fn patch_if(app: &App, token: &str, if_match: &[&str], name: Value) -> Answer {
    let request = app.request(Method::PATCH, "/me").bearer_auth(token).json(&json!({ "name": name }));
    app.send(if_match.iter().fold(request, |request, value| request.header("If-Match", *value))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_is_answered_with_the_profile_and_read_back() {
    let (app, user, token) = ada().await;
    app.pass(TimeDelta::minutes(1));
    let renamed = app.patch_me(&token, json!({"name": " Augusta\u{301} "})).await;
    assert_eq!(renamed.status, 200, "{renamed:?}");
    assert_eq!((renamed.header("etag"), renamed.header("annals-version")), ("\"3\"", "3"));
    let profile = renamed.json();
    assert_eq!((profile["name"].as_str(), profile["user_id"].as_str()), (Some("August\u{e1}"), Some(&*user)));
    assert_ne!(profile["created_at"], profile["updated_at"]);
    assert_eq!(app.get("/me?min_version=3", &token).await, renamed);
    app.project(&user).await;
    assert_eq!(app.get("/me", &token).await, renamed);
    assert_eq!(app.events(&user).await, ["UserRegistered", "UserSignedIn", "UserRenamed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn null_takes_the_name_away_and_what_is_left_out_stays() {
    let (app, user, token) = ada().await;
    let same = app.patch_me(&token, json!({})).await;
    assert_eq!((same.status.as_u16(), same.header("etag")), (200, "\"1\""));
    assert_eq!(same.json()["name"], "Ada");
    let nameless = app.patch_me(&token, json!({"name": null})).await;
    assert_eq!((nameless.header("etag"), &nameless.json()["name"]), ("\"3\"", &Value::Null));
    // Nothing is left to do, and nothing is appended.
    assert_eq!(app.patch_me(&token, json!({"name": null})).await, nameless);
    assert_eq!(app.events(&user).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn if_match_lets_nobody_write_over_what_they_have_not_seen() {
    let (app, user, token) = ada().await;
    assert_eq!(patch_if(&app, &token, &["\"1\""], json!("Augusta")).await.header("etag"), "\"3\"");
    for stale in ["\"1\"", "\"2\"", "\"03\"", "\"\"", "W/\"3\"", "\"x\"", "\"1\", \"2\"", "\"+3\""] {
        patch_if(&app, &token, &[stale], json!("Byron")).await.is_problem(412, "profile-changed");
    }
    // The answer was lost, say: whoever asks for the same again is not told that somebody else was quicker.
    assert_eq!(patch_if(&app, &token, &["\"1\""], json!("Augusta")).await.status, 200);
    for (name, good) in [("A", "*"), ("B", "\"1\",\"4\""), ("C", " \"5\" , W/\"9\"")] {
        assert_eq!(patch_if(&app, &token, &[good], json!(name)).await.status, 200, "{good}");
    }
    assert_eq!(patch_if(&app, &token, &["\"1\"", "\"6\""], json!("D")).await.status, 200);
    assert_eq!(app.events(&user).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_is_not_acceptable_names_what_is_wrong_and_changes_nothing() {
    let (app, user, token) = ada().await;
    for if_match in ["1", "\"", "\"1\" \"2\"", "\"1", "\"1\"2\"", "1, \"2\""] {
        let refused = patch_if(&app, &token, &[if_match], json!("Augusta")).await;
        refused.is_problem(422, "invalid");
        assert_eq!(refused.json()["errors"][0]["field"], "If-Match", "{if_match}");
    }
    for (patch, fields) in [
        (json!({"name": ""}), vec!["name"]),
        (json!({"name": 7}), vec!["name"]),
        (json!({"name": {"first": "Ada"}}), vec!["name"]),
        (json!({"name": "A\u{0}"}), vec!["name"]),
        (json!({"name": "x".repeat(201)}), vec!["name"]),
        (json!({"email": "eve@example.com"}), vec!["email"]),
        (json!({"name": 1, "status": "admin"}), vec!["name", "status"]),
        (json!([]), vec![""]),
        (json!(null), vec![""]),
    ] {
        let refused = app.patch_me(&token, patch.clone()).await;
        refused.is_problem(422, "invalid");
        let errors = refused.json()["errors"].as_array().unwrap().clone();
        let named: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{patch}");
    }
    assert_eq!(app.events(&user).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_patch_may_say_that_it_is_one_and_other_bodies_may_not() {
    let (app, _, token) = ada().await;
    let sent = |method, path: &str, content_type: &str, body: &'static str| {
        let request = app.request(method, path).bearer_auth(&token).header("content-type", content_type);
        app.send(request.body(body))
    };
    let merge = "application/merge-patch+json; charset=utf-8";
    assert_eq!(sent(Method::PATCH, "/me", merge, r#"{"name":"Augusta"}"#).await.status, 200);
    for other in ["application/json-patch+json", "text/plain", "application/x-www-form-urlencoded"] {
        let refused = sent(Method::PATCH, "/me", other, r#"{"name":"Byron"}"#).await;
        refused.is_problem(415, "unsupported-media-type");
    }
    let login = sent(Method::POST, "/login", merge, r#"{"email":"a@b.example","password":"x"}"#).await;
    login.is_problem(415, "unsupported-media-type");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_living_session_changes_the_profile() {
    let (app, user, token) = ada().await;
    let patch = || app.request(Method::PATCH, "/me").json(&json!({"name": "Eve"}));
    app.send(patch()).await.is_problem(401, "no-token");
    app.send(patch().bearer_auth("x")).await.is_problem(401, "bad-token");
    assert_eq!(app.logout(&token).await.status, 204);
    app.send(patch().bearer_auth(&token)).await.is_problem(401, "bad-token");
    assert_eq!(app.events(&user).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_saw_the_same_profile_one_changes_it() {
    let (app, user, token) = ada().await;
    let app = Arc::new(app);
    let tasks = (0..20).map(|number| {
        let (app, token) = (Arc::clone(&app), token.clone());
        async move { patch_if(&app, &token, &["\"1\""], json!(format!("Name {number}"))).await }
    });
    let answers = all_at_once(tasks).await;
    let changed: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(changed.len(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.is_problem(412, "profile-changed");
    }
    let shown = app.get("/me?min_version=3", &token).await;
    assert_eq!(shown.json()["name"], changed[0].json()["name"]);
    assert_eq!(app.events(&user).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_new_names_at_once_are_twenty_commits() {
    let (app, user, token) = ada().await;
    let app = Arc::new(app);
    let tasks = (0..20).map(|number| {
        let (app, token) = (Arc::clone(&app), token.clone());
        async move { app.patch_me(&token, json!({"name": format!("Name {number}")})).await }
    });
    for answer in all_at_once(tasks).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(app.events(&user).await.len(), 22);
}
