use serde_json::{Value, json};

use crate::events::{event, post, with_token};
use crate::gateway::{ADA, Gateway, PASSWORD};

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_are_json_and_hold_no_address_password_or_token() {
    let mut gateway = Gateway::start().await;
    let user = gateway.register().await;
    let wrong = "a wrong password\u{1b}[31m\nthat";
    for email in [ADA, "nobody@example.com"] {
        let refused = gateway.send(post("/login", &json!({"email": email, "password": wrong}))).await;
        refused.is_problem(401, "sign-in-refused");
    }
    let signed_in = gateway.sign_in().await;
    let (access, refresh) = (signed_in.text("access_token"), signed_in.text("refresh_token"));
    let refreshed = gateway.send(post("/token/refresh", &json!({ "refresh_token": refresh }))).await;
    let successor = refreshed.text("refresh_token");
    let mut altered = access.clone();
    altered.replace_range(altered.len() - 2.., "AA");
    gateway.get("/me", &altered).await.is_problem(401, "bad-token");
    gateway.send(with_token(event("POST", "/logout"), &access)).await;
    gateway
        .send(post("/register", &json!({"email": "no address", "password": "short", "naem": "Eve"})))
        .await;
    gateway.send(event("GET", "/secret-path")).await;

    let log = gateway.function.stop().await;
    let mut messages = Vec::new();
    for line in &log {
        let fields: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(fields["timestamp"].is_string() && fields["level"].is_string(), "{line}");
        messages.push(fields["message"].as_str().unwrap().to_owned());
    }
    let of_the_user = log.iter().filter(|line| line.contains(&user)).count();
    assert!(of_the_user >= 3, "registered, refused, signed in: {log:#?}");
    for expected in ["registered", "a sign-in failed", "signed in", "answered", "an access token was refused"]
    {
        assert!(messages.iter().any(|message| message == expected), "{expected}: {log:#?}");
    }
    let log = log.join("\n");
    for secret in [
        ADA,
        "nobody@",
        PASSWORD,
        "wrong password",
        &access,
        &refresh,
        &successor,
        "no address",
        "Eve",
        "secret-path",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
    // Nor a part of a token, but for the name of its key.
    for part in [&access, &refresh, &successor].into_iter().flat_map(|token| token.split('.').skip(1)) {
        assert!(!log.contains(part), "{part} is in the log: {log}");
    }
}
