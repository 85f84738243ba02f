//! From one address to another: by what was mailed to the other, and every address has one owner all the while.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use reqwest::StatusCode;
use serde_json::json;
use storage::one_time::OneTimePurpose::{EmailChange, EmailVerification};

use crate::app::{ADA, Answer, App, PASSWORD, all_at_once};

const AUGUSTA: &str = "augusta@example.com";
const BOB: &str = "bob@example.com";

async fn access(app: &App, email: &str) -> String {
    let answer = app.login_as(email, PASSWORD).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.text_of("access_token")
}

/// Asks for another address; the token that goes there.
async fn asked(app: &App, user: &str, from: &str, to: &str) -> String {
    let access = access(app, from).await;
    assert_eq!(app.change_email(&access, to).await.status, 202);
    app.mailed_for(user, EmailChange).await
}

/// The addresses that users have by their logs, each with its owner: and the identifiers say the same.
async fn owners(app: &App, users: &[String]) -> BTreeMap<String, String> {
    let mut owners = BTreeMap::new();
    for user in users {
        let mut snapshot = storage::Snapshot::default();
        app.store.log.advance(user.parse().unwrap(), &mut snapshot, None).await.unwrap();
        let Some(email) = snapshot.user.account().and_then(|account| account.email.clone()) else { continue };
        assert_eq!(app.owner(email.as_str()).await.as_ref(), Some(user));
        assert_eq!(owners.insert(email.as_str().to_owned(), user.clone()), None, "{email:?} has two owners");
    }
    assert_eq!(app.items(&app.tables.identifiers).await.len(), owners.len(), "no identifier is left over");
    owners
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_address_signs_in_at_once_and_the_old_one_is_unknown_at_once() {
    let app = App::start().await;
    let user = app.register().await;
    app.project(&user).await;
    let session = app.signed_in().await;
    let token = asked(&app, &user, ADA, AUGUSTA).await;
    assert_eq!(app.login_as(AUGUSTA, PASSWORD).await.status, 401, "not before it is confirmed");
    assert_eq!(app.verify(&token).await.status, 204);

    app.login(PASSWORD).await.is_problem(401, "sign-in-refused");
    assert_eq!(app.login_as(AUGUSTA, PASSWORD).await.text_of("user_id"), user);
    // Other sessions go on, and show the address, verified.
    let profile = app.get("/me?min_version=99", session["access_token"].as_str().unwrap()).await;
    assert_eq!(
        (&profile.json()["email"], &profile.json()["email_verified"]),
        (&json!(AUGUSTA), &json!(true))
    );
    assert_eq!(app.refresh(session["refresh_token"].as_str().unwrap()).await.status, 200);
    // The old address is free.
    let bob = app.register_as(ADA, PASSWORD).await;
    let expected = [(ADA.to_owned(), bob.clone()), (AUGUSTA.to_owned(), user.clone())];
    assert_eq!(owners(&app, &[user, bob]).await, BTreeMap::from(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_address_needs_a_live_session_and_a_sign_in_within_five_minutes() {
    let app = App::start().await;
    let user = app.register().await;
    let access = access(&app, ADA).await;
    app.pass(TimeDelta::minutes(5) + TimeDelta::seconds(1));
    app.change_email(&access, AUGUSTA).await.is_problem(401, "insufficient-user-authentication");
    let fresh = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    assert_eq!(app.logout(&fresh).await.status, 204);
    app.change_email(&fresh, AUGUSTA).await.is_problem(401, "bad-token");
    let nobody = app.request(reqwest::Method::POST, "/me/email").json(&json!({ "email": AUGUSTA }));
    app.send(nobody).await.is_problem(401, "no-token");
    assert!(!app.events(&user).await.contains(&"UserRequestedEmailChange"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_asks_for_no_address_even_when_it_was_let_in_before() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    let access = access(&app, ADA).await;
    let tasks = (0..20).map(|number| {
        let (app, access) = (Arc::clone(&app), access.clone());
        async move {
            if number == 7 { app.logout(&access).await } else { app.change_email(&access, AUGUSTA).await }
        }
    });
    all_at_once(tasks).await;
    let events = app.events(&user).await;
    let out = events.iter().position(|event| *event == "UserSignedOut").expect("signed out");
    assert!(!events[out..].contains(&"UserRequestedEmailChange"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_the_other_address_is_taken_shows_neither_in_the_answer_nor_in_the_own_log_nor_by_the_requests()
 {
    let app = App::start().await;
    app.register_as(BOB, PASSWORD).await;
    let user = app.register().await;
    let verification = app.mailed_for(&user, EmailVerification).await;
    assert_eq!(app.verify(&verification).await.status, 204);
    app.project(&user).await;
    let access = access(&app, ADA).await;
    app.project(&user).await;
    let requests = ["BatchGetItem", "GetItem", "TransactWriteItems"];
    // Three an hour go to one address: what comes after is the same, too, whoever has it.
    for number in 0..5 {
        let mut seen = Vec::new();
        for to in [BOB, "nobody@example.com"] {
            let (answer, taken) = app.taken(app.change_email(&access, to)).await;
            assert_eq!(answer.status, 202);
            assert_eq!(taken.requests, requests, "{to}, request {number}");
            seen.push((answer, taken, app.events(&user).await.len()));
            app.project(&user).await;
        }
        assert_eq!((&seen[0].0, &seen[0].1), (&seen[1].0, &seen[1].1), "request {number}");
        let written = seen[1].2 - seen[0].2;
        assert_eq!(written, usize::from(number < 3), "request {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_mailed_to_an_address_before_does_not_show_in_the_own_log_whether_it_is_taken() {
    for route in ["/email/verify/resend", "/password/forgot"] {
        let app = App::start().await;
        let bob = app.register_as(BOB, PASSWORD).await;
        let verification = app.mailed_for(&bob, EmailVerification).await;
        assert_eq!(app.verify(&verification).await.status, 204);
        let user = app.register().await;
        let access = access(&app, ADA).await;
        let mut written = Vec::new();
        for to in [BOB, "nobody@example.com"] {
            for _ in 0..3 {
                assert_eq!(app.post(route, json!({ "email": to })).await.status, 202);
            }
            let before = app.events(&user).await.len();
            assert_eq!(app.change_email(&access, to).await.status, 202);
            written.push(app.events(&user).await.len() - before);
        }
        assert_eq!(written[0], written[1], "{route}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_verified_an_address_has_it_told_no_more_often_than_strangers_may() {
    let app = App::start().await;
    let user = app.register().await;
    let access = access(&app, ADA).await;
    app.project(&user).await;
    for number in 0..5 {
        let (answer, taken) = app.taken(app.change_email(&access, &format!("a{number}@example.com"))).await;
        assert_eq!(answer.status, 202);
        assert_eq!(
            taken.requests,
            ["BatchGetItem", "Query", "GetItem", "TransactWriteItems"],
            "request {number}"
        );
        app.project(&user).await;
    }
    let told = |events: Vec<&str>| events.iter().filter(|name| **name == "UserRequestedEmailChange").count();
    assert_eq!(told(app.events(&user).await), 3);
    // Those are mails to the present address like any other: there are no more of another kind.
    assert_eq!(app.forgot(ADA).await.status, 202);
    assert!(!app.events(&user).await.contains(&"UserRequestedPasswordReset"));
    app.pass(TimeDelta::hours(1));
    let again = self::access(&app, ADA).await;
    assert_eq!(app.change_email(&again, AUGUSTA).await.status, 202);
    assert_eq!(told(app.events(&user).await), 4);
    // Once it is known to be theirs, they have themselves told.
    let verification = app.mailed_for(&user, EmailVerification).await;
    assert_eq!(app.verify(&verification).await.status, 204);
    for number in 5..10 {
        assert_eq!(app.change_email(&again, &format!("a{number}@example.com")).await.status, 202);
    }
    assert_eq!(told(app.events(&user).await), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_address_is_told_only_to_whoever_reads_its_mail() {
    let app = App::start().await;
    let (bob, ada) = (app.register_as(BOB, PASSWORD).await, app.register().await);
    let token = asked(&app, &ada, ADA, BOB).await;
    app.verify(&token).await.is_problem(409, "address-taken");
    let expected = [(ADA.to_owned(), ada.clone()), (BOB.to_owned(), bob.clone())];
    assert_eq!(owners(&app, &[ada.clone(), bob.clone()]).await, BTreeMap::from(expected));
    // Once it is let go, the same token is good.
    let away = asked(&app, &bob, BOB, "robert@example.com").await;
    assert_eq!(app.verify(&away).await.status, 204);
    assert_eq!(app.verify(&token).await.status, 204);
    assert_eq!(owners(&app, &[ada.clone(), bob]).await.get(BOB), Some(&ada));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_voids_whatever_was_mailed_to_the_old_address() {
    let app = App::start().await;
    let user = app.register().await;
    let verification = app.mailed_for(&user, EmailVerification).await;
    let first = asked(&app, &user, ADA, BOB).await;
    app.pass(TimeDelta::seconds(1));
    let again = asked(&app, &user, ADA, BOB).await;
    let second = asked(&app, &user, ADA, AUGUSTA).await;
    for void in [&first, &again] {
        app.verify(void).await.is_problem(400, "invalid-token");
    }
    assert_eq!(app.verify(&second).await.status, 204);
    app.verify(&verification).await.is_problem(400, "invalid-token");
    // Opened again, it says the same, until another change is asked for.
    assert_eq!(app.verify(&second).await.status, 204);
    let back = asked(&app, &user, AUGUSTA, ADA).await;
    app.verify(&second).await.is_problem(400, "invalid-token");
    assert_eq!(app.verify(&back).await.status, 204);
    // Back at the first address, and with the same password, the first token is bound to what is so; but it is so already.
    let version = app.events(&user).await.len();
    assert_eq!(app.verify(&verification).await.status, 204);
    assert_eq!(app.events(&user).await.len(), version);
    let events = app.events(&user).await;
    assert_eq!(events.iter().filter(|event| **event == "UserEmailChanged").count(), 2);
    assert_eq!(owners(&app, std::slice::from_ref(&user)).await, BTreeMap::from([(ADA.to_owned(), user)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_fifty_times_at_once_moves_once() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    let token = asked(&app, &user, ADA, AUGUSTA).await;
    let tasks = (0..50).map(|_| {
        let (app, token) = (Arc::clone(&app), token.clone());
        async move { app.verify(&token).await.status }
    });
    assert!(all_at_once(tasks).await.into_iter().all(|status| status == StatusCode::NO_CONTENT));
    let events = app.events(&user).await;
    assert_eq!(events.iter().filter(|event| **event == "UserEmailChanged").count(), 1);
    assert_eq!(owners(&app, std::slice::from_ref(&user)).await, BTreeMap::from([(AUGUSTA.to_owned(), user)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_change_to_an_address_and_registrations_of_it_fifty_at_once_one_gets_it() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    let token = asked(&app, &user, ADA, AUGUSTA).await;
    let tasks = (0..50).map(|number| {
        let (app, token) = (Arc::clone(&app), token.clone());
        async move {
            let body = json!({"email": AUGUSTA, "password": PASSWORD});
            if number % 2 == 0 { app.verify(&token).await } else { app.post("/register", body).await }
        }
    });
    let answers = all_at_once(tasks).await;
    let status = |answer: &Answer| answer.status.as_u16();
    let registered: Vec<&Answer> = answers.iter().filter(|answer| status(answer) == 201).collect();
    let moved = answers.iter().filter(|answer| status(answer) == 204).count();
    assert!(answers.iter().all(|answer| [201, 204, 409].contains(&status(answer))), "{answers:?}");
    let mut users = vec![user.clone()];
    users.extend(registered.iter().map(|answer| answer.text_of("user_id")));
    let owners = owners(&app, &users).await;
    if owners[AUGUSTA] == user {
        assert_eq!((registered.len(), moved), (0, 25));
        assert!(!owners.contains_key(ADA));
    } else {
        assert_eq!((registered.len(), moved), (1, 0));
        assert_eq!(owners[ADA], user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_users_who_change_to_one_address_at_once_one_gets_it() {
    let app = Arc::new(App::start().await);
    let (mut users, mut tokens) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let from = format!("user{number}@example.com");
        users.push(app.register_as(&from, PASSWORD).await);
        tokens.push(asked(&app, &users[number], &from, AUGUSTA).await);
    }
    let tasks = (0..30).map(|number| {
        let (app, token) = (Arc::clone(&app), tokens[number % 3].clone());
        async move { (number % 3, app.verify(&token).await.status.as_u16()) }
    });
    let mut winners: Vec<usize> = Vec::new();
    for (number, status) in all_at_once(tasks).await {
        assert!([204, 409].contains(&status), "{status}");
        winners.extend((status == 204).then_some(number));
    }
    winners.dedup();
    winners.sort_unstable();
    winners.dedup();
    assert_eq!(winners.len(), 1, "{winners:?}");
    let owners = owners(&app, &users).await;
    assert_eq!(owners.len(), 3);
    assert_eq!(owners[AUGUSTA], users[winners[0]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_users_swap_addresses_by_way_of_a_third_and_never_at_once() {
    let app = Arc::new(App::start().await);
    let (ada, bob) = (app.register().await, app.register_as(BOB, PASSWORD).await);
    let to_bob = asked(&app, &ada, ADA, BOB).await;
    let to_ada = asked(&app, &bob, BOB, ADA).await;
    let tasks = [to_bob.clone(), to_ada].into_iter().map(|token| {
        let app = Arc::clone(&app);
        async move { app.verify(&token).await.status.as_u16() }
    });
    assert_eq!(all_at_once(tasks).await, [409, 409]);
    let users = [ada.clone(), bob.clone()];
    assert_eq!(owners(&app, &users).await[ADA], ada);

    let away = asked(&app, &bob, BOB, AUGUSTA).await;
    assert_eq!(app.verify(&away).await.status, 204);
    assert_eq!(app.verify(&to_bob).await.status, 204);
    let back = asked(&app, &bob, AUGUSTA, ADA).await;
    assert_eq!(app.verify(&back).await.status, 204);
    let expected = [(ADA.to_owned(), bob), (BOB.to_owned(), ada)];
    assert_eq!(owners(&app, &users).await, BTreeMap::from(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_password_beside_a_change_of_address_voids_its_token_or_comes_after_it() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    let token = asked(&app, &user, ADA, AUGUSTA).await;
    let access = access(&app, ADA).await;
    let (confirming, changing) = (Arc::clone(&app), Arc::clone(&app));
    let (confirmed, changed) = tokio::join!(
        tokio::spawn(async move { confirming.verify(&token).await.status.as_u16() }),
        tokio::spawn(async move {
            changing.change_password(&access, PASSWORD, "another long password").await.status.as_u16()
        })
    );
    let (confirmed, changed) = (confirmed.unwrap(), changed.unwrap());
    assert_eq!(changed, 204);
    let events = app.events(&user).await;
    let place = |name| events.iter().position(|event| *event == name);
    match (confirmed, place("UserEmailChanged"), place("UserPasswordChanged")) {
        (204, Some(moved), Some(changed)) => assert!(moved < changed),
        (400, None, Some(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn to_ask_for_the_own_address_sends_nothing() {
    let app = App::start().await;
    let user = app.register().await;
    let access = access(&app, ADA).await;
    assert_eq!(app.change_email(&access, " ADA@example.com").await.status, 202);
    assert_eq!(app.events(&user).await, ["UserRegistered", "UserSignedIn"]);
}
