//! As much is hashed for whoever is refused, whether there is such a user, and whatever is wrong: otherwise the time of an
//! answer would tell what the answer does not.

use chrono::TimeDelta;
use domain::{Command, CommandId};
use serde_json::json;
use storage::one_time::OneTimePurpose::EmailVerification;
use storage::{Enclosed, Intent};
use uuid::Uuid;

use crate::app::{ADA, Answer, App, PASSWORD};

const NOBODY: &str = "nobody@example.com";
const WRONG: &str = "a wrong password";
const NEW: &str = "staple of another horse";
/// The work of one hash of the service's, in KiB of memory times passes.
const ONE: u64 = 8;

/// A sign-in that is refused after one hash.
async fn costs_one(app: &App, email: &str, password: &str, who: &str) {
    let (answer, work) = app.hashed(app.login_as(email, password)).await;
    answer.is_problem(401, "sign-in-refused");
    assert_eq!(work, ONE, "{who}");
}

/// Disables the password of a user, as too many guesses do; none is counted for it.
async fn disable(app: &App, user: &str) {
    let mut loaded = app.store.load(user.parse().unwrap()).await.unwrap().unwrap();
    let intent = Intent {
        command: Command::DisablePassword { attempt: 1_000 },
        id: CommandId::new(Uuid::from_u128(1)),
        at: app.now(),
        address: None,
        agent: None,
        enclosed: Enclosed::Nothing,
    };
    app.store.execute(&mut loaded, &intent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sign_in_that_is_refused_costs_one_hash_and_one_that_comes_too_early_none() {
    for projected in [false, true] {
        let app = App::start().await;
        let user = app.register().await;
        let device = app.signed_in().await["device_token"].as_str().unwrap().to_owned();
        if projected {
            app.project(&user).await;
        }
        for attempt in 1..=5 {
            costs_one(&app, NOBODY, WRONG, &format!("nobody, attempt {attempt}")).await;
            costs_one(&app, ADA, WRONG, &format!("a wrong password, attempt {attempt}")).await;
        }
        for (email, password) in [(NOBODY, WRONG), (ADA, WRONG), (ADA, PASSWORD)] {
            let (answer, work) = app.hashed(app.login_as(email, password)).await;
            answer.is_problem(429, "too-early");
            assert_eq!(work, 0, "{email} during a back-off");
        }
        disable(&app, &user).await;
        for password in [WRONG, PASSWORD] {
            app.pass(TimeDelta::minutes(15));
            costs_one(&app, ADA, password, "who is disabled").await;
            let (answer, work) = app.hashed(app.login_from(&device, password)).await;
            answer.is_problem(401, "sign-in-refused");
            assert_eq!(work, ONE, "who is disabled, from a known device");
        }
        // Until no attempt is counted any more.
        for attempt in 8..=110 {
            app.pass(TimeDelta::minutes(15));
            for email in [NOBODY, ADA] {
                costs_one(&app, email, PASSWORD, &format!("{email}, attempt {attempt}")).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_unverified_costs_one_hash_whether_the_password_is_right_or_not_and_so_does_whoever_registers()
{
    let app = App::requiring_verification().await;
    let register = |email: &str| app.post("/register", json!({"email": email, "password": PASSWORD}));
    let is_unsaid = |(answer, work): (Answer, u64), who: &str| {
        assert_eq!((answer.status.as_u16(), work), (202, ONE), "{who}");
    };
    is_unsaid(app.hashed(register(ADA)).await, "who is new");
    is_unsaid(app.hashed(register(ADA)).await, "whose address is taken");
    for password in [WRONG, PASSWORD] {
        costs_one(&app, ADA, password, "who is unverified").await;
    }
    app.pass(TimeDelta::hours(24));
    is_unsaid(app.hashed(register(ADA)).await, "to whom the address is yielded");
    let user = app.owner(ADA).await.unwrap();
    assert_eq!(app.verify(&app.mailed_for(&user, EmailVerification).await).await.status, 204);
    is_unsaid(app.hashed(register(ADA)).await, "whose address is verified and taken");
    let (answer, work) = app.hashed(app.login(PASSWORD)).await;
    assert_eq!((answer.status.as_u16(), work), (200, ONE));
    // Nothing is hashed for whoever only asks for a mail.
    for path in ["/password/forgot", "/email/verify/resend"] {
        for email in [ADA, NOBODY] {
            let (answer, work) = app.hashed(app.post(path, json!({ "email": email }))).await;
            assert_eq!((answer.status.as_u16(), work), (202, 0), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_current_password_that_is_not_looked_at_costs_as_much_as_one_that_is_wrong() {
    let app = App::start().await;
    let user = app.register().await;
    let access = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    let (wrong, work) = app.hashed(app.change_password(&access, WRONG, NEW)).await;
    wrong.is_problem(422, "invalid");
    assert_eq!(work, ONE);
    disable(&app, &user).await;
    for password in [WRONG, PASSWORD] {
        let (refused, work) = app.hashed(app.change_password(&access, password, NEW)).await;
        refused.is_problem(422, "invalid");
        assert_eq!(work, ONE, "who is disabled");
    }
}
