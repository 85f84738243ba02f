//! Addresses are verified by what was mailed to them, and nobody learns from it who has one.

use std::sync::Arc;

use chrono::TimeDelta;
use reqwest::StatusCode;
use serde_json::json;
use storage::one_time::OneTimePurpose::{EmailChange, EmailVerification};
use testkit::Taken;

use crate::app::{ADA, Answer, App, PASSWORD, all_at_once};

async fn resend(app: &App, email: &str) -> Answer {
    app.post("/email/verify/resend", json!({ "email": email })).await
}

async fn is_verified(app: &App, user: &str) -> bool {
    let mut snapshot = storage::Snapshot::default();
    app.store.log.advance(user.parse().unwrap(), &mut snapshot, None).await.unwrap();
    snapshot.user.account().unwrap().email_verified
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_in_the_first_mail_verifies_the_address_and_needs_no_session() {
    let app = App::start().await;
    let user = app.register().await;
    let token = app.mailed_for(&user, EmailVerification).await;
    let access = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    let before = app.get("/me?min_version=2", &access).await;
    assert_eq!(before.json()["email_verified"], false);
    assert_eq!(app.verify(&token).await.status, 204);
    let after = app.get("/me?min_version=3", &access).await;
    assert_eq!(after.json()["email_verified"], true);
    assert_ne!(after.header("etag"), before.header("etag"), "it is part of the profile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_opened_again_is_answered_the_same_and_changes_nothing() {
    let app = App::start().await;
    let user = app.register().await;
    let token = app.mailed_for(&user, EmailVerification).await;
    let first = app.verify(&token).await;
    assert_eq!(first.status, 204);
    assert_eq!(app.verify(&token).await, first);
    assert_eq!(app.events(&user).await, ["UserRegistered", "UserVerifiedEmail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_fifty_times_at_once_verifies_once() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    let token = app.mailed_for(&user, EmailVerification).await;
    let tasks = (0..50).map(|_| {
        let (app, token) = (Arc::clone(&app), token.clone());
        async move { app.verify(&token).await.status }
    });
    assert!(all_at_once(tasks).await.into_iter().all(|status| status == StatusCode::NO_CONTENT));
    assert_eq!(app.events(&user).await, ["UserRegistered", "UserVerifiedEmail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_token_gets_one_answer() {
    let app = App::start().await;
    let user = app.register().await;
    let good = app.mailed_for(&user, EmailVerification).await;
    let mut other_end = good.clone().into_bytes();
    let last = other_end.len() - 2;
    other_end[last] = if other_end[last] == b'A' { b'B' } else { b'A' };
    let email = domain::Email::parse(ADA).unwrap();
    let made = |user: &str, email: &domain::Email, credential| {
        let bound = storage::one_time::Bound::EmailVerification { email, credential };
        let ends = app.now() + TimeDelta::hours(1);
        app.store.one_time.make(user.parse().unwrap(), &bound, ends).unwrap().to_string()
    };
    let stranger = uuid::Uuid::from_u128(7).to_string();
    let credential = domain::CredentialId::new(uuid::Uuid::from_u128(7));
    let bad = [
        String::new(),
        "x".repeat(5_000),
        "a.b.c.d".to_owned(),
        String::from_utf8(other_end).unwrap(),
        good.replacen("verify", "confirm", 1),
        good.replacen("verify", "reset", 1),
        made(&stranger, &email, credential),
        made(&user, &email, credential),
    ];
    let first = app.verify(&bad[0]).await;
    first.is_problem(400, "invalid-token");
    for token in &bad {
        assert_eq!(app.verify(token).await, first, "{token}");
    }
    // What is none of ours asks nothing of any table.
    for token in &bad[..6] {
        let (answer, taken) = app.taken(app.verify(token)).await;
        assert_eq!((answer, taken), (first.clone(), Taken::default()), "{token}");
    }
    assert!(!is_verified(&app, &user).await);
    app.pass(TimeDelta::hours(24));
    assert_eq!(app.verify(&good).await, first, "past its end");
    assert_eq!(app.events(&user).await[0], "UserRegistered");
    assert!(!is_verified(&app, &user).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_until_the_last_moment_of_its_day() {
    let app = App::start().await;
    let user = app.register().await;
    let token = app.mailed_for(&user, EmailVerification).await;
    app.pass(TimeDelta::hours(24) - TimeDelta::milliseconds(1));
    assert_eq!(app.verify(&token).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_voids_what_was_mailed_before() {
    let app = App::start().await;
    let user = app.register().await;
    let session = app.signed_in().await;
    let access = session["access_token"].as_str().unwrap();
    assert_eq!(app.change_email(access, "augusta@example.com").await.status, 202);
    let tokens = [app.mailed_for(&user, EmailVerification).await, app.mailed_for(&user, EmailChange).await];
    assert_eq!(app.change_password(access, PASSWORD, "another long password").await.status, 204);
    for token in tokens {
        app.verify(&token).await.is_problem(400, "invalid-token");
    }
    assert!(!is_verified(&app, &user).await);
    // A new one is good.
    assert_eq!(resend(&app, ADA).await.status, 202);
    assert_eq!(app.verify(&app.mailed_for(&user, EmailVerification).await).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_behind_or_missing_keeps_nobody_from_verifying() {
    for projected in [false, true] {
        let app = App::start().await;
        let user = app.register().await;
        if projected {
            app.project(&user).await;
        }
        let access = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
        assert_eq!(app.change_password(&access, PASSWORD, "another long password").await.status, 204);
        assert_eq!(resend(&app, ADA).await.status, 202);
        assert_eq!(app.verify(&app.mailed_for(&user, EmailVerification).await).await.status, 204);
        assert!(is_verified(&app, &user).await);
    }
}

/// The answer, and what was asked of the tables.
async fn resent(app: &App, email: &str) -> (Answer, Vec<String>) {
    let (answer, taken) = app.taken(resend(app, email)).await;
    (answer, taken.requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn to_ask_for_the_mail_again_tells_nothing_of_who_has_the_address() {
    let app = App::start().await;
    let known = app.register().await;
    let verified = app.register_as("verified@example.com", PASSWORD).await;
    assert_eq!(app.verify(&app.mailed_for(&verified, EmailVerification).await).await.status, 204);
    let requests: Vec<String> = ["GetItem", "BatchGetItem", "Query", "TransactWriteItems"]
        .iter()
        .map(|&name| name.to_owned())
        .collect();
    // With views and without; beyond the bound, too.
    for projected in [false, true] {
        if projected {
            app.pass(TimeDelta::days(1));
            app.project(&known).await;
            app.project(&verified).await;
        }
        for number in 1..=5 {
            let unknown = resent(&app, "nobody@example.com").await;
            assert_eq!(unknown.0.status, 202);
            assert_eq!(unknown.1, requests, "request {number}");
            assert_eq!(resent(&app, ADA).await, unknown, "request {number}");
            assert_eq!(resent(&app, "verified@example.com").await, unknown, "request {number}");
        }
    }
    let mut expected = vec!["UserRegistered"];
    expected.extend(["UserRequestedEmailVerification"; 6]);
    assert_eq!(app.events(&known).await, expected, "three an hour");
    assert_eq!(app.events(&verified).await, ["UserRegistered", "UserVerifiedEmail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_whoever_is_verified_is_not_sent_counts_as_a_mail_to_them_as_it_does_to_others() {
    let app = App::start().await;
    let user = app.register().await;
    assert_eq!(app.verify(&app.mailed_for(&user, EmailVerification).await).await.status, 204);
    for _ in 0..12 {
        resend(&app, ADA).await;
    }
    let mails = app.items(&app.tables.sessions).await;
    let counts = mails.iter().filter(|item| item["item"].as_s().unwrap() == "mails");
    assert_eq!(counts.map(|item| item["user"].as_s().unwrap().clone()).collect::<Vec<_>>(), [user]);
}
