//! `POST /password/reset`: by whoever reads the user's mail, once; nobody stays signed in, and nobody is.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::{Email, Version};
use serde_json::json;
use storage::Lifetimes;
use storage::keys::ServiceKeys;
use storage::one_time::{Bound, OneTimeKeys, OneTimePurpose};
use testkit::{Engine, Fault};

use crate::app::{ADA, App, PASSWORD, all_at_once};

const NEW: &str = "staple of another horse";

/// Ada, registered, who has asked for a reset: her id and the token from the mail.
async fn forgetful(app: &App) -> (String, String) {
    let user = app.register().await;
    assert_eq!(app.forgot(ADA).await.status, 202);
    let token = app.mailed(&user).await;
    (user, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_password_signs_in_the_old_one_does_not_and_no_session_goes_on() {
    let app = App::start().await;
    let (user, token) = forgetful(&app).await;
    let sessions = [app.signed_in().await, app.signed_in().await];
    app.project(&user).await;
    let done = app.reset(&token, NEW).await;
    assert_eq!((done.status.as_u16(), done.text.as_str()), (204, ""));
    for session in &sessions {
        app.get("/me", session["access_token"].as_str().unwrap()).await.is_problem(401, "bad-token");
        app.refresh(session["refresh_token"].as_str().unwrap()).await.is_problem(400, "invalid-grant");
    }
    assert_eq!(app.sessions(&user).await, 0, "and nobody was signed in");
    assert!(app.items(&app.tables.sessions).await.iter().all(|item| {
        item["item"].as_s().unwrap() == "mails" || item["item"].as_s().unwrap() == "guesses"
    }));
    app.login(PASSWORD).await.is_problem(401, "sign-in-refused");
    assert_eq!(app.login(NEW).await.status, 200);
    let names = app.events(&user).await;
    assert_eq!(names[names.len() - 2..], ["UserPasswordReset", "UserSignedIn"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_the_mail_has_shown_that_the_address_is_theirs() {
    let app = App::start().await;
    let (_, token) = forgetful(&app).await;
    let before = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    let before = app.get("/me?min_version=3", &before).await;
    assert_eq!((before.json()["email_verified"].clone(), before.header("etag")), (json!(false), "\"1\""));
    assert_eq!(app.reset(&token, NEW).await.status, 204);
    let after = app.login(NEW).await;
    let after = app.get("/me?min_version=5", &after.text_of("access_token")).await;
    assert_eq!((after.json()["email_verified"].clone(), after.header("etag")), (json!(true), "\"4\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_ten_minutes_and_once() {
    let app = App::start().await;
    let (user, token) = forgetful(&app).await;
    app.pass(TimeDelta::milliseconds(599_999));
    assert_eq!(app.reset(&token, NEW).await.status, 204);
    app.reset(&token, NEW).await.is_problem(400, "invalid-token");
    app.reset(&token, PASSWORD).await.is_problem(400, "invalid-token");
    app.forgot(ADA).await;
    let next = app.mailed(&user).await;
    app.pass(TimeDelta::minutes(10));
    app.reset(&next, PASSWORD).await.is_problem(400, "invalid-token");
    assert_eq!(app.login(NEW).await.status, 200, "nothing but the first took effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_void_once_the_password_has_changed_in_another_way() {
    let app = App::start().await;
    let (user, first) = forgetful(&app).await;
    app.pass(TimeDelta::seconds(1));
    app.forgot(ADA).await;
    let second = app.mailed(&user).await;
    assert_ne!(first, second);
    // Both are pending. A reset voids the other, and a change whatever is pending then.
    assert_eq!(app.reset(&second, NEW).await.status, 204);
    app.reset(&first, PASSWORD).await.is_problem(400, "invalid-token");
    app.forgot(ADA).await;
    let third = app.mailed(&user).await;
    let session = app.login(NEW).await.text_of("access_token");
    assert_eq!(app.change_password(&session, NEW, PASSWORD).await.status, 204);
    app.reset(&third, NEW).await.is_problem(400, "invalid-token");
    // Also where a view of before the change lies there.
    app.project(&user).await;
    app.reset(&third, NEW).await.is_problem(400, "invalid-token");
    assert_eq!(app.login(PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_void_once_the_address_has_changed_even_if_it_is_the_same_again() {
    let app = App::start().await;
    let (user, token) = forgetful(&app).await;
    // A view of before, which still says what the token was made for.
    app.project(&user).await;
    for (from, to) in [(ADA, "augusta@example.com"), ("augusta@example.com", ADA)] {
        let access = app.login_as(from, PASSWORD).await.text_of("access_token");
        assert_eq!(app.change_email(&access, to).await.status, 202);
        let confirmed = app.mailed_for(&user, OneTimePurpose::EmailChange).await;
        assert_eq!(app.verify(&confirmed).await.status, 204);
        app.reset(&token, NEW).await.is_problem(400, "invalid-token");
    }
    // One that goes to the address since then is good, also while yet another is asked for.
    assert_eq!(app.forgot(ADA).await.status, 202);
    let access = app.login(PASSWORD).await.text_of("access_token");
    assert_eq!(app.change_email(&access, "lovelace@example.com").await.status, 202);
    app.reset(&token, NEW).await.is_problem(400, "invalid-token");
    let token = app.mailed(&user).await;
    assert_eq!(app.reset(&token, NEW).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_forged_or_for_something_else_or_of_nobody_is_one_problem() {
    let app = App::start().await;
    let (user, token) = forgetful(&app).await;
    let spent = app.reset(&token, NEW).await;
    assert_eq!(spent.status, 204);
    let refused = app.reset(&token, PASSWORD).await;
    refused.is_problem(400, "invalid-token");

    let mut snapshot = storage::Snapshot::default();
    let id = user.parse().unwrap();
    app.store.log.advance(id, &mut snapshot, None).await.unwrap();
    let account = snapshot.user.account().unwrap();
    let (ends, credential) = (app.now() + TimeDelta::minutes(5), account.credential);
    let (ada, eve) = (Email::parse(ADA).unwrap(), Email::parse("eve@example.com").unwrap());
    let reset = Bound::PasswordReset { email: &ada, credential, since: account.email_since };
    let make =
        |keys: &OneTimeKeys, user, bound: &Bound<'_>| keys.make(user, bound, ends).unwrap().to_string();
    let own = &app.store.one_time;
    let strangers = ServiceKeys::random().unwrap();
    let strangers = OneTimeKeys::new(app.keys.deployment.clone(), strangers.one_time);
    let elsewhere = OneTimeKeys::new("elsewhere".to_owned(), app.keys.one_time.clone());
    let good = make(own, id, &reset);
    for other in [
        make(own, id, &Bound::PasswordReset { email: &ada, credential, since: Some(Version::new(2)) }),
        make(own, id, &Bound::EmailVerification { email: &ada, credential }),
        make(own, id, &Bound::EmailChange { from: &ada, to: &eve, credential }),
        make(own, id, &Bound::PasswordReset { email: &eve, credential, since: None }),
        make(own, domain::UserId::new(uuid::Uuid::nil()), &reset),
        make(&strangers, id, &reset),
        make(&elsewhere, id, &reset),
        good[..good.len() - 1].to_owned(),
        good.replace(".reset.", ".verify."),
        String::new(),
        "x".repeat(9_000),
    ] {
        assert_eq!(app.reset(&other, PASSWORD).await, refused, "{other}");
    }
    assert_eq!(app.reset(&good, PASSWORD).await.status, 204, "the one that was made as it should be");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_that_is_refused_does_not_spend_the_token_and_is_told_why() {
    let app = App::start().await;
    let (user, token) = forgetful(&app).await;
    for projected in [false, true] {
        if projected {
            app.project(&user).await;
        }
        for (new, detail) in [
            ("too short", "must have at least 15 characters"),
            ("passwordpassword", "repeats itself"),
            ("ada@example.comada@example.com", "is made of your own address"),
        ] {
            let refused = app.reset(&token, new).await;
            refused.is_problem(422, "invalid");
            assert_eq!(refused.json()["errors"], json!([{"field": "new_password", "detail": detail}]));
        }
    }
    assert_eq!(app.events(&user).await, ["UserRegistered", "UserRequestedPasswordReset"]);
    assert_eq!(app.reset(&token, NEW).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_uses_of_one_token_at_once_exactly_one_succeeds() {
    let app = Arc::new(App::start().await);
    let (user, token) = forgetful(&app).await;
    app.signed_in().await;
    let password = |number: usize| format!("horse number {number} of fifty staples");
    let using = |number| {
        let (app, token) = (Arc::clone(&app), token.clone());
        async move { (number, app.reset(&token, &password(number)).await) }
    };
    let answers = all_at_once((0..50).map(using)).await;
    let done: Vec<usize> =
        answers.iter().filter(|(_, answer)| answer.status == 204).map(|(number, _)| *number).collect();
    assert_eq!(done.len(), 1, "{answers:?}");
    for (_, refused) in answers.iter().filter(|(number, _)| *number != done[0]) {
        refused.is_problem(400, "invalid-token");
    }
    let resets = app.events(&user).await.into_iter().filter(|name| *name == "UserPasswordReset");
    assert_eq!(resets.count(), 1);
    assert_eq!(app.login(&password(done[0])).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_and_a_reset_at_once_leave_a_session_only_where_the_new_password_began_it() {
    for _ in 0..5 {
        let app = Arc::new(App::start().await);
        let (user, token) = forgetful(&app).await;
        let acting = |number: u32| {
            let (app, token) = (Arc::clone(&app), token.clone());
            async move { if number == 2 { app.reset(&token, NEW).await } else { app.login(PASSWORD).await } }
        };
        let answers = all_at_once((0..5).map(acting)).await;
        assert_eq!(answers[2].status, 204);
        assert_eq!(app.sessions(&user).await, 0);
        for answer in answers.iter().filter(|answer| answer.status == 200) {
            app.get("/me", &answer.text_of("access_token")).await.is_problem(401, "bad-token");
        }
        assert_eq!(app.login(NEW).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_works_during_a_back_off_and_ends_it() {
    let app = App::start().await;
    let (_, token) = forgetful(&app).await;
    for _ in 0..5 {
        app.login("wrong").await.is_problem(401, "sign-in-refused");
    }
    app.login(PASSWORD).await.is_problem(429, "too-early");
    assert_eq!(app.reset(&token, NEW).await.status, 204);
    // What failed before counts no more: five are free again.
    for _ in 0..4 {
        app.login("wrong").await.is_problem(401, "sign-in-refused");
    }
    assert_eq!(app.login(NEW).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_whose_answer_was_lost_on_the_way_from_the_database_is_done_once() {
    for fault in [
        Fault::DropAfter,
        Fault::DropBefore,
        Fault::cancelled(&["None", "TransactionConflict", "None"]),
        Fault::error_after(500, "InternalServerError"),
    ] {
        let engine = Engine::start().await;
        let (client, faults, meter) = engine.faulty();
        let app = App::on(engine, &client, meter, Lifetimes::default()).await;
        let (user, token) = forgetful(&app).await;
        app.signed_in().await;
        faults.script("TransactWriteItems", 1, fault.clone());
        assert_eq!(app.reset(&token, NEW).await.status, 204, "{fault:?}");
        assert_eq!(faults.outstanding(), 0);
        let resets = app.events(&user).await.into_iter().filter(|name| *name == "UserPasswordReset");
        assert_eq!(resets.count(), 1);
        assert_eq!(app.login(NEW).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_verifier_of_the_new_password_is_left() {
    let app = App::start().await;
    let (user, token) = forgetful(&app).await;
    let vault = async || {
        let items = app.items(&app.tables.events).await;
        items.into_iter().find(|item| item["item"].as_s().unwrap() == "vault").unwrap()
    };
    let before = vault().await;
    assert_eq!(app.reset(&token, NEW).await.status, 204);
    let after = vault().await;
    assert_ne!(before["verifier"], after["verifier"]);
    assert_ne!(before["credential"], after["credential"]);
    assert_eq!(before["data_key"], after["data_key"]);
    let loaded = app.store.load(user.parse().unwrap()).await.unwrap().unwrap();
    let verifier = app.store.verifier(loaded.vault().unwrap()).unwrap();
    let good = async |password: &str| {
        let password = domain::PresentedPassword::parse(password).unwrap();
        app.service.passwords.verify(&password, &verifier).await.unwrap()
    };
    assert_eq!((good(NEW).await, good(PASSWORD).await), (true, false));
}
