use serde_json::{Value, json};
use testkit::Engine;

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
        if fields["_aws"].is_object() {
            assert!(!line.contains(&user), "a metric of one user: {line}");
            continue;
        }
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

/// The lines that say how requests were answered, and the metrics.
fn answered_and_measured(log: &[String]) -> (Vec<Value>, Vec<Value>) {
    let lines = log.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (metrics, lines): (Vec<_>, Vec<_>) = lines.partition(|line| line["_aws"].is_object());
    (lines.into_iter().filter(|line| line["message"] == "answered").collect(), metrics)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_a_line_with_what_it_took() {
    let mut gateway = Gateway::start().await;
    gateway.register().await;
    let signed_in = gateway.sign_in().await;
    gateway.get("/me/sessions/0198b6a0-0000-7000-8000-000000000000", "no token").await;
    gateway.send(json!({"rawPath": "/nowhere", "requestContext": {"http": {"method": "GET"}}})).await;

    let (answered, _) = answered_and_measured(&gateway.function.stop().await);
    let [register, login, sessions, nowhere] = answered.as_slice() else { panic!("{answered:#?}") };
    for (line, method, route, status, requests, read_units, write_units) in [
        (register, "POST", "/register", 201, 1, 0.0, 6.0),
        (login, "POST", "/login", 200, 5, 3.5, 5.0),
        (sessions, "GET", "/me/sessions/{session_id}", 405, 0, 0.0, 0.0),
        (nowhere, "GET", "none", 404, 0, 0.0, 0.0),
    ] {
        let told = (&line["method"], &line["route"], &line["status"], &line["dynamodb_requests"]);
        assert_eq!(told, (&json!(method), &json!(route), &json!(status), &json!(requests)), "{line}");
        if !Engine::is_elsewhere() {
            let units = (&line["read_units"], &line["write_units"]);
            assert_eq!(units, (&json!(read_units), &json!(write_units)), "{line}");
        }
        assert!(line["latency_ms"].as_f64().unwrap() > 0.0, "{line}");
    }
    // By each of these the line is found.
    assert_eq!(login["request_id"], signed_in.headers["annals-request-id"]);
    assert_eq!(login["gateway_request_id"], "JKJaXmPLvHcESHA=");
    assert_eq!(login["lambda_request_id"], "00000000-0000-4000-8000-000000000002");
    assert!(nowhere["gateway_request_id"].is_null(), "{nowhere}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_refusals_hashes_and_reuse_are_metrics_of_the_function() {
    let mut gateway = Gateway::start().await;
    gateway.register().await;
    gateway.send(post("/login", &json!({"email": ADA, "password": "another password"}))).await;
    let first = gateway.sign_in().await.text("refresh_token");
    let mut refresh = post("/token/refresh", &json!({ "refresh_token": first }));
    assert_eq!(gateway.send(refresh.clone()).await.status, 200);
    // Spent, and from somewhere else.
    refresh["headers"]["user-agent"] = "a thief".into();
    gateway.send(refresh).await.is_problem(400, "invalid-grant");
    gateway.send(event("GET", "/health")).await;

    let log = gateway.function.stop().await;
    let (_, metrics) = answered_and_measured(&log);
    let [register, wrong, login, refresh, reuse] = metrics.as_slice() else { panic!("{metrics:#?}") };
    for (line, command, others) in [
        (register, Some("POST /register"), &["HashTime"][..]),
        (wrong, None, &["HashTime", "Refusals"]),
        (login, Some("POST /login"), &["HashTime"]),
        (refresh, Some("POST /token/refresh"), &[]),
        (reuse, None, &["RefreshTokenReused", "Refusals"]),
    ] {
        let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        let of = |dimensions: &Value| {
            let directive = directives.iter().find(|directive| directive["Dimensions"] == *dimensions);
            let metrics = directive.map(|directive| directive["Metrics"].as_array().unwrap().clone());
            metrics.unwrap_or_default().iter().map(|metric| metric["Name"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(line["Command"].as_str(), command, "{line}");
        assert_eq!(of(&json!([["Function", "Command"]])).len(), usize::from(command.is_some()), "{line}");
        assert_eq!(of(&json!([["Function"]])), others, "{line}");
        assert_eq!(line["Function"], "function-under-test");
        for name in others {
            assert!(line[name][0].as_f64().unwrap() > 0.0, "{line}");
        }
    }
}
