//! `/me/events`: one's own history, newest first.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{ADA, Answer, App, PASSWORD};

async fn history(app: &App, query: &str, token: &str) -> Answer {
    let answer = app.get(&format!("/me/events{query}"), token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

async fn sign_in_as(app: &App, agent: &str) -> (String, String, String) {
    let request = app.request(Method::POST, "/login").header("User-Agent", agent);
    let answer = app.send(request.json(&json!({"email": ADA, "password": PASSWORD}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    (answer.text_of("access_token"), answer.text_of("session_id"), answer.text_of("refresh_token"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_what_happened_to_them_the_newest_first() {
    let app = App::start().await;
    app.register().await;
    let (_, thiefs, spent) = sign_in_as(&app, "phone").await;
    assert_eq!(app.refresh(&spent).await.status, 200);
    app.pass(TimeDelta::minutes(1));
    assert_eq!(app.refresh(&spent).await.status, 400);
    let (_, one, _) = sign_in_as(&app, "tablet").await;
    let (_, two, _) = sign_in_as(&app, "tv").await;
    let (token, current, _) = sign_in_as(&app, "laptop").await;
    assert_eq!(app.delete(&format!("/me/sessions/{one}"), &token).await.status, 204);
    assert_eq!(app.delete("/me/sessions", &token).await.status, 204);
    assert_eq!(app.patch_me(&token, json!({"name": null})).await.status, 200);
    let (_, three, last) = sign_in_as(&app, "tv").await;
    assert_eq!(app.change_password(&token, PASSWORD, "staple of another horse").await.status, 204);
    let (first, later) = ("2100-01-01T00:00:00.000Z", "2100-01-01T00:01:00.000Z");
    let event = |version: u64, kind: &str, client: &str, more: Value| {
        let at = if version < 3 { first } else { later };
        let mut event =
            json!({"version": version, "at": at, "type": kind, "client": client, "address": null});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    assert_eq!(
        history(&app, "", &token).await.json(),
        json!({"next": null, "events": [
            event(11, "password_changed", "test", json!({"ended_session_ids": [three]})),
            event(10, "signed_in", "tv", json!({"session_id": three})),
            event(9, "name_changed", "test", json!({})),
            event(8, "other_sessions_ended", "test", json!({"ended_session_ids": [two]})),
            event(7, "session_ended", "test", json!({"session_id": one})),
            event(6, "signed_in", "laptop", json!({"session_id": current})),
            event(5, "signed_in", "tv", json!({"session_id": two})),
            event(4, "signed_in", "tablet", json!({"session_id": one})),
            event(3, "refresh_token_reused", "test", json!({"session_id": thiefs})),
            event(2, "signed_in", "phone", json!({"session_id": thiefs})),
            event(1, "registered", "test", json!({"email": ADA, "name": "Ada"})),
        ]})
    );
    app.refresh(&last).await.is_problem(400, "invalid-grant");
    assert_eq!(app.logout(&token).await.status, 204);
    app.get("/me/events", &token).await.is_problem(401, "bad-token");
    let token = app.login("staple of another horse").await.text_of("access_token");
    let newest = history(&app, "?limit=2", &token).await.json();
    assert_eq!(
        (&newest["events"][1]["type"], &newest["events"][1]["session_id"]),
        (&json!("signed_out"), &json!(current))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn page_by_page_nothing_is_missing_and_nothing_comes_twice() {
    let app = App::start().await;
    app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    for number in 0..23 {
        assert_eq!(app.patch_me(&token, json!({"name": format!("name {number}")})).await.status, 200);
    }
    let versions = |page: &Value| -> Vec<u64> {
        page["events"].as_array().unwrap().iter().map(|event| event["version"].as_u64().unwrap()).collect()
    };
    let first = history(&app, "", &token).await.json();
    assert_eq!(
        (versions(&first), &first["next"]),
        ((6..=25).rev().collect(), &json!(6)),
        "twenty unless it is said"
    );
    let (mut shown, mut query) = (Vec::new(), "?limit=7".to_owned());
    loop {
        let page = history(&app, &query, &token).await.json();
        shown.extend(versions(&page));
        let Some(next) = page["next"].as_u64() else { break };
        // What happens meanwhile shifts nothing.
        app.signed_in().await;
        query = format!("?limit=7&before={next}");
    }
    assert_eq!(shown, (1..=25).rev().collect::<Vec<_>>());
    assert_eq!(history(&app, "?before=1", &token).await.json(), json!({"events": [], "next": null}));
    let beyond = history(&app, "?limit=1&before=18446744073709551615", &token).await.json();
    assert_eq!(versions(&beyond), [28]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_asked_for_in_plain_numbers() {
    let app = App::start().await;
    app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    for query in [
        "limit=0",
        "limit=101",
        "limit=",
        "limit=x",
        "limit=1&limit=1",
        "limit=%31",
        "before=0",
        "before=-1",
        "before=+1",
        "before",
        "before=18446744073709551616",
    ] {
        let answer = app.get(&format!("/me/events?{query}"), &token).await;
        answer.is_problem(422, "invalid");
        let fields = answer.json()["errors"].as_array().unwrap().len();
        assert_eq!(fields, 1, "{query}");
    }
    let both = app.get("/me/events?limit=0&before=0", &token).await;
    both.is_problem(422, "invalid");
    assert_eq!(both.json()["errors"].as_array().unwrap().len(), 2, "one answer names all");
    assert_eq!(app.get("/me/events?x=1&limit=100", &token).await.status, 200);
    app.get("/me/events", "x").await.is_problem(401, "bad-token");
    app.send(app.request(Method::GET, "/me/events")).await.is_problem(401, "no-token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_something_unreadable_is_refused_and_the_pages_before_it_are_shown() {
    let app = App::start().await;
    app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    for number in 0..4 {
        assert_eq!(app.patch_me(&token, json!({"name": format!("name {number}")})).await.status, 200);
    }
    let items = app.items(&app.tables.events).await;
    let mut third =
        items.into_iter().find(|item| item["item"].as_s().unwrap() == "commit-0000000003").unwrap();
    third.insert("sealed".to_owned(), aws_sdk_dynamodb::types::AttributeValue::B(vec![1, 2, 3].into()));
    app.raw.put_item().table_name(&app.tables.events).set_item(Some(third)).send().await.unwrap();
    app.get("/me/events", &token).await.is_problem(500, "internal");
    app.get("/me/events?before=4", &token).await.is_problem(500, "internal");
    let newest = history(&app, "?limit=2", &token).await.json();
    assert_eq!((newest["events"].as_array().unwrap().len(), &newest["next"]), (2, &json!(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_two_requests() {
    let app = App::start().await;
    let user = app.register().await;
    let access = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    app.project(&user).await;
    let (page, taken) = app.taken(app.get("/me/events", &access)).await;
    assert_eq!(page.status, 200);
    assert_eq!(taken.requests, ["BatchGetItem", "Query"]);
    assert!((taken.write_units, taken.read_units) == (0.0, 3.5), "{taken:?}");
}
