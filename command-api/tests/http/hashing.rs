//! What hashing has to do with answers: verifiers of other costs, and more requests than can be hashed for.

use std::sync::Arc;

use command_api::passwords::{HashParams, PasswordHasher};
use domain::{Command, CommandId, CredentialId, Email, NewPassword, PresentedPassword, UserId};
use serde_json::json;
use storage::{Enclosed, Intent, Loaded};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::app::{ADA, App, CHEAP, PASSWORD, all_at_once};

const NOBODY: &str = "nobody@example.com";

/// Registers Ada with a verifier that was made somewhere else.
pub async fn register_with(app: &App, phc: Zeroizing<String>) {
    let command = Command::Register {
        email: Email::parse(ADA).unwrap(),
        name: None,
        credential: CredentialId::new(Uuid::from_u128(2)),
    };
    let id = CommandId::new(Uuid::from_u128(3));
    let enclosed = Enclosed::Verifier(phc);
    let intent = Intent { command, id, at: app.now(), address: None, agent: None, enclosed };
    let mut unborn = Loaded::unborn(UserId::new(Uuid::from_u128(1))).unwrap();
    app.store.execute(&mut unborn, &intent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_set_at_a_higher_cost_still_signs_in_when_less_is_configured() {
    let app = App::start().await;
    let costlier = HashParams { iterations: 64, ..CHEAP };
    let phc = earlier(&app, costlier).hash(&NewPassword::parse(PASSWORD).unwrap(), [7; 16]).await.unwrap();
    register_with(&app, phc).await;
    app.login("a wrong password").await.is_problem(401, "sign-in-refused");
    app.signed_in().await;
}

/// A hasher of other costs with the service's pepper, as it may have been configured before.
fn earlier(app: &App, params: HashParams) -> PasswordHasher {
    PasswordHasher::new(params, app.keys.pepper.clone(), 1).unwrap()
}

/// The verifier in Ada's vault.
async fn verifier(app: &App) -> Zeroizing<String> {
    let loaded = app.store.load(UserId::new(Uuid::from_u128(1))).await.unwrap().unwrap();
    app.store.verifier(loaded.vault().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_sign_in_makes_a_weaker_verifier_anew_once_and_a_wrong_one_does_not() {
    let app = App::with_hashes(HashParams { memory_kib: 64, iterations: 2, parallelism: 1 }).await;
    let weak = earlier(&app, CHEAP).hash(&NewPassword::parse(PASSWORD).unwrap(), [7; 16]).await.unwrap();
    register_with(&app, weak.clone()).await;
    app.project(&Uuid::from_u128(1).to_string()).await;
    app.login("a wrong password").await.is_problem(401, "sign-in-refused");
    assert_eq!(*verifier(&app).await, *weak);
    let (first, taken) = app.taken(app.login(PASSWORD)).await;
    assert_eq!(first.status, 200);
    assert!(taken.cost(2.5, 7.0), "two units more: {taken:?}");
    let strong = verifier(&app).await;
    assert!(strong.contains("m=64,t=2,p=1"), "{}", *strong);
    app.project(&Uuid::from_u128(1).to_string()).await;
    let (again, taken) = app.taken(app.login(PASSWORD)).await;
    assert_eq!(again.status, 200);
    assert!(taken.cost(2.5, 5.0), "{taken:?}");
    assert_eq!(*verifier(&app).await, *strong);
    app.login("a wrong password").await.is_problem(401, "sign-in-refused");
    // The log tells the same story as without: one credential, by which both found in.
    let events = app.events(&Uuid::from_u128(1).to_string()).await;
    assert_eq!(events, ["UserRegistered", "UserSignedIn", "UserSignedIn"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_sign_ins_at_once_with_a_weak_verifier_leave_one_that_opens() {
    let app = Arc::new(App::with_hashes(HashParams { memory_kib: 64, iterations: 2, parallelism: 1 }).await);
    let weak = earlier(&app, CHEAP).hash(&NewPassword::parse(PASSWORD).unwrap(), [7; 16]).await.unwrap();
    register_with(&app, weak).await;
    let tasks = (0..20).map(|_| {
        let app = Arc::clone(&app);
        async move { app.login(PASSWORD).await }
    });
    for answer in all_at_once(tasks).await {
        assert!([200, 429].contains(&answer.status.as_u16()), "{answer:?}");
    }
    assert!(verifier(&app).await.contains("m=64,t=2,p=1"));
    app.pass(chrono::TimeDelta::minutes(1));
    app.signed_in().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_too_short_and_too_common_for_today_still_signs_in_and_can_be_changed() {
    let app = App::start().await;
    let short = "password";
    let presented = PresentedPassword::parse(short).unwrap();
    let phc = earlier(&app, HashParams { iterations: 2, ..CHEAP })
        .rehash(&presented, &app.service.passwords.decoy().unwrap(), [7; 16])
        .await
        .unwrap()
        .unwrap();
    register_with(&app, phc).await;
    let token = app.login(short).await.text_of("access_token");
    assert_eq!(app.change_password(&token, short, PASSWORD).await.status, 204);
    app.signed_in().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_that_asks_for_too_much_cannot_be_told_from_nobody() {
    let app = App::start().await;
    let decoy = app.service.passwords.decoy().unwrap();
    let phc = decoy.replace(&CHEAP.to_string(), "m=4194304,t=1,p=1");
    assert_ne!(phc, *decoy);
    register_with(&app, phc.into()).await;
    for number in 1..=6 {
        let known = app.taken(app.login(PASSWORD)).await;
        assert_eq!(known, app.taken(app.login_as(NOBODY, PASSWORD)).await, "guess {number}");
        let (status, kind) = if number > 5 { (429, "too-early") } else { (401, "sign-in-refused") };
        known.0.is_problem(status, kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_would_wait_too_long_for_a_hash_is_turned_away_and_nothing_is_counted() {
    let app = App::start().await;
    app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    let registration = json!({"email": NOBODY, "password": PASSWORD});
    let places: Vec<_> = std::iter::from_fn(|| app.service.passwords.place()).collect();
    for _ in 0..10 {
        for answer in [
            app.login("a wrong password").await,
            app.login_as(NOBODY, PASSWORD).await,
            app.post("/register", registration.clone()).await,
            app.change_password(&token, "a wrong password", PASSWORD).await,
        ] {
            answer.is_problem(503, "unavailable");
            assert_eq!(answer.header("retry-after"), "1");
        }
    }
    drop(places);
    // Nobody has to wait for the ten that were not looked at.
    app.signed_in().await;
    assert_eq!(app.post("/register", registration).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_gives_its_place_back() {
    let app = App::start().await;
    let places = || std::iter::from_fn(|| app.service.passwords.place()).collect::<Vec<_>>().len();
    let all = places();
    app.register().await;
    app.post("/register", json!({"email": ADA, "password": PASSWORD})).await.is_problem(409, "address-taken");
    for _ in 0..5 {
        app.login("a wrong password").await.is_problem(401, "sign-in-refused");
    }
    app.login(PASSWORD).await.is_problem(429, "too-early");
    app.pass(chrono::TimeDelta::seconds(1));
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    assert_eq!(app.change_password(&token, "a wrong password", PASSWORD).await.status, 422);
    assert_eq!(app.change_password(&token, PASSWORD, PASSWORD).await.status, 204);
    assert_eq!(places(), all);
}
