//! A password at which too many have guessed: none is right any more, until it is reset by mail.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::{Value, json};
use storage::Lifetimes;
use testkit::{Engine, Fault, Taken};

use crate::app::{ADA, Answer, App, PASSWORD, all_at_once};

const NOBODY: &str = "nobody@example.com";
const NEW: &str = "staple of another horse";

/// A sign-in, with what it took.
async fn tries(app: &App, email: &str, password: &str) -> (Answer, Taken) {
    app.taken(app.login_as(email, password)).await
}

/// Fails so many times at an address, each when it surely may be.
async fn fails(app: &App, email: &str, times: usize) {
    for _ in 0..times {
        app.pass(TimeDelta::minutes(15));
        app.login_as(email, "a wrong password").await.is_problem(401, "sign-in-refused");
    }
}

/// Ada, registered, with a disabled password; her id.
async fn disabled(app: &App) -> String {
    let user = app.register().await;
    fails(app, ADA, 100).await;
    assert_eq!(app.events(&user).await, ["UserRegistered", "UserPasswordDisabled"]);
    user
}

/// How many attempts are counted under this sort key's only item.
async fn counted(app: &App) -> Vec<u64> {
    let items = app.items(&app.tables.sessions).await;
    let counts = items.iter().filter(|item| item["item"].as_s().unwrap() == "guesses");
    counts.map(|item| item["attempts"].as_n().unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hundredth_failure_in_a_row_disables_the_password_and_not_even_the_right_one_is_right_then() {
    let app = App::start().await;
    let user = app.register().await;
    // A success begins the count anew.
    fails(&app, ADA, 99).await;
    app.pass(TimeDelta::minutes(15));
    assert_eq!(app.login(PASSWORD).await.status, 200);
    fails(&app, ADA, 99).await;
    assert!(!app.events(&user).await.contains(&"UserPasswordDisabled"));
    fails(&app, ADA, 1).await;
    assert_eq!(app.events(&user).await, ["UserRegistered", "UserSignedIn", "UserPasswordDisabled"]);
    for wait in [TimeDelta::zero(), TimeDelta::minutes(15), TimeDelta::days(300)] {
        app.pass(wait);
        let wrong = tries(&app, ADA, "a wrong password").await;
        assert_eq!(tries(&app, ADA, PASSWORD).await, wrong, "the right one is not told from a wrong one");
        wrong.0.is_problem(401, "sign-in-refused");
    }
    assert_eq!(counted(&app).await, [200], "nothing is counted any more");
    assert_eq!(app.events(&user).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_cannot_be_told_from_nobody_at_any_attempt() {
    for projected in [false, true] {
        let app = App::start().await;
        let user = app.register().await;
        if projected {
            app.project(&user).await;
        }
        for attempt in 1..=103 {
            app.pass(TimeDelta::minutes(15));
            let known = tries(&app, ADA, "a wrong password").await;
            known.0.is_problem(401, "sign-in-refused");
            assert_eq!(tries(&app, NOBODY, "a wrong password").await, known, "attempt {attempt}");
        }
        if projected {
            app.project(&user).await;
        }
        app.pass(TimeDelta::hours(1));
        let known = tries(&app, ADA, PASSWORD).await;
        known.0.is_problem(401, "sign-in-refused");
        assert_eq!(tries(&app, NOBODY, PASSWORD).await, known);
        // Nor by asking for a reset.
        for _ in 0..4 {
            let known = app.taken(app.forgot(ADA)).await;
            assert_eq!(app.taken(app.forgot(NOBODY)).await, known);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_wrong_guesses_at_once_one_is_the_hundredth_and_the_event_is_appended_once() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    fails(&app, ADA, 99).await;
    app.pass(TimeDelta::minutes(15));
    let guessing = |_| {
        let app = Arc::clone(&app);
        async move { app.login("a wrong password").await }
    };
    for _ in 0..2 {
        let answers = all_at_once((0..50).map(guessing)).await;
        for answer in &answers {
            answer.is_problem(401, "sign-in-refused");
        }
        assert_eq!(counted(&app).await, [100]);
        assert_eq!(app.events(&user).await, ["UserRegistered", "UserPasswordDisabled"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_died_between_the_count_and_the_event_leaves_it_to_the_next_attempt() {
    let engine = Engine::start().await;
    let (client, faults, meter) = engine.faulty();
    let app = App::on(engine, &client, meter, Lifetimes::default()).await;
    let user = app.register().await;
    fails(&app, ADA, 99).await;
    app.pass(TimeDelta::minutes(15));
    // The event cannot be written, and this is as good as not being there to write it.
    faults.script("PutItem", 1, Fault::error(400, "AccessDeniedException"));
    app.login("a wrong password").await.is_problem(503, "unavailable");
    assert_eq!((counted(&app).await, app.events(&user).await), (vec![100], vec!["UserRegistered"]));
    // Whoever comes next is not let in, right or not.
    app.login(PASSWORD).await.is_problem(401, "sign-in-refused");
    assert_eq!(app.events(&user).await, ["UserRegistered", "UserPasswordDisabled"]);
    app.login(PASSWORD).await.is_problem(401, "sign-in-refused");
    assert_eq!(app.events(&user).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_password_stays_so_when_its_count_is_put_back() {
    let app = App::start().await;
    let user = disabled(&app).await;
    let items = app.items(&app.tables.sessions).await;
    let count = items.into_iter().find(|item| item["item"].as_s().unwrap() == "guesses").unwrap();
    for projected in [false, true] {
        if projected {
            app.project(&user).await;
        }
        for attempts in [None, Some("0"), Some("7")] {
            let mut put_back = count.clone();
            match attempts {
                Some(attempts) => {
                    let attempts = aws_sdk_dynamodb::types::AttributeValue::N(attempts.to_owned());
                    put_back.insert("attempts".to_owned(), attempts);
                }
                None => {
                    put_back.remove("attempts");
                }
            }
            let put = app.raw.put_item().table_name(&app.tables.sessions).set_item(Some(put_back));
            put.send().await.unwrap();
            app.pass(TimeDelta::minutes(15));
            app.login(PASSWORD).await.is_problem(401, "sign-in-refused");
        }
    }
    assert_eq!(app.sessions(&user).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_session_goes_on_and_cannot_change_a_password_that_is_disabled() {
    let app = App::start().await;
    let user = app.register().await;
    let begun = app.signed_in().await;
    let token = |body: &Value, name: &str| body[name].as_str().unwrap().to_owned();
    let access = token(&begun, "access_token");
    // A count a little short of the limit, as a day of guessing leaves it; the sign-in is still fresh.
    let put = app
        .raw
        .update_item()
        .table_name(&app.tables.sessions)
        .update_expression("SET attempts = :n, #l = :t");
    let number = |n: i64| aws_sdk_dynamodb::types::AttributeValue::N(n.to_string());
    let text = |s: &str| aws_sdk_dynamodb::types::AttributeValue::S(s.to_owned());
    let long_ago = (app.now() - TimeDelta::hours(1)).timestamp_millis();
    put.key("user", text(&user))
        .key("item", text("guesses"))
        .expression_attribute_names("#l", "last")
        .expression_attribute_values(":n", number(100))
        .expression_attribute_values(":t", number(long_ago))
        .send()
        .await
        .unwrap();
    let disabled = json!([{"field": "current_password",
        "detail": "is disabled after too many failed attempts, until it is reset by mail"}]);
    // The hundredth since the sign-in, which was the first.
    let wrong = app.change_password(&access, "not the password", NEW).await;
    wrong.is_problem(422, "invalid");
    assert_eq!(wrong.json()["errors"][0]["detail"], "is not the current password");
    assert_eq!(app.events(&user).await.last(), Some(&"UserPasswordDisabled"));
    for current in [PASSWORD, "not the password"] {
        let refused = app.change_password(&access, current, NEW).await;
        refused.is_problem(422, "invalid");
        assert_eq!(refused.json()["errors"], disabled);
    }
    app.login(PASSWORD).await.is_problem(401, "sign-in-refused");
    assert_eq!(app.get("/me", &access).await.status, 200);
    assert_eq!(app.patch_me(&access, json!({"name": "Augusta"})).await.status, 200);
    assert_eq!(app.refresh(&token(&begun, "refresh_token")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reset_everything_works_again_and_a_hundred_more_may_fail() {
    let app = App::start().await;
    let user = disabled(&app).await;
    assert_eq!(app.forgot(ADA).await.status, 202);
    assert_eq!(app.reset(&app.mailed(&user).await, NEW).await.status, 204);
    app.login(PASSWORD).await.is_problem(401, "sign-in-refused");
    let session = app.login(NEW).await;
    assert_eq!(session.status, 200);
    assert_eq!(app.change_password(&session.text_of("access_token"), NEW, PASSWORD).await.status, 204);
    fails(&app, ADA, 99).await;
    app.pass(TimeDelta::minutes(15));
    assert_eq!(app.login(PASSWORD).await.status, 200);
    fails(&app, ADA, 100).await;
    assert_eq!(app.events(&user).await.iter().filter(|name| **name == "UserPasswordDisabled").count(), 2);
}
