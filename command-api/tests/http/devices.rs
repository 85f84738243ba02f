//! Devices that are known: strangers who guess do not keep them out, and they guess no more than strangers do.

use chrono::TimeDelta;
use serde_json::json;
use testkit::Taken;

use crate::app::{ADA, Answer, App, PASSWORD};

const WRONG: &str = "a wrong password";
const NEW: &str = "staple of another horse";

/// Signs Ada in; her device token.
async fn device(app: &App) -> String {
    app.signed_in().await["device_token"].as_str().unwrap().to_owned()
}

async fn guess_from(app: &App, token: &str) -> (Answer, Taken) {
    app.taken(app.login_from(token, WRONG)).await
}

/// A stranger fails so often, as fast as they may.
async fn strangers_fail(app: &App, times: usize) {
    let mut failures = 0;
    while failures < times {
        let answer = app.login(WRONG).await;
        if answer.status == 429 {
            app.pass(TimeDelta::seconds(answer.header("retry-after").parse().unwrap()));
        } else {
            answer.is_problem(401, "sign-in-refused");
            failures += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_failures_do_not_keep_a_known_device_out() {
    let app = App::start().await;
    let user = app.register().await;
    let token = device(&app).await;
    // At the hundredth the password itself may be no good any more.
    strangers_fail(&app, 99).await;
    app.login(PASSWORD).await.is_problem(429, "too-early");
    let answer = app.login_from(&token, PASSWORD).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // Its success says nothing of the strangers' guesses, and they are as far as they were.
    app.login(PASSWORD).await.is_problem(429, "too-early");
    app.project(&user).await;
    app.login(PASSWORD).await.is_problem(429, "too-early");
    assert_eq!(app.login_from(&answer.text_of("device_token"), PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_device_waits_for_its_own_failures_as_a_stranger_does() {
    let app = App::start().await;
    app.register().await;
    let token = device(&app).await;
    for projected in [false, true] {
        if projected {
            app.pass(TimeDelta::hours(1));
        }
        let answer = app.login_from(&token, PASSWORD).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = answer.text_of("device_token");
        for _ in 0..5 {
            guess_from(&app, &token).await.0.is_problem(401, "sign-in-refused");
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            let refused = app.login_from(&token, PASSWORD).await;
            refused.is_problem(429, "too-early");
            assert_eq!(refused.header("retry-after"), seconds.to_string());
            app.pass(TimeDelta::milliseconds(seconds * 1_000 - 1));
            assert_eq!(guess_from(&app, &token).await.0.header("retry-after"), "1");
            app.pass(TimeDelta::milliseconds(1));
            guess_from(&app, &token).await.0.is_problem(401, "sign-in-refused");
        }
        // Nobody else waits for that, and the device does not if it succeeds.
        assert_eq!(app.login(PASSWORD).await.status, 200);
        app.pass(TimeDelta::minutes(15));
        let good = app.login_from(&token, PASSWORD).await;
        assert_eq!(good.status, 200, "{good:?}");
        let token = good.text_of("device_token");
        for _ in 0..5 {
            guess_from(&app, &token).await.0.is_problem(401, "sign-in-refused");
        }
        guess_from(&app, &token).await.0.is_problem(429, "too-early");
        app.pass(TimeDelta::hours(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_forged_or_anothers_or_too_old_counts_as_none_and_nothing_tells() {
    let app = App::start().await;
    let user = app.register().await;
    app.register_as("bob@example.com", PASSWORD).await;
    app.project(&user).await;
    let old = device(&app).await;
    app.pass(TimeDelta::days(365));
    let bobs = app.login_as("bob@example.com", PASSWORD).await.text_of("device_token");
    let mut forged = device(&app).await;
    forged.replace_range(12..13, if &forged[12..13] == "A" { "B" } else { "A" });
    app.project(&user).await;
    let unknown = async |token: &str| {
        let body = json!({"email": "nobody@example.com", "password": WRONG, "device_token": token});
        app.taken(app.post("/login", body)).await
    };
    for token in [&old, &bobs, &forged, "x", ""] {
        // Five, and the sixth waits, exactly as without any.
        for number in 1..=6 {
            let with = guess_from(&app, token).await;
            assert_eq!(with, unknown(token).await, "guess {number} with {token}");
            with.0.is_problem(
                if number > 5 { 429 } else { 401 },
                if number > 5 { "too-early" } else { "sign-in-refused" },
            );
        }
        app.pass(TimeDelta::hours(1));
        assert_eq!(app.login_from(token, PASSWORD).await.status, 200);
        app.project(&user).await;
        // Both addresses begin again for the next token.
        let sweep = app.items(&app.tables.sessions).await;
        for item in sweep.into_iter().filter(|item| item["item"].as_s().unwrap() == "guesses") {
            let key = ["user", "item"].map(|name| (name.to_owned(), item[name].clone()));
            let delete = app.raw.delete_item().table_name(&app.tables.sessions);
            delete.set_key(Some(key.into_iter().collect())).send().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_device_asks_for_the_same_as_any_other() {
    let app = App::start().await;
    let user = app.register().await;
    let token = device(&app).await;
    app.project(&user).await;
    let wrong = app.taken(app.login(WRONG)).await;
    assert_eq!(guess_from(&app, &token).await, wrong);
    let (_, without) = app.taken(app.login(PASSWORD)).await;
    app.project(&user).await;
    let (_, with) = app.taken(app.login_from(&token, PASSWORD)).await;
    assert_eq!(with, without);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_hundred_failures_a_device_is_none_any_more() {
    let app = App::start().await;
    app.register().await;
    let token = device(&app).await;
    for _ in 0..100 {
        app.pass(TimeDelta::minutes(15));
        guess_from(&app, &token).await.0.is_problem(401, "sign-in-refused");
    }
    // From now on it shares the strangers' guesses.
    for _ in 0..5 {
        guess_from(&app, &token).await.0.is_problem(401, "sign-in-refused");
    }
    app.login(PASSWORD).await.is_problem(429, "too-early");
    app.login_from(&token, PASSWORD).await.is_problem(429, "too-early");
    app.pass(TimeDelta::minutes(15));
    let again = app.login_from(&token, PASSWORD).await;
    assert_eq!(again.status, 200);
    // It is another device then.
    for _ in 0..6 {
        app.login(WRONG).await;
    }
    app.login(PASSWORD).await.is_problem(429, "too-early");
    app.login_from(&token, PASSWORD).await.is_problem(429, "too-early");
    assert_eq!(app.login_from(&again.text_of("device_token"), PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_on_a_device_disables_no_password() {
    let app = App::start().await;
    let user = app.register().await;
    let mut token = device(&app).await;
    // The count of the device is ahead of the user's.
    for _ in 0..5 {
        token = app.login_from(&token, PASSWORD).await.text_of("device_token");
    }
    for _ in 0..100 {
        app.pass(TimeDelta::minutes(15));
        guess_from(&app, &token).await.0.is_problem(401, "sign-in-refused");
    }
    assert!(!app.events(&user).await.contains(&"UserPasswordDisabled"));
    assert_eq!(app.login(PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_password_is_disabled_on_known_devices_too_and_good_again_as_soon_as_it_is_reset() {
    for projected in [false, true] {
        let app = App::start().await;
        let user = app.register().await;
        let token = device(&app).await;
        strangers_fail(&app, 100).await;
        assert_eq!(app.events(&user).await.last(), Some(&"UserPasswordDisabled"));
        if projected {
            app.project(&user).await;
        }
        app.login_from(&token, PASSWORD).await.is_problem(401, "sign-in-refused");
        assert_eq!(app.forgot(ADA).await.status, 202);
        assert_eq!(app.reset(&app.mailed(&user).await, NEW).await.status, 204);
        // A view that does not know of the reset yet keeps nobody out.
        app.login_from(&token, PASSWORD).await.is_problem(401, "sign-in-refused");
        assert_eq!(app.login_from(&token, NEW).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_token_of_a_device_is_stricter_and_never_laxer() {
    let app = App::start().await;
    app.register().await;
    let first = device(&app).await;
    let mut token = first.clone();
    for _ in 0..5 {
        token = app.login_from(&token, PASSWORD).await.text_of("device_token");
    }
    // Five attempts since: for the first token, five failures.
    app.login_from(&first, PASSWORD).await.is_problem(429, "too-early");
    for _ in 0..5 {
        guess_from(&app, &token).await.0.is_problem(401, "sign-in-refused");
    }
    guess_from(&app, &token).await.0.is_problem(429, "too-early");
    guess_from(&app, &first).await.0.is_problem(429, "too-early");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_password_holds_for_known_devices_too() {
    let app = App::start().await;
    app.register().await;
    let begun = app.signed_in().await;
    let text = |name: &str| begun[name].as_str().unwrap().to_owned();
    assert_eq!(app.change_password(&text("access_token"), PASSWORD, NEW).await.status, 204);
    app.login_from(&text("device_token"), PASSWORD).await.is_problem(401, "sign-in-refused");
    assert_eq!(app.login_from(&text("device_token"), NEW).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_token_is_a_text_or_absent() {
    let app = App::start().await;
    app.register().await;
    for wrong in [json!(7), json!([]), json!({"a": 1}), json!(true)] {
        let answer =
            app.post("/login", json!({"email": ADA, "password": PASSWORD, "device_token": wrong})).await;
        answer.is_problem(422, "invalid");
        assert_eq!(answer.json()["errors"], json!([{"field": "device_token", "detail": "must be a string"}]));
    }
    let null = app.post("/login", json!({"email": ADA, "password": PASSWORD, "device_token": null})).await;
    assert_eq!(null.status, 200);
}
