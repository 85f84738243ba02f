use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use testkit::Outcome;

use crate::events::{event, post, with_token};
use crate::gateway::{ADA, Gateway, PASSWORD, registration};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_base64_is_the_same_body() {
    let mut gateway = Gateway::start().await;
    let mut encoded = registration();
    encoded["body"] = STANDARD.encode(encoded["body"].as_str().unwrap()).into();
    // As it comes, a base64 body is no JSON.
    gateway.send(encoded.clone()).await.is_problem(400, "not-json");
    encoded["isBase64Encoded"] = true.into();
    assert_eq!(gateway.send(encoded).await.status, 201);
    gateway.sign_in().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_and_values_in_plural_change_nothing() {
    let mut gateway = Gateway::start().await;
    gateway.register().await;
    let token = gateway.sign_in().await.text("access_token");
    let mut plural = with_token(event("GET", "/me"), &token);
    plural["cookies"] = json!(["session=another", "theme=dark"]);
    plural["headers"]["accept"] = "application/json,text/html;q=0.9".into();
    plural["rawQueryString"] = "min_version=2&tag=a&tag=b".into();
    plural["queryStringParameters"] = json!({"min_version": "2", "tag": "a,b"});
    plural["pathParameters"] = json!({"proxy": "me"});
    plural["stageVariables"] = json!({"variable": "value"});
    plural["requestContext"]["authentication"] = json!({"clientCert": {"subjectDN": "CN=example"}});
    let answer = gateway.send(plural.clone()).await;
    assert_eq!((answer.status, &answer.body["email"]), (200, &json!(ADA)), "{answer:?}");
    // The gateway makes one header of two.
    plural["headers"]["authorization"] = format!("Bearer {token},Bearer {token}").into();
    gateway.send(plural).await.is_problem(401, "bad-token");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorizer_is_not_believed_instead_of_the_token() {
    let mut gateway = Gateway::start().await;
    let user = gateway.register().await;
    let mut authorized = event("GET", "/me");
    authorized["requestContext"]["authorizer"] =
        json!({"lambda": {"sub": user}, "jwt": {"claims": {"sub": user}, "scopes": []}});
    gateway.send(authorized).await.is_problem(401, "no-token");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_in_the_log_is_the_gateways_and_never_a_headers() {
    let mut gateway = Gateway::start().await;
    let user = gateway.register().await;

    let mut version_6 = post("/login", &json!({"email": ADA, "password": PASSWORD}));
    version_6["requestContext"]["http"]["sourceIp"] = "2001:db8::7".into();
    for name in ["x-forwarded-for", "forwarded", "x-real-ip", "cloudfront-viewer-address"] {
        version_6["headers"][name] = "203.0.113.66".into();
    }
    let mut unknown = version_6.clone();
    assert_eq!(gateway.send(version_6).await.status, 200);
    unknown["requestContext"]["http"]["sourceIp"] = Value::Null;
    assert_eq!(gateway.send(unknown).await.status, 200);

    let recorded = gateway.ground.recorded(&user).await;
    let addresses: Vec<_> = recorded.iter().map(|meta| meta.address.as_deref()).collect();
    assert_eq!(addresses, [Some("192.0.2.1"), Some("2001:db8::7"), None]);
    assert!(recorded.iter().all(|meta| meta.agent.as_deref() == Some("curl/8.5.0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_what_is_not_needed_is_answered() {
    let mut gateway = Gateway::start().await;
    let bare = json!({"rawPath": "/health", "requestContext": {"http": {"method": "GET"}}});
    assert_eq!(gateway.send(bare).await.status, 200);
    let mut without_headers = registration();
    without_headers["headers"] = json!({});
    gateway.send(without_headers).await.is_problem(415, "unsupported-media-type");
    let mut without_body = registration();
    without_body["body"] = Value::Null;
    gateway.send(without_body).await.is_problem(400, "not-json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_as_large_as_lambda_lets_through_is_too_large() {
    let mut gateway = Gateway::start().await;
    for octets in [17 * 1024, 5 * 1024 * 1024] {
        let large = post("/register", &json!({"email": "a".repeat(octets), "password": PASSWORD}));
        gateway.send(large).await.is_problem(413, "too-large");
    }
    gateway.register().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_route_takes_is_a_documented_problem() {
    let mut gateway = Gateway::start().await;
    // The gateway decodes paths: some of these were `/%3F`, `/me%20`, `/me%0A` before.
    for path in [
        "",
        "/",
        "/nowhere",
        "//me",
        "/me/",
        "/x/../me",
        "/?",
        "/health?x",
        "/#",
        "/me ",
        "/me\n",
        "/é",
        "/\u{0}",
        "/a\"<>\\^`{|}",
        "/%",
        "nowhere",
    ] {
        gateway.send(event("GET", path)).await.is_problem(404, "not-found");
    }
    let other_method = gateway.send(event("DELETE", "/login")).await;
    other_method.is_problem(405, "method-not-allowed");
    assert_eq!(other_method.headers["allow"], "POST");
    gateway.send(event("BREW", "/login")).await.is_problem(405, "method-not-allowed");
    for query in ["a b", "\"<>{}|\\^`", "é", "%", "?", "#"] {
        let mut odd = event("GET", "/health");
        odd["rawQueryString"] = query.into();
        assert_eq!(gateway.send(odd).await.status, 200, "{query}");
    }
    for (name, value) in [("host", "a b[/"), ("x-forwarded-proto", "://"), ("host", "é"), ("no header", "x")]
    {
        let mut odd = event("GET", "/health");
        odd["headers"][name] = value.into();
        assert_eq!(gateway.send(odd).await.status, 200, "{name}: {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_fails_without_being_quoted_and_alone() {
    let mut gateway = Gateway::start().await;
    let mut no_context = registration();
    no_context["requestContext"] = json!({});
    let mut no_base64 = registration();
    no_base64["isBase64Encoded"] = true.into();
    let mut no_method = event("GET", "/health");
    no_method["requestContext"]["http"]["method"] = "G E T".into();
    let mut of_other_types = registration();
    of_other_types["headers"] = PASSWORD.into();
    let format_1 = json!({"httpMethod": "GET", "path": "/health", "requestContext": {"stage": "$default"}});
    let events = [
        no_context,
        no_base64,
        no_method,
        of_other_types,
        format_1,
        json!({}),
        json!([]),
        json!(1),
        json!(""),
    ];
    for event in events {
        let Outcome::Failed(error) = gateway.function.invoke(event.clone()).await else {
            panic!("answered: {event}")
        };
        let message = "not an event of an HTTP API, payload format 2.0";
        assert_eq!(error, json!({"errorType": "GatewayError", "errorMessage": message}), "{event}");
        assert_eq!(gateway.send(crate::events::event("GET", "/health")).await.status, 200);
    }
    let log = gateway.function.stop().await.join("\n");
    assert!(!log.contains(PASSWORD) && !log.contains(ADA), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_before_the_path_is_taken_off() {
    let mut gateway = Gateway::start().await;
    gateway.register().await;
    let token = gateway.sign_in().await.text("access_token");
    for (stage, path, status) in [
        ("prod", "/prod/me", 200),
        ("prod", "/production/me", 404),
        ("prod", "/me", 200),
        ("prod", "/prod", 404),
    ] {
        let mut staged = with_token(event("GET", path), &token);
        staged["requestContext"]["stage"] = stage.into();
        staged["requestContext"]["http"]["path"] = path.into();
        assert_eq!(gateway.send(staged).await.status, status, "{path} in {stage}");
    }
}
