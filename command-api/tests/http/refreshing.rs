//! Refresh tokens: spent once, the same successor within the grace, and the end of the session for every other copy.

use std::sync::Arc;

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use storage::{Lifetimes, SessionKeys};

use crate::app::{Answer, App, all_at_once};

/// A session: its tokens, and its user.
struct Session {
    access: String,
    refresh: String,
    user: String,
}

async fn begin(app: &App) -> Session {
    let user = app.register().await;
    let body = app.signed_in().await;
    let text = |field: &str| body[field].as_str().unwrap().to_owned();
    Session { access: text("access_token"), refresh: text("refresh_token"), user }
}

impl Session {
    async fn is_alive(&self, app: &App) -> bool {
        app.get("/me", &self.access).await.status == 200
    }

    /// Asserts that the session has ended, because of a copy of a token.
    async fn was_ended(&self, app: &App) {
        app.get("/me", &self.access).await.is_problem(401, "bad-token");
        let events = app.events(&self.user).await;
        assert_eq!(events, ["UserRegistered", "UserSignedIn", "RefreshTokenReused"]);
    }
}

async fn spent(app: &App, token: &str) -> String {
    let answer = app.refresh(token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text_of("refresh_token")
}

async fn as_agent(app: &App, agent: &str, token: &str) -> Answer {
    let request = app.request(Method::POST, "/token/refresh").header("User-Agent", agent);
    app.send(request.json(&json!({ "refresh_token": token }))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_from_token_to_token() {
    let app = App::start().await;
    let mut session = begin(&app).await;
    for _ in 0..5 {
        app.pass(TimeDelta::minutes(20));
        app.get("/me", &session.access).await.is_problem(401, "bad-token");
        let answer = app.refresh(&session.refresh).await;
        assert_eq!(answer.json()["expires_in"], 900);
        assert_eq!(answer.text_of("user_id"), session.user);
        assert_ne!(answer.text_of("refresh_token"), session.refresh);
        session.access = answer.text_of("access_token");
        session.refresh = answer.text_of("refresh_token");
        assert!(session.is_alive(&app).await);
    }
    assert_eq!(
        app.events(&session.user).await,
        ["UserRegistered", "UserSignedIn"],
        "and the log does not grow"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spent_token_yields_the_same_successor_for_ten_seconds() {
    let app = App::start().await;
    let session = begin(&app).await;
    let successor = spent(&app, &session.refresh).await;
    for _ in 0..3 {
        app.pass(TimeDelta::milliseconds(3_333));
        assert_eq!(spent(&app, &session.refresh).await, successor);
    }
    assert!(session.is_alive(&app).await);
    // Not extended by being used: from the tenth second on it is a copy.
    app.pass(TimeDelta::milliseconds(1));
    app.refresh(&session.refresh).await.is_problem(400, "invalid-grant");
    session.was_ended(&app).await;
    app.refresh(&successor).await.is_problem(400, "invalid-grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_has_no_grace() {
    for wait in [0, 1, 5_000] {
        let app = App::start().await;
        let session = begin(&app).await;
        let successor = spent(&app, &session.refresh).await;
        app.pass(TimeDelta::milliseconds(wait));
        as_agent(&app, "another", &session.refresh).await.is_problem(400, "invalid-grant");
        session.was_ended(&app).await;
        app.refresh(&successor).await.is_problem(400, "invalid-grant");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_client_holds_the_current_token_may_spend_it() {
    let app = App::start().await;
    let session = begin(&app).await;
    let answer = as_agent(&app, "updated", &session.refresh).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let next = as_agent(&app, "updated", &session.refresh).await;
    assert_eq!(next.text_of("refresh_token"), answer.text_of("refresh_token"));
    assert!(session.is_alive(&app).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_two_generations_old_ends_the_session_even_within_the_grace() {
    let app = App::start().await;
    let session = begin(&app).await;
    let second = spent(&app, &session.refresh).await;
    let third = spent(&app, &second).await;
    assert_eq!(spent(&app, &second).await, third);
    app.refresh(&session.refresh).await.is_problem(400, "invalid-grant");
    session.was_ended(&app).await;
    app.refresh(&third).await.is_problem(400, "invalid-grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grace_a_spent_token_ends_the_session() {
    let grace = std::time::Duration::ZERO;
    let app = App::with(Lifetimes { grace, ..Lifetimes::default() }).await;
    let session = begin(&app).await;
    spent(&app, &session.refresh).await;
    app.pass(TimeDelta::milliseconds(1));
    app.refresh(&session.refresh).await.is_problem(400, "invalid-grant");
    session.was_ended(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reuse_ends_one_session_and_one_event_says_so() {
    let app = Arc::new(App::start().await);
    let session = begin(&app).await;
    let other = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    spent(&app, &session.refresh).await;
    app.pass(TimeDelta::minutes(1));
    let tasks = (0..20).map(|_| {
        let (app, token) = (Arc::clone(&app), session.refresh.clone());
        async move { app.refresh(&token).await }
    });
    for answer in all_at_once(tasks).await {
        answer.is_problem(400, "invalid-grant");
    }
    assert_eq!(
        app.events(&session.user).await,
        ["UserRegistered", "UserSignedIn", "UserSignedIn", "RefreshTokenReused"]
    );
    assert!(!session.is_alive(&app).await);
    assert_eq!(app.get("/me", &other).await.status, 200, "and the other session goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_of_ours_ends_nothing() {
    let app = App::start().await;
    let session = begin(&app).await;
    let token = &session.refresh;
    let (readable, tag) = token.rsplit_once('.').unwrap();
    let (id, body) = readable.split_once('.').unwrap();
    let elsewhere = SessionKeys::new("elsewhere".to_owned(), app.keys.refresh.clone());
    let elsewhere =
        storage::Sessions::new(app.raw.clone(), app.tables.sessions.clone(), elsewhere, Lifetimes::default());
    let (user, sid) = (session.user.parse().unwrap(), session.user.parse().unwrap());
    let foreign = elsewhere.begin(user, sid, Some("test"), app.now()).unwrap().token;
    let stranger = App::start().await;
    let strange = begin(&stranger).await.refresh;
    let mut texts = vec![
        String::new(),
        "x".to_owned(),
        "..".to_owned(),
        "x".repeat(10_000),
        format!("{token}="),
        format!("{token}.x"),
        format!(" {token}"),
        format!("{token}\n"),
        token.to_uppercase(),
        format!("other.{body}.{tag}"),
        format!("{id}.{body}."),
        format!("{id}..{tag}"),
        format!("{id}.{tag}.{body}"),
        session.access.clone(),
        foreign,
        strange,
    ];
    texts.extend((1..token.len()).step_by(7).map(|length| token[..length].to_owned()));
    for index in (id.len() + 1..token.len()).step_by(5).filter(|index| token.as_bytes()[*index] != b'.') {
        let other = if token.as_bytes()[index] == b'A' { "B" } else { "A" };
        let mut altered = token.clone();
        altered.replace_range(index..=index, other);
        texts.push(altered);
    }
    app.meter.reset();
    for text in texts {
        app.refresh(&text).await.is_problem(400, "invalid-grant");
    }
    assert!(app.meter.taken().requests.is_empty(), "no table is asked");
    assert!(session.is_alive(&app).await);
    spent(&app, token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_refreshes_of_one_token_at_once_yield_one_successor() {
    let app = Arc::new(App::start().await);
    let session = begin(&app).await;
    let tasks = (0..50).map(|number| {
        let (app, token) = (Arc::clone(&app), session.refresh.clone());
        async move {
            // Each a little later than the one before, as they would be.
            app.pass(TimeDelta::milliseconds(number % 3));
            app.refresh(&token).await
        }
    });
    let mut successors: Vec<String> =
        all_at_once(tasks).await.iter().map(|answer| answer.text_of("refresh_token")).collect();
    successors.dedup();
    assert_eq!(successors.len(), 1);
    assert!(session.is_alive(&app).await);
    spent(&app, &successors[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_signed_out_is_not_refreshed() {
    let app = App::start().await;
    let session = begin(&app).await;
    let successor = spent(&app, &session.refresh).await;
    assert_eq!(app.logout(&session.access).await.status, 204);
    for token in [&session.refresh, &successor] {
        app.refresh(token).await.is_problem(400, "invalid-grant");
    }
    assert_eq!(app.events(&session.user).await, ["UserRegistered", "UserSignedIn", "UserSignedOut"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_after_seven_days_without_a_refresh() {
    let app = App::start().await;
    let session = begin(&app).await;
    app.pass(TimeDelta::days(7) - TimeDelta::seconds(1));
    let next = spent(&app, &session.refresh).await;
    app.pass(TimeDelta::days(7));
    app.refresh(&next).await.is_problem(400, "invalid-grant");
    assert_eq!(app.events(&session.user).await, ["UserRegistered", "UserSignedIn"], "which is no theft");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_after_thirty_days_however_often_it_is_refreshed() {
    let app = App::start().await;
    let session = begin(&app).await;
    let mut token = session.refresh;
    for _ in 0..5 {
        app.pass(TimeDelta::days(6) - TimeDelta::seconds(1));
        token = spent(&app, &token).await;
    }
    // Five seconds before the end.
    let last = app.refresh(&token).await;
    assert_eq!(last.status, 200, "{last:?}");
    app.pass(TimeDelta::seconds(5));
    app.refresh(&last.text_of("refresh_token")).await.is_problem(400, "invalid-grant");
    app.get("/me", &last.text_of("access_token")).await.is_problem(401, "bad-token");
}
