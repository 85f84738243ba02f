use std::time::Duration;

use serde_json::json;

use crate::events::{event, post, with_token};
use crate::gateway::{ADA, Gateway, registration};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_registers_signs_in_reads_refreshes_and_signs_out() {
    let mut gateway = Gateway::start().await;
    let registered = gateway.send(registration()).await;
    assert_eq!((registered.status, &registered.body["version"]), (201, &json!(1)), "{registered:?}");
    assert_eq!(registered.headers["location"], "/me");

    let signed_in = gateway.sign_in().await;
    assert_eq!(signed_in.headers["cache-control"], "no-store");
    assert_eq!(
        (&signed_in.body["user_id"], &signed_in.body["version"]),
        (&registered.body["user_id"], &json!(2))
    );

    let me = gateway.get("/me", &signed_in.text("access_token")).await;
    assert_eq!(me.status, 200, "{me:?}");
    assert_eq!((&me.body["email"], &me.body["name"]), (&json!(ADA), &json!("Ada")));
    assert_eq!((&me.headers["etag"], &me.headers["annals-version"]), (&json!("\"1\""), &json!("2")));

    let refresh = post("/token/refresh", &json!({"refresh_token": signed_in.text("refresh_token")}));
    let refreshed = gateway.send(refresh).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    let access_token = refreshed.text("access_token");
    assert_eq!(gateway.get("/me", &access_token).await.status, 200);

    let signed_out = gateway.send(with_token(event("POST", "/logout"), &access_token)).await;
    assert_eq!((signed_out.status, signed_out.body.is_null()), (204, true), "{signed_out:?}");
    gateway.get("/me", &access_token).await.is_problem(401, "bad-token");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_database_is_answered_too() {
    let mut gateway = Gateway::start().await;
    for path in ["/health", "/.well-known/jwks.json", "/.well-known/openid-configuration", "/openapi.json"] {
        let answer = gateway.send(event("GET", path)).await;
        assert_eq!((answer.status, answer.body.is_object()), (200, true), "{path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_function_is_ready_before_lambda_gives_it_up() {
    let started_in = Gateway::start().await.function.started_in;
    println!("command-api asked for its first event after {started_in:?}");
    assert!(started_in < Duration::from_secs(10), "{started_in:?}");
}
