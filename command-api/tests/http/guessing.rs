//! Guesses: what a stranger learns from them, which is nothing, and how many there are.

use chrono::TimeDelta;
use testkit::Taken;

use crate::app::{ADA, Answer, App, PASSWORD};

const NOBODY: &str = "nobody@example.com";

/// A guess, with what it took.
async fn guess(app: &App, email: &str) -> (Answer, Taken) {
    app.taken(app.login_as(email, "a wrong password")).await
}

/// Guesses at both addresses until both are refused; each time both get the same.
async fn cannot_be_told_apart(app: &App) {
    for number in 1..=7 {
        let (known, unknown) = (guess(app, ADA).await, guess(app, NOBODY).await);
        assert_eq!(known, unknown, "guess {number}");
        let (kind, status) = if number > 5 { ("too-early", 429) } else { ("sign-in-refused", 401) };
        known.0.is_problem(status, kind);
    }
    app.pass(TimeDelta::milliseconds(300));
    let (known, unknown) = (guess(app, ADA).await, guess(app, NOBODY).await);
    assert_eq!((known.0.status.as_u16(), known.0.header("retry-after")), (429, "1"));
    assert_eq!(known, unknown);
    app.pass(TimeDelta::milliseconds(700));
    let (known, unknown) = (guess(app, ADA).await, guess(app, NOBODY).await);
    known.0.is_problem(401, "sign-in-refused");
    assert_eq!(known, unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_cannot_be_told_from_nobody() {
    let app = App::start().await;
    app.register().await;
    cannot_be_told_apart(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_a_view_cannot_be_told_from_nobody() {
    let app = App::start().await;
    let user = app.register().await;
    app.project(&user).await;
    cannot_be_told_apart(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_signs_in_cannot_be_told_from_nobody() {
    let app = App::start().await;
    let user = app.register().await;
    app.login("a wrong password").await.is_problem(401, "sign-in-refused");
    app.signed_in().await;
    app.project(&user).await;
    cannot_be_told_apart(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_password_in_a_back_off_cannot_be_told_from_a_wrong_one() {
    let app = App::start().await;
    app.register().await;
    for _ in 0..5 {
        guess(&app, ADA).await.0.is_problem(401, "sign-in-refused");
    }
    let wrong = guess(&app, ADA).await;
    assert_eq!(app.taken(app.login(PASSWORD)).await, wrong);
    wrong.0.is_problem(429, "too-early");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_fifth_failure_each_next_guess_waits_twice_as_long() {
    let app = App::start().await;
    app.register().await;
    for _ in 0..5 {
        guess(&app, ADA).await.0.is_problem(401, "sign-in-refused");
    }
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900] {
        let refused = guess(&app, ADA).await.0;
        refused.is_problem(429, "too-early");
        assert_eq!(refused.header("retry-after"), seconds.to_string());
        // To ask again meanwhile neither helps nor hurts.
        app.pass(TimeDelta::milliseconds(seconds * 1_000 - 1));
        for _ in 0..3 {
            assert_eq!(guess(&app, ADA).await.0.header("retry-after"), "1");
        }
        app.pass(TimeDelta::milliseconds(1));
        guess(&app, ADA).await.0.is_problem(401, "sign-in-refused");
    }
    app.pass(TimeDelta::minutes(15));
    assert_eq!(app.login(PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_ends_the_back_off_whether_the_view_knows_of_it_or_not() {
    let app = App::start().await;
    let user = app.register().await;
    for projected in [false, true, false] {
        if projected {
            app.project(&user).await;
        }
        for _ in 0..4 {
            guess(&app, ADA).await.0.is_problem(401, "sign-in-refused");
        }
        assert_eq!(app.login(PASSWORD).await.status, 200);
    }
    for _ in 0..5 {
        guess(&app, ADA).await.0.is_problem(401, "sign-in-refused");
    }
    guess(&app, ADA).await.0.is_problem(429, "too-early");
    app.pass(TimeDelta::seconds(1));
    assert_eq!(app.login(PASSWORD).await.status, 200);
    guess(&app, ADA).await.0.is_problem(401, "sign-in-refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_one_user_do_not_stop_another_nor_a_session() {
    let app = App::start().await;
    app.register().await;
    app.register_as("bob@example.com", PASSWORD).await;
    let session = app.login(PASSWORD).await;
    for _ in 0..6 {
        guess(&app, ADA).await;
    }
    app.login(PASSWORD).await.is_problem(429, "too-early");
    assert_eq!(app.login_as("bob@example.com", PASSWORD).await.status, 200);
    assert_eq!(app.get("/me", &session.text_of("access_token")).await.status, 200);
    assert_eq!(app.refresh(&session.text_of("refresh_token")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_was_guessed_at_can_still_be_registered() {
    let app = App::start().await;
    for _ in 0..6 {
        guess(&app, ADA).await;
    }
    app.register().await;
    assert_eq!(app.login(PASSWORD).await.status, 200);
}
