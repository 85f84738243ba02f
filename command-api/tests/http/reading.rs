//! Reading one's own writes: with a view that is there, old, or missing.

use chrono::TimeDelta;
use serde_json::json;

use crate::app::{Answer, App, PASSWORD};

async fn me(app: &App, query: &str, token: &str) -> Answer {
    app.get(&format!("/me{query}"), token).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_reads_their_profile_before_there_is_a_view() {
    let app = App::start().await;
    let user = app.register().await;
    let first = app.signed_in().await;
    let second = app.signed_in().await;
    assert!(app.items(&app.tables.views).await.is_empty());
    assert_eq!((&first["version"], &second["version"]), (&json!(2), &json!(3)));
    let answer = me(&app, "", second["access_token"].as_str().unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("annals-version"), "3");
    assert_eq!(answer.text_of("user_id"), user);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_view_answers_and_min_version_goes_past_it() {
    let app = App::start().await;
    let user = app.register().await;
    app.project(&user).await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    assert_eq!(app.signed_in().await["version"], 3);
    for (query, version) in [
        ("", "1"),
        ("?min_version=0", "1"),
        ("?min_version=1", "1"),
        ("?min_version=2", "3"),
        ("?min_version=3", "3"),
        ("?min_version=4", "3"),
        ("?min_version=9999999999", "3"),
        ("?min_version=18446744073709551615", "3"),
        ("?other=x&min_version=2", "3"),
        ("?min_versions=2", "1"),
    ] {
        let answer = me(&app, query, &token).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        assert_eq!(answer.header("annals-version"), version, "{query}");
        assert_eq!(answer.header("etag"), "\"1\"", "{query}");
    }
    app.project(&user).await;
    assert_eq!(me(&app, "", &token).await.header("annals-version"), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_min_version_that_is_no_version_is_not_acceptable() {
    let app = App::start().await;
    app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    for query in [
        "?min_version=",
        "?min_version",
        "?min_version=x",
        "?min_version=-1",
        "?min_version=+1",
        "?min_version=1.0",
        "?min_version=0x1",
        "?min_version=%31",
        "?min_version=1%00",
        "?min_version=18446744073709551616",
        "?min_version=1&min_version=2",
    ] {
        let answer = me(&app, query, &token).await;
        assert_eq!(answer.status, 422, "{query}: {answer:?}");
        answer.is_problem(422, "invalid");
        assert_eq!(answer.json()["errors"][0]["field"], "min_version");
        me(&app, query, "x").await.is_problem(401, "bad-token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_and_out_changes_no_profile() {
    let app = App::start().await;
    let user = app.register().await;
    let mut profiles = Vec::new();
    for _ in 0..4 {
        app.pass(TimeDelta::hours(1));
        let signed_in = app.login(PASSWORD).await;
        let (token, refresh) = (signed_in.text_of("access_token"), signed_in.text_of("refresh_token"));
        assert_eq!(app.refresh(&refresh).await.status, 200);
        let latest = me(&app, "?min_version=99", &token).await;
        profiles.push((latest.header("etag").to_owned(), latest.text));
        app.project(&user).await;
        let projected = me(&app, "", &token).await;
        profiles.push((projected.header("etag").to_owned(), projected.text));
        assert_eq!(app.logout(&token).await.status, 204);
    }
    assert!(profiles.iter().all(|profile| *profile == profiles[0]), "{profiles:?}");
}
