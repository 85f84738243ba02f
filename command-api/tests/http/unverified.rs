//! Whoever registers a stranger's address has that stranger mailed: how often is bounded, whatever they do with the account.

use std::sync::Arc;

use chrono::TimeDelta;
use storage::one_time::OneTimePurpose::{EmailChange, EmailVerification};

use crate::app::{ADA, Answer, App, PASSWORD, all_at_once};

const NEW: &str = "staple of another horse";

/// The access token of another session of Ada's.
async fn access(app: &App) -> String {
    app.signed_in().await["access_token"].as_str().unwrap().to_owned()
}

async fn changes(app: &App, user: &str) -> usize {
    app.events(user).await.into_iter().filter(|name| *name == "UserPasswordChanged").count()
}

async fn verifies(app: &App, user: &str) {
    let token = app.mailed_for(user, EmailVerification).await;
    assert_eq!(app.verify(&token).await.status, 204);
}

#[track_caller]
fn told_to_wait(answer: &Answer, seconds: i64) {
    answer.is_problem(429, "too-many-mails");
    assert_eq!(answer.header("retry-after"), seconds.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_told_of_three_changes_an_hour_and_no_more_are_made() {
    let app = App::start().await;
    let user = app.register().await;
    let session = access(&app).await;
    for _ in 0..3 {
        assert_eq!(app.change_password(&session, PASSWORD, PASSWORD).await.status, 204);
        app.pass(TimeDelta::seconds(10));
    }
    app.project(&user).await;
    let before = app.events(&user).await;
    // Right or wrong, the current password is neither looked at nor counted: nothing is hashed, and nothing written.
    for current in [PASSWORD, "not the password"] {
        for _ in 0..6 {
            let (refused, taken) = app.taken(app.change_password(&session, current, NEW)).await;
            told_to_wait(&refused, 3_600 - 30);
            assert_eq!(taken.requests, ["BatchGetItem", "GetItem", "Query"]);
        }
    }
    assert_eq!(app.events(&user).await, before);
    // What is not acceptable is said first, and a session that ended is told nothing else.
    app.change_password(&session, PASSWORD, "aaaaaaaaaaaaaaa").await.is_problem(422, "invalid");
    assert_eq!(app.logout(&session).await.status, 204);
    app.change_password(&session, PASSWORD, NEW).await.is_problem(401, "bad-token");
    app.pass(TimeDelta::seconds(3_600 - 31));
    let session = access(&app).await;
    told_to_wait(&app.change_password(&session, PASSWORD, NEW).await, 1);
    app.pass(TimeDelta::seconds(1));
    assert_eq!(app.change_password(&session, PASSWORD, NEW).await.status, 204);
    assert_eq!(app.login(NEW).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_changes_at_once_a_stranger_is_told_of_three_at_most() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    let session = access(&app).await;
    let mut done = 0;
    for _ in 0..4 {
        let tasks = (0..50).map(|_| {
            let (app, session) = (Arc::clone(&app), session.clone());
            async move { app.change_password(&session, PASSWORD, PASSWORD).await }
        });
        for answer in all_at_once(tasks).await {
            match answer.status.as_u16() {
                204 => done += 1,
                422 => answer.is_problem(422, "invalid"),
                _ => assert_eq!(answer.status, 429, "{answer:?}"),
            }
        }
        // Some were only too early.
        app.pass(TimeDelta::seconds(60));
    }
    assert_eq!((done, changes(&app, &user).await), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_verified_is_not_bounded_also_where_a_view_does_not_know_it_yet() {
    let app = App::start().await;
    let user = app.register().await;
    let session = access(&app).await;
    for _ in 0..3 {
        assert_eq!(app.change_password(&session, PASSWORD, PASSWORD).await.status, 204);
    }
    app.project(&user).await;
    app.change_password(&session, PASSWORD, PASSWORD).await.is_problem(429, "too-many-mails");
    assert_eq!(app.post("/email/verify/resend", serde_json::json!({"email": ADA})).await.status, 202);
    verifies(&app, &user).await;
    for _ in 0..12 {
        assert_eq!(app.change_password(&session, PASSWORD, PASSWORD).await.status, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_that_strangers_ask_for_keep_nobody_from_changing_the_password() {
    let app = App::start().await;
    let user = app.register().await;
    let session = access(&app).await;
    for _ in 0..5 {
        assert_eq!(app.forgot(ADA).await.status, 202);
    }
    assert_eq!(app.events(&user).await.len(), 2 + 3);
    for _ in 0..3 {
        assert_eq!(app.change_password(&session, PASSWORD, PASSWORD).await.status, 204);
    }
    app.change_password(&session, PASSWORD, PASSWORD).await.is_problem(429, "too-many-mails");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_address_is_not_registered_and_left_again_and_again() {
    let app = App::start().await;
    let first = app.register().await;
    let asked = app.change_email(&access(&app).await, "eve1@example.com").await;
    assert_eq!(asked.status, 202);
    assert_eq!(app.verify(&app.mailed_for(&first, EmailChange).await).await.status, 204);
    app.pass(TimeDelta::hours(1));
    let second = app.register().await;
    assert_eq!(app.change_email(&access(&app).await, "eve2@example.com").await.status, 202);
    let token = app.mailed_for(&second, EmailChange).await;
    told_to_wait(&app.verify(&token).await, 23 * 3_600);
    assert_eq!(app.owner(ADA).await, Some(second.clone()));
    // A day after the first the same token is good; and at once for whoever shows that the address is theirs.
    app.pass(TimeDelta::hours(23));
    assert_eq!(app.verify(&token).await.status, 204);
    let third = app.register().await;
    verifies(&app, &third).await;
    assert_eq!(app.change_email(&access(&app).await, "eve3@example.com").await.status, 202);
    assert_eq!(app.verify(&app.mailed_for(&third, EmailChange).await).await.status, 204);
}
