//! Where addresses have to be verified: a registration tells nobody whether the address is taken, nobody signs in
//! before, and who does not verify in time yields the address.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use chrono::TimeDelta;
use command_api::passwords::PasswordHasher;
use command_api::{Service, Verification, router};
use reqwest::{Method, StatusCode};
use serde_json::json;
use storage::one_time::OneTimePurpose::EmailVerification;
use tower::ServiceExt as _;

use crate::app::{ADA, Answer, App, CHEAP, ISSUER, PASSWORD, all_at_once};

const NOBODY: &str = "nobody@example.com";
const REQUESTS: [&str; 4] = ["GetItem", "BatchGetItem", "Query", "TransactWriteItems"];

async fn register(app: &App, email: &str) -> Answer {
    app.post("/register", json!({"email": email, "password": PASSWORD, "name": "Ada"})).await
}

/// Registers somebody; their id.
async fn registered(app: &App, email: &str) -> String {
    assert_eq!(register(app, email).await.status, StatusCode::ACCEPTED);
    app.owner(email).await.unwrap()
}

async fn verified(app: &App, email: &str) -> String {
    let user = registered(app, email).await;
    assert_eq!(app.verify(&app.mailed_for(&user, EmailVerification).await).await.status, 204);
    user
}

async fn users(app: &App) -> BTreeSet<String> {
    let items = app.items(&app.tables.events).await;
    items.iter().map(|item| item["user"].as_s().unwrap().clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_says_the_same_and_asks_the_same_whether_the_address_is_taken() {
    let app = App::requiring_verification().await;
    registered(&app, "unverified@example.com").await;
    let known = verified(&app, "verified@example.com").await;
    let projected = verified(&app, "projected@example.com").await;
    app.project(&projected).await;
    let (free, taken) = app.taken(register(&app, NOBODY)).await;
    assert_eq!((free.status.as_u16(), free.text.as_str()), (202, ""));
    assert!(!free.headers.contains_key("location"));
    assert_eq!(taken.requests, REQUESTS);
    // The third and those after it are beyond the bound on mails, of which the registration was one.
    for _ in 0..5 {
        for email in ["unverified@example.com", "verified@example.com", "projected@example.com", NOBODY] {
            let (answer, taken) = app.taken(register(&app, email)).await;
            assert_eq!(answer, free, "{email}");
            assert_eq!(taken.requests, REQUESTS, "{email}");
        }
    }
    let mut expected = vec!["UserRegistered", "UserVerifiedEmail"];
    expected.extend(["AddressRegisteredAgain"; 2]);
    assert_eq!(app.events(&known).await, expected);
    assert_eq!(users(&app).await.len(), 4);
    // The password of the first stands.
    assert_eq!(app.login_as("verified@example.com", PASSWORD).await.text_of("user_id"), known);
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_do_not_show_in_the_own_log_whether_the_address_was_taken_before() {
    let app = App::requiring_verification().await;
    verified(&app, "taken@example.com").await;
    let user = verified(&app, ADA).await;
    let access = app.login(PASSWORD).await.text_of("access_token");
    let mut written = Vec::new();
    for to in ["taken@example.com", NOBODY] {
        for _ in 0..3 {
            assert_eq!(register(&app, to).await.status, 202);
        }
        let before = app.events(&user).await.len();
        assert_eq!(app.change_email(&access, to).await.status, 202);
        written.push(app.events(&user).await.len() - before);
    }
    assert_eq!(written[0], written[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_unverified_cannot_be_told_from_nobody_by_a_sign_in() {
    let app = App::requiring_verification().await;
    let unverified = registered(&app, "unverified@example.com").await;
    let right = verified(&app, ADA).await;
    let requests = ["GetItem", "BatchGetItem", "UpdateItem", "Query"];
    for projected in [false, true] {
        if projected {
            app.project(&unverified).await;
            app.project(&right).await;
        }
        let (unknown, taken) = app.taken(app.login_as(NOBODY, PASSWORD)).await;
        unknown.is_problem(401, "sign-in-refused");
        assert_eq!(taken.requests, requests);
        for (email, password) in [
            ("unverified@example.com", PASSWORD),
            ("unverified@example.com", "a wrong password"),
            (ADA, "a wrong password"),
        ] {
            let (answer, taken) = app.taken(app.login_as(email, password)).await;
            assert_eq!(answer, unknown, "{email}, {password}");
            assert_eq!(taken.requests, requests, "{email}, {password}");
        }
    }
    assert_eq!(app.events(&unverified).await, ["UserRegistered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_verified_signs_in_though_the_view_does_not_know_it_yet() {
    let app = App::requiring_verification().await;
    let user = registered(&app, ADA).await;
    app.project(&user).await;
    assert_eq!(app.login(PASSWORD).await.status, 401);
    assert_eq!(app.verify(&app.mailed_for(&user, EmailVerification).await).await.status, 204);
    assert_eq!(app.login(PASSWORD).await.text_of("user_id"), user);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_with_a_key_makes_one_user_and_tells_them_of_nothing() {
    let app = Arc::new(App::requiring_verification().await);
    let tasks = (0..50).map(|_| {
        let app = Arc::clone(&app);
        async move {
            let request = app.request(Method::POST, "/register").header("Idempotency-Key", "key");
            app.send(request.json(&json!({"email": ADA, "password": PASSWORD}))).await.status.as_u16()
        }
    });
    assert_eq!(all_at_once(tasks).await, [202; 50]);
    let user = app.owner(ADA).await.unwrap();
    assert_eq!(users(&app).await, BTreeSet::from([user.clone()]));
    assert_eq!(app.events(&user).await, ["UserRegistered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_registrations_at_once_one_is_made_and_its_owner_is_told_within_the_bound() {
    let app = Arc::new(App::requiring_verification().await);
    let tasks = (0..50).map(|_| {
        let app = Arc::clone(&app);
        async move { register(&app, ADA).await.status.as_u16() }
    });
    assert_eq!(all_at_once(tasks).await, [202; 50]);
    let user = app.owner(ADA).await.unwrap();
    assert_eq!(users(&app).await, BTreeSet::from([user.clone()]));
    let mut expected = vec!["UserRegistered"];
    expected.extend(["AddressRegisteredAgain"; 2]);
    assert_eq!(app.events(&user).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_day_an_unverified_address_is_the_next_ones_and_the_first_has_none() {
    let app = App::requiring_verification().await;
    let first = registered(&app, ADA).await;
    let token = app.mailed_for(&first, EmailVerification).await;
    app.pass(TimeDelta::hours(24) - TimeDelta::milliseconds(1));
    assert_eq!(register(&app, ADA).await.status, 202);
    assert_eq!(app.owner(ADA).await, Some(first.clone()), "not a moment earlier");
    app.pass(TimeDelta::milliseconds(1));
    let (answer, asked) = app.taken(register(&app, ADA)).await;
    assert_eq!((answer.status.as_u16(), asked.requests.as_slice()), (202, &REQUESTS.map(str::to_owned)[..]));
    let second = app.owner(ADA).await.unwrap();
    assert_ne!(second, first);
    let told = ["UserRegistered", "AddressRegisteredAgain", "UserAddressReleased"];
    assert_eq!(app.events(&first).await, told);
    app.verify(&token).await.is_problem(400, "invalid-token");
    assert_eq!(app.verify(&app.mailed_for(&second, EmailVerification).await).await.status, 204);
    assert_eq!(app.login(PASSWORD).await.text_of("user_id"), second);
    app.pass(TimeDelta::days(365));
    assert_eq!(register(&app, ADA).await.status, 202);
    assert_eq!(app.owner(ADA).await, Some(second), "a verified address is never yielded");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_address_every_session_ends() {
    let app = App::start().await;
    let first = app.register().await;
    let sessions = [app.signed_in().await, app.signed_in().await];
    app.pass(TimeDelta::hours(24));
    // From now on addresses have to be verified.
    let passwords = PasswordHasher::new(CHEAP, app.keys.pepper.clone(), 1).unwrap();
    let (store, clock) = (app.store.clone(), app.service.clock.clone());
    let strict = Service::new(store, passwords, &app.keys, ISSUER.to_owned(), clock).unwrap();
    let routes = router(Arc::new(strict.with_verification(Verification::Required)));
    let body = json!({"email": ADA, "password": PASSWORD}).to_string();
    let request = Request::post("/register").header("content-type", "application/json");
    let answer = routes.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    assert_ne!(app.owner(ADA).await.unwrap(), first);
    assert_eq!(app.sessions(&first).await, 0);
    for session in sessions {
        let refreshed = app.refresh(session["refresh_token"].as_str().unwrap()).await;
        refreshed.is_problem(400, "invalid-grant");
        app.project(&first).await;
        app.get("/me", session["access_token"].as_str().unwrap()).await.is_problem(401, "bad-token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_newcomers_at_once_and_an_owner_who_verifies_one_has_the_address() {
    for round in 0..6 {
        let app = Arc::new(App::requiring_verification().await);
        let first = registered(&app, ADA).await;
        app.pass(TimeDelta::hours(23));
        app.post("/email/verify/resend", json!({ "email": ADA })).await;
        let token = app.mailed_for(&first, EmailVerification).await;
        app.pass(TimeDelta::hours(1));
        let verifies = round % 2 == 0;
        let tasks = (0..12).map(|number| {
            let (app, token) = (Arc::clone(&app), token.clone());
            async move {
                if verifies && number == round {
                    app.verify(&token).await.status.as_u16()
                } else {
                    register(&app, ADA).await.status.as_u16()
                }
            }
        });
        let answers = all_at_once(tasks).await;
        let owner = app.owner(ADA).await.unwrap();
        let mut owners = Vec::new();
        for user in users(&app).await {
            let mut snapshot = storage::Snapshot::default();
            app.store.log.advance(user.parse().unwrap(), &mut snapshot, None).await.unwrap();
            let has_it = snapshot.user.account().unwrap().email.is_some();
            assert_eq!(has_it, user == owner, "{answers:?}");
            owners.extend(has_it.then_some(user));
        }
        assert_eq!(owners, std::slice::from_ref(&owner));
        assert_eq!(answers.contains(&204), owner == first, "{answers:?}");
        assert_eq!(users(&app).await.len(), if owner == first { 1 } else { 2 });
    }
}
