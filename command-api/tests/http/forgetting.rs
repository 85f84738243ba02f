//! `POST /password/forgot`: what a stranger learns from it, which is nothing, and what they can cause, which is little.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::{Email, UserEvent};
use storage::Lifetimes;
use testkit::{Engine, Fault, Taken};

use crate::app::{ADA, Answer, App, PASSWORD, all_at_once};

const NOBODY: &str = "nobody@example.com";

/// A request, with what it took.
async fn asks(app: &App, email: &str) -> (Answer, Taken) {
    app.taken(app.forgot(email)).await
}

/// Asks for both addresses, beyond the bound and after an hour; each time both get the same.
async fn cannot_be_told_from_nobody(app: &App) {
    for _ in 0..2 {
        for number in 1..=5 {
            let (known, unknown) = (asks(app, ADA).await, asks(app, NOBODY).await);
            assert_eq!((known.0.status.as_u16(), known.0.text.as_str()), (202, ""));
            assert_eq!(known, unknown, "request {number}");
        }
        app.pass(TimeDelta::hours(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_cannot_be_told_from_nobody() {
    let app = App::start().await;
    app.register().await;
    cannot_be_told_from_nobody(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_a_view_cannot_be_told_from_nobody() {
    let app = App::start().await;
    let user = app.register().await;
    app.signed_in().await;
    app.project(&user).await;
    cannot_be_told_from_nobody(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_a_verified_address_cannot_be_told_from_nobody() {
    let app = App::start().await;
    let user = app.register().await;
    app.forgot(ADA).await;
    assert_eq!(app.reset(&app.mailed(&user).await, PASSWORD).await.status, 204);
    // The mail that was sent is one of three.
    app.pass(TimeDelta::hours(1));
    cannot_be_told_from_nobody(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_mails_an_hour_and_ten_a_day_are_asked_for_and_no_more() {
    let app = App::start().await;
    let user = app.register().await;
    let mut requested = Vec::new();
    for _ in 0..5 {
        for _ in 0..5 {
            app.forgot(ADA).await;
        }
        requested.push(app.events(&user).await.len() - 1);
        app.pass(TimeDelta::hours(1));
    }
    assert_eq!(requested, [3, 6, 9, 10, 10]);
    app.pass(TimeDelta::hours(19));
    for _ in 0..5 {
        app.forgot(ADA).await;
    }
    assert_eq!(app.events(&user).await.len() - 1, 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_requests_at_once_all_get_the_same_answer_and_three_become_events() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    for email in [ADA, NOBODY] {
        let asking = |_| {
            let app = Arc::clone(&app);
            async move { app.forgot(email).await }
        };
        let answers = all_at_once((0..50).map(asking)).await;
        assert!(answers.iter().all(|answer| answer.status == 202 && *answer == answers[0]));
    }
    let names = app.events(&user).await;
    assert_eq!(names[1..], ["UserRequestedPasswordReset"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_says_all_that_the_mail_needs() {
    let app = App::start().await;
    let user = app.register().await;
    app.forgot(" Ada@Example.COM ").await;
    let mut found = Vec::new();
    let visit = |commit: &storage::Commit| found.push(commit.events[0].event.clone());
    app.store.log.history(user.parse().unwrap(), visit).await.unwrap();
    let UserEvent::UserRegistered { credential: registered, .. } = &found[0] else { panic!("{found:?}") };
    let UserEvent::UserRequestedPasswordReset { email, credential, ends } = &found[1] else {
        panic!("{found:?}")
    };
    assert_eq!((email, credential), (&Email::parse(ADA).unwrap(), registered));
    assert_eq!(*ends, app.now() + TimeDelta::minutes(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_leads_to_one_event() {
    for fault in [Fault::DropAfter, Fault::DropBefore, Fault::cancelled(&["None", "TransactionConflict"])] {
        let engine = Engine::start().await;
        let (client, faults, meter) = engine.faulty();
        let app = App::on(engine, &client, meter, Lifetimes::default()).await;
        let user = app.register().await;
        for email in [ADA, NOBODY] {
            faults.script("TransactWriteItems", 1, fault.clone());
            assert_eq!(app.forgot(email).await.status, 202, "{email} {fault:?}");
            assert_eq!(faults.outstanding(), 0);
        }
        assert_eq!(app.events(&user).await, ["UserRegistered", "UserRequestedPasswordReset"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_address_is_named_before_any_table_is_asked() {
    let app = App::start().await;
    for email in ["", "ada", "ada@example"] {
        let (answer, taken) = asks(&app, email).await;
        answer.is_problem(422, "invalid");
        assert_eq!(taken.requests, Vec::<String>::new());
    }
}
