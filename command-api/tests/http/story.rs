use serde_json::json;

use crate::app::{ADA, App, PASSWORD};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_registers_signs_in_reads_refreshes_and_signs_out() {
    let app = App::start().await;
    let registered = app
        .post("/register", json!({"email": " Ada@Example.com", "password": PASSWORD, "name": "Ada"}))
        .await;
    assert_eq!(registered.status, 201, "{registered:?}");
    assert_eq!(registered.header("location"), "/me");
    let user = registered.text_of("user_id");
    assert_eq!(registered.json(), json!({"user_id": user, "version": 1}));

    let signed_in = app.login(PASSWORD).await;
    assert_eq!(signed_in.status, 200, "{signed_in:?}");
    assert_eq!(signed_in.header("cache-control"), "no-store");
    let body = signed_in.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!((&body["user_id"], &body["version"]), (&json!(user), &json!(2)));

    let me = app.get("/me", &signed_in.text_of("access_token")).await;
    assert_eq!(me.status, 200, "{me:?}");
    assert_eq!((me.header("etag"), me.header("annals-version")), ("\"1\"", "2"));
    let profile = me.json();
    assert_eq!(profile["email"], ADA);
    assert_eq!(profile["email_verified"], false);
    assert_eq!((&profile["name"], &profile["status"]), (&json!("Ada"), &json!("active")));
    assert_eq!(profile["created_at"], profile["updated_at"]);

    let refreshed = app.refresh(&signed_in.text_of("refresh_token")).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    assert_eq!(refreshed.text_of("session_id"), signed_in.text_of("session_id"));
    let access_token = refreshed.text_of("access_token");
    assert_eq!(app.get("/me", &access_token).await.status, 200);

    assert_eq!(app.logout(&access_token).await.status, 204);
    app.get("/me", &access_token).await.is_problem(401, "bad-token");
    app.get("/me", &signed_in.text_of("access_token")).await.is_problem(401, "bad-token");
    app.refresh(&refreshed.text_of("refresh_token")).await.is_problem(400, "invalid-grant");
}
