//! A database that is not there.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::config::{Credentials, Region};
use chrono::TimeDelta;
use command_api::tokens::{AccessClaims, AccessTokens};
use serde_json::json;
use storage::Lifetimes;
use testkit::{Engine, Meter, Nobody};
use uuid::Uuid;

use crate::app::{ADA, App, ISSUER, PASSWORD};

/// A service with the client of production, and a database where nobody listens.
async fn cut_off(nobody: &Nobody) -> App {
    let settings = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .endpoint_url(format!("http://{}", nobody.address()))
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .load()
        .await;
    App::on(Engine::start().await, &storage::client(&settings), Meter::default(), Lifetimes::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_every_route_that_needs_it_says_try_again() {
    let nobody = Nobody::new();
    let app = cut_off(&nobody).await;
    let (user, session) = (Uuid::from_u128(1).to_string(), Uuid::from_u128(2).to_string());
    let (user, session) = (user.parse().unwrap(), session.parse().unwrap());
    let refresh = app.store.sessions.begin(user, session, Some("test"), app.now()).unwrap().token;
    let tokens = AccessTokens::new(&app.keys.signing, ISSUER.into(), ISSUER.into(), "annals".into()).unwrap();
    let now = app.now() - TimeDelta::seconds(1);
    let access = tokens
        .issue(&AccessClaims { user, session, auth_time: now, issued_at: now, token: Uuid::from_u128(3) })
        .unwrap();
    let body = json!({"email": ADA, "password": PASSWORD});

    let started = Instant::now();
    for answer in [
        app.post("/register", body.clone()).await,
        app.post("/login", body).await,
        app.get("/me", &access).await,
        app.refresh(&refresh).await,
        app.patch_me(&access, json!({"name": "Ada"})).await,
        app.change_password(&access, PASSWORD, "staple of another horse").await,
        app.get("/me/sessions", &access).await,
        app.delete("/me/sessions", &access).await,
        app.delete(&format!("/me/sessions/{}", Uuid::from_u128(4)), &access).await,
        app.logout(&access).await,
    ] {
        answer.is_problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.json().as_object().unwrap().len(), 3, "and no cause: {answer:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(app.send(app.request(reqwest::Method::GET, "/health")).await.status, 200);
}
