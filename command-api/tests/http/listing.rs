//! `/me/sessions`: one's own sessions, which of them is which, and the end of those that should not be.

use std::sync::Arc;

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{ADA, Answer, App, PASSWORD, all_at_once};

async fn sign_in_as(app: &App, agent: &str) -> Answer {
    let request = app.request(Method::POST, "/login").header("User-Agent", agent);
    let answer = app.send(request.json(&json!({"email": ADA, "password": PASSWORD}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

fn access(answer: &Answer) -> String {
    answer.text_of("access_token")
}

fn path(answer: &Answer) -> String {
    format!("/me/sessions/{}", answer.text_of("session_id"))
}

async fn listed(app: &App, token: &str) -> Vec<Value> {
    let answer = app.get("/me/sessions", token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["sessions"].as_array().unwrap().clone()
}

fn clients(listed: &[Value]) -> Vec<&str> {
    listed.iter().map(|session| session["client"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_every_session_and_which_is_this_one_whatever_the_view_knows() {
    let app = App::start().await;
    let user = app.register().await;
    let phone = sign_in_as(&app, "phone").await;
    app.project(&user).await;
    app.pass(TimeDelta::minutes(1));
    let laptop = sign_in_as(&app, "laptop").await;
    app.pass(TimeDelta::minutes(1));
    let phone = app.refresh(&phone.text_of("refresh_token")).await;
    let shown = listed(&app, &access(&laptop)).await;
    assert_eq!(
        shown,
        [
            json!({
                "session_id": phone.text_of("session_id"), "current": false, "client": "phone", "address": null,
                "signed_in_at": "2100-01-01T00:00:00Z", "refreshed_at": "2100-01-01T00:02:00.000Z",
                "expires_at": "2100-01-08T00:02:00Z",
            }),
            json!({
                "session_id": laptop.text_of("session_id"), "current": true, "client": "laptop", "address": null,
                "signed_in_at": "2100-01-01T00:01:00Z", "refreshed_at": null,
                "expires_at": "2100-01-08T00:01:00Z",
            }),
        ]
    );
    let currents: Vec<_> =
        listed(&app, &access(&phone)).await.iter().map(|one| one["current"].clone()).collect();
    assert_eq!(currents, [true, false]);
    // Of two strangers neither sees the other's.
    app.register_as("bob@example.com", PASSWORD).await;
    let bob = app.login_as("bob@example.com", PASSWORD).await;
    assert_eq!(listed(&app, &access(&bob)).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_have_ended_in_any_way_are_not_listed() {
    let app = App::start().await;
    app.register().await;
    let idle = sign_in_as(&app, "idle").await;
    let copied = sign_in_as(&app, "test").await;
    let signed_out = sign_in_as(&app, "signed out").await;
    app.pass(TimeDelta::days(1));
    assert_eq!(app.refresh(&copied.text_of("refresh_token")).await.status, 200);
    let last = sign_in_as(&app, "last").await;
    let token = access(&last);
    assert_eq!(clients(&listed(&app, &token).await), ["idle", "test", "signed out", "last"]);
    let signed_out = app.refresh(&signed_out.text_of("refresh_token")).await;
    assert_eq!(app.logout(&access(&signed_out)).await.status, 204);
    app.pass(TimeDelta::seconds(11));
    app.refresh(&copied.text_of("refresh_token")).await.is_problem(400, "invalid-grant");
    assert_eq!(clients(&listed(&app, &token).await), ["idle", "last"]);
    app.pass(TimeDelta::days(6));
    let last = app.refresh(&last.text_of("refresh_token")).await;
    assert_eq!(clients(&listed(&app, &access(&last)).await), ["last"]);
    // Nor can they be ended; the sign-in is fresh again.
    let fresh = sign_in_as(&app, "fresh").await;
    for over in [&idle, &copied, &signed_out] {
        app.delete(&path(over), &access(&fresh)).await.is_problem(404, "not-found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_another_one_and_then_all_others() {
    let app = App::start().await;
    let user = app.register().await;
    let mut begun = Vec::new();
    for agent in ["a", "b", "c", "d"] {
        begun.push(sign_in_as(&app, agent).await);
    }
    let token = access(&begun[3]);
    assert_eq!(app.delete(&path(&begun[1]), &token).await.status, 204);
    app.get("/me", &access(&begun[1])).await.is_problem(401, "bad-token");
    app.refresh(&begun[1].text_of("refresh_token")).await.is_problem(400, "invalid-grant");
    app.delete(&path(&begun[1]), &token).await.is_problem(404, "not-found");
    assert_eq!(clients(&listed(&app, &token).await), ["a", "c", "d"]);
    for _ in 0..2 {
        assert_eq!(app.delete("/me/sessions", &token).await.status, 204);
        assert_eq!(clients(&listed(&app, &token).await), ["d"]);
    }
    for ended in &begun[..3] {
        app.get("/me", &access(ended)).await.is_problem(401, "bad-token");
        app.delete("/me/sessions", &access(ended)).await.is_problem(401, "bad-token");
        app.delete(&path(&begun[3]), &access(ended)).await.is_problem(401, "bad-token");
    }
    // The last one ends itself, which is signing out.
    assert_eq!(app.delete(&path(&begun[3]), &token).await.status, 204);
    app.get("/me/sessions", &token).await.is_problem(401, "bad-token");
    let events = app.events(&user).await;
    assert_eq!(events[5..], ["UserEndedSession", "UserEndedOtherSessions", "UserSignedOut"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_fresh_sign_in_ends_other_sessions_and_any_ends_itself() {
    let app = App::start().await;
    app.register().await;
    let (old, other) = (sign_in_as(&app, "old").await, sign_in_as(&app, "other").await);
    app.pass(TimeDelta::minutes(5) + TimeDelta::seconds(1));
    let token = access(&old);
    for path in ["/me/sessions".to_owned(), path(&other)] {
        let refused = app.delete(&path, &token).await;
        refused.is_problem(401, "insufficient-user-authentication");
        assert!(refused.header("www-authenticate").contains("max_age"));
    }
    assert_eq!(listed(&app, &token).await.len(), 2);
    assert_eq!(app.delete(&path(&old), &token).await.status, 204);
    assert_eq!(clients(&listed(&app, &access(&other)).await), ["other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_ends_a_session_of_somebody_else() {
    let app = App::start().await;
    app.register().await;
    app.register_as("bob@example.com", PASSWORD).await;
    let (ada, bob) = (app.login(PASSWORD).await, app.login_as("bob@example.com", PASSWORD).await);
    let nobodys = "/me/sessions/01890a5d-ac96-774b-bcce-b302099a8057".to_owned();
    for path in [
        path(&ada),
        path(&ada).to_uppercase().replace("/ME/SESSIONS", "/me/sessions"),
        nobodys,
        "/me/sessions/x".into(),
        "/me/sessions/%ff".into(),
    ] {
        app.delete(&path, &access(&bob)).await.is_problem(404, "not-found");
    }
    assert_eq!(app.delete("/me/sessions", &access(&bob)).await.status, 204);
    assert_eq!(app.get("/me", &access(&ada)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_who_end_all_others_at_once_one_is_left() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    let mut tokens = Vec::new();
    for _ in 0..50 {
        tokens.push(access(&app.login(PASSWORD).await));
    }
    let tasks = tokens.clone().into_iter().map(|token| {
        let app = Arc::clone(&app);
        async move { app.delete("/me/sessions", &token).await }
    });
    let answers = all_at_once(tasks).await;
    let mut alive = 0;
    for (token, answer) in tokens.iter().zip(answers) {
        let lives = app.get("/me", token).await.status == 200;
        assert_eq!(answer.status.as_u16(), if lives { 204 } else { 401 }, "{answer:?}");
        alive += usize::from(lives);
    }
    assert_eq!((alive, app.sessions(&user).await), (1, 1));
}
