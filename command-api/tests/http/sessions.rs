//! Sessions of one user: many beginning and many ending at once, and the one too many.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::TimeDelta;

use crate::app::{Answer, App, PASSWORD, all_at_once};

async fn at_once(app: &Arc<App>, number: usize) -> Vec<Answer> {
    let tasks = (0..number).map(|_| {
        let app = Arc::clone(app);
        async move { app.login(PASSWORD).await }
    });
    all_at_once(tasks).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_sign_ins_at_once_each_gets_in_or_is_told_to_wait_and_then_gets_in() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    let mut sessions = BTreeSet::new();
    let mut rounds = 0;
    while sessions.len() < 50 {
        rounds += 1;
        assert!(rounds <= 50, "only {} got in", sessions.len());
        let mut wait = 0;
        for answer in at_once(&app, 50 - sessions.len()).await {
            if answer.status == 200 {
                sessions.insert(answer.text_of("session_id"));
            } else {
                answer.is_problem(429, "too-early");
                wait = wait.max(answer.header("retry-after").parse().unwrap());
            }
        }
        assert!(wait <= 1, "no wait grows where every password is right");
        app.pass(TimeDelta::seconds(wait));
    }
    let events = app.events(&user).await;
    assert_eq!(events.iter().filter(|name| **name == "UserSignedIn").count(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_sessions_sign_out_at_once() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    let mut tokens = Vec::new();
    for _ in 0..50 {
        tokens.push(app.signed_in().await["access_token"].as_str().unwrap().to_owned());
    }
    let tasks = tokens.clone().into_iter().map(|token| {
        let app = Arc::clone(&app);
        async move { app.logout(&token).await }
    });
    for answer in all_at_once(tasks).await {
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""), "{answer:?}");
    }
    for token in tokens {
        app.get("/me", &token).await.is_problem(401, "bad-token");
    }
    let events = app.events(&user).await;
    assert_eq!(events.iter().filter(|name| **name == "UserSignedOut").count(), 50);
    assert_eq!(events.len(), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_signs_out_once_however_often_it_is_asked_to_at_once() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    let tasks = (0..20).map(|_| {
        let (app, token) = (Arc::clone(&app), token.clone());
        async move { app.logout(&token).await }
    });
    let answers = all_at_once(tasks).await;
    assert!(answers.iter().any(|answer| answer.status == 204));
    for answer in answers.iter().filter(|answer| answer.status != 204) {
        answer.is_problem(401, "bad-token");
    }
    assert_eq!(app.events(&user).await, ["UserRegistered", "UserSignedIn", "UserSignedOut"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fifty_first_session_ends_the_oldest() {
    let app = App::start().await;
    app.register().await;
    let mut sessions = Vec::new();
    for _ in 0..51 {
        sessions.push(app.login(PASSWORD).await);
    }
    let oldest = sessions.remove(0);
    app.get("/me", &oldest.text_of("access_token")).await.is_problem(401, "bad-token");
    app.refresh(&oldest.text_of("refresh_token")).await.is_problem(400, "invalid-grant");
    app.logout(&oldest.text_of("access_token")).await.is_problem(401, "bad-token");
    for session in [&sessions[0], &sessions[49]] {
        assert_eq!(app.get("/me", &session.text_of("access_token")).await.status, 200);
    }
    // One that was signed out makes room.
    assert_eq!(app.logout(&sessions[10].text_of("access_token")).await.status, 204);
    assert_eq!(app.login(PASSWORD).await.status, 200);
    assert_eq!(app.get("/me", &sessions[0].text_of("access_token")).await.status, 200);
}
