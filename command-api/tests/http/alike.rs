//! Where addresses have to be verified: in every state that failures lead to, on every way that needs no session, a user
//! cannot be told from nobody.

use chrono::TimeDelta;
use serde_json::json;
use storage::one_time::OneTimePurpose::EmailVerification;

use crate::app::{ADA, Answer, App, PASSWORD};

const NOBODY: &str = "nobody@example.com";
const WRONG: &str = "a wrong password";

/// An answer, and what was asked of the tables for it.
type Got = (Answer, Vec<String>);

async fn got(app: &App, answer: impl Future<Output = Answer>) -> Got {
    let (answer, taken) = app.taken(answer).await;
    (answer, taken.requests)
}

async fn signs_in(app: &App, email: &str, password: &str) -> Got {
    got(app, app.login_as(email, password)).await
}

async fn forgets(app: &App, email: &str) -> Got {
    got(app, app.forgot(email)).await
}

async fn asks_again(app: &App, email: &str) -> Got {
    got(app, app.post("/email/verify/resend", json!({ "email": email }))).await
}

async fn registers(app: &App, email: &str) -> Got {
    got(app, app.post("/register", json!({"email": email, "password": PASSWORD, "name": "Ada"}))).await
}

/// Ada, registered, and verified if it is said; her id.
async fn ada(app: &App, verified: bool) -> String {
    assert_eq!(registers(app, ADA).await.0.status, 202);
    let user = app.owner(ADA).await.unwrap();
    if verified {
        assert_eq!(app.verify(&app.mailed_for(&user, EmailVerification).await).await.status, 204);
    }
    user
}

/// Fails so often at Ada and at nobody, as fast as both may, which are told the same each time.
async fn both_fail(app: &App, times: usize) {
    let mut failures = 0;
    while failures < times {
        let known = signs_in(app, ADA, WRONG).await;
        assert_eq!(signs_in(app, NOBODY, WRONG).await, known, "after {failures} failures");
        if known.0.status == 429 {
            app.pass(TimeDelta::seconds(known.0.header("retry-after").parse().unwrap()));
        } else {
            known.0.is_problem(401, "sign-in-refused");
            failures += 1;
        }
    }
}

/// Whoever asks for a mail for either gets the same, beyond the bound on mails too.
async fn no_mail_tells(app: &App) {
    for number in 1..=4 {
        let known = forgets(app, ADA).await;
        assert_eq!((known.0.status.as_u16(), known.0.text.as_str()), (202, ""));
        assert_eq!(forgets(app, NOBODY).await, known, "reset {number}");
    }
    app.pass(TimeDelta::hours(1));
    for number in 1..=4 {
        let known = asks_again(app, ADA).await;
        assert_eq!((known.0.status.as_u16(), known.0.text.as_str()), (202, ""));
        assert_eq!(asks_again(app, NOBODY).await, known, "verification {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_cannot_be_told_from_nobody_by_a_mail_or_a_registration() {
    for (verified, projected) in [(false, true), (true, false)] {
        let app = App::requiring_verification().await;
        let user = ada(&app, verified).await;
        both_fail(&app, 100).await;
        assert_eq!(app.events(&user).await.last(), Some(&"UserPasswordDisabled"));
        if projected {
            app.project(&user).await;
        }
        // Not a moment past the day after which an unverified user yields the address.
        for _ in 0..4 {
            let known = registers(&app, ADA).await;
            assert_eq!((known.0.status.as_u16(), known.0.text.as_str()), (202, ""));
            assert_eq!(registers(&app, "somebody@example.com").await, known);
        }
        assert_eq!(app.owner(ADA).await, Some(user.clone()));
        app.pass(TimeDelta::hours(1));
        no_mail_tells(&app).await;
        // The address that so much has failed at is as good for a newcomer as any other.
        assert_eq!(registers(&app, NOBODY).await, registers(&app, "another@example.com").await);
        let names = app.events(&user).await;
        let count = |name: &str| names.iter().filter(|other| **other == name).count();
        assert_eq!((count("AddressRegisteredAgain"), count("UserRequestedPasswordReset")), (3, 3));
        assert_eq!(count("UserRequestedEmailVerification"), if verified { 0 } else { 3 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_unverified_cannot_be_told_from_nobody_during_a_back_off() {
    for projected in [false, true] {
        let app = App::requiring_verification().await;
        let user = ada(&app, false).await;
        if projected {
            app.project(&user).await;
        }
        both_fail(&app, 6).await;
        for password in [PASSWORD, WRONG] {
            let known = signs_in(&app, ADA, password).await;
            known.0.is_problem(429, "too-early");
            assert_eq!(signs_in(&app, NOBODY, password).await, known);
        }
        let known = forgets(&app, ADA).await;
        assert_eq!((known.0.status.as_u16(), known.0.text.as_str()), (202, ""));
        assert_eq!(forgets(&app, NOBODY).await, known);
        let known = asks_again(&app, ADA).await;
        assert_eq!((known.0.status.as_u16(), known.0.text.as_str()), (202, ""));
        assert_eq!(asks_again(&app, NOBODY).await, known);
        // None of it has ended the back-off.
        let known = signs_in(&app, ADA, PASSWORD).await;
        known.0.is_problem(429, "too-early");
        assert_eq!(signs_in(&app, NOBODY, PASSWORD).await, known);
        app.pass(TimeDelta::seconds(known.0.header("retry-after").parse().unwrap()));
        let known = signs_in(&app, ADA, PASSWORD).await;
        known.0.is_problem(401, "sign-in-refused");
        assert_eq!(signs_in(&app, NOBODY, PASSWORD).await, known);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hundredth_attempt_with_the_right_password_of_who_is_unverified_is_that_of_anybody() {
    for projected in [false, true] {
        let app = App::requiring_verification().await;
        let user = ada(&app, false).await;
        if projected {
            app.project(&user).await;
        }
        both_fail(&app, 99).await;
        app.pass(TimeDelta::minutes(15));
        for attempt in 100..=102 {
            let known = signs_in(&app, ADA, PASSWORD).await;
            known.0.is_problem(401, "sign-in-refused");
            assert_eq!(signs_in(&app, NOBODY, PASSWORD).await, known, "attempt {attempt}");
        }
        assert_eq!(app.events(&user).await, ["UserRegistered", "UserPasswordDisabled"]);
        // Verified too late: it stays disabled until it is reset.
        assert_eq!(app.verify(&app.mailed_for(&user, EmailVerification).await).await.status, 204);
        app.login(PASSWORD).await.is_problem(401, "sign-in-refused");
    }
}
