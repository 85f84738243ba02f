use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::client::{ADA, Client, PASSWORD};
use crate::process::{Data, Ended, Server, program, run};

async fn smoke(url: &str, args: &[&str]) -> Ended {
    let mut command = program();
    command.env_remove("ANNALS_SMOKE_PASSWORD").args(["smoke", "--url", url]).args(args);
    run(command).await
}

/// What a gateway answers itself: to this method, this path and this token.
type Own = dyn Fn(&Method, &str, Option<&str>) -> Option<(u16, String)> + Send + Sync;

/// What must not be shown.
const LEAK: &str = "a-token-of-somebody";

/// What stands before a deployment: it answers some requests itself, and passes the others on.
#[derive(Clone)]
struct Gateway {
    http: reqwest::Client,
    deployment: String,
    own: Arc<Own>,
    passed_on: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    async fn start(
        server: &Server,
        own: impl Fn(&Method, &str, Option<&str>) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> (String, Arc<Mutex<Vec<String>>>) {
        let passed_on = Arc::<Mutex<Vec<String>>>::default();
        let gateway = Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            deployment: server.url.clone(),
            own: Arc::new(own),
            passed_on: Arc::clone(&passed_on),
        };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let routes = Router::new().fallback(pass_on).with_state(gateway);
        tokio::spawn(axum::serve(listener, routes).into_future());
        // A name that no resolver needs to know.
        (format!("http://abc123.execute-api.localhost:{port}/"), passed_on)
    }
}

async fn pass_on(
    State(gateway): State<Gateway>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if let Some((status, body)) = (gateway.own)(&method, uri.path(), token) {
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    }
    gateway.passed_on.lock().unwrap().push(format!("{method} {uri}"));
    let mut request = gateway.http.request(method, format!("{}{uri}", gateway.deployment)).body(body);
    for name in ["authorization", "content-type", "user-agent"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    let answer = request.send().await.unwrap();
    (answer.status(), answer.bytes().await.unwrap()).into_response()
}

fn steps(report: &Value) -> Vec<(String, u64)> {
    let steps = report["steps"].as_array().unwrap().iter();
    steps
        .map(|step| {
            assert!(step["milliseconds"].as_f64().unwrap() > 0.0, "{step}");
            (step["step"].as_str().unwrap().to_owned(), step["status"].as_u64().unwrap())
        })
        .collect()
}

const WHOLE: [(&str, u64); 11] = [
    ("health", 200),
    ("without a token", 401),
    ("with a forged token", 401),
    ("register", 201),
    ("sign in", 200),
    ("read the profile", 200),
    ("refresh", 200),
    ("list the sessions", 200),
    ("sign out", 204),
    ("the access token is dead", 401),
    ("the refresh token, too", 400),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_works_passes_and_every_step_is_reported() {
    let data = Data::new();
    let server = data.serve().await;
    let passed = smoke(&server.url, &["--json"]).await;
    assert_eq!(passed.code, Some(0), "{passed:?}");
    let report = passed.json();
    assert_eq!(steps(&report), WHOLE.map(|(step, status)| (step.to_owned(), status)));
    assert_eq!(report["outcome"], "passed");
    assert!(report["email"].as_str().unwrap().ends_with("@example.com"));

    let again = smoke(&server.url, &[]).await;
    assert_eq!((again.code, again.err.as_str()), (Some(0), ""), "another user each time: {again:?}");
    assert_eq!(again.out.lines().count(), 13, "{again:?}");
    assert!(again.out.contains("POST /token/refresh") && again.out.ends_with("\npassed\n"), "{again:?}");

    let named = smoke(&server.url, &["--email", "Smoke@Example.com"]).await;
    assert_eq!(named.code, Some(0), "{named:?}");
    let taken = smoke(&server.url, &["--email", "smoke@example.com"]).await;
    assert_eq!(taken.code, Some(1));
    assert!(
        taken.out.contains("not 201 or 202, but 409: ") && taken.out.contains("address-taken"),
        "{taken:?}"
    );
    assert!(taken.out.ends_with("\nfailed\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_there_needs_not_register_and_their_password_is_not_shown() {
    let data = Data::new();
    let server = data.serve().await;
    assert_eq!(Client::of(&server).register(ADA).await.status, 201);
    let passed = smoke(&server.url, &["--email", ADA, "--password", PASSWORD, "--json"]).await;
    assert_eq!(passed.code, Some(0), "{passed:?}");
    assert!(!steps(&passed.json()).iter().any(|(step, _)| step == "register"));
    let mut command = program();
    command.env("ANNALS_SMOKE_PASSWORD", PASSWORD).args(["smoke", "--url", &server.url, "--email", ADA]);
    assert_eq!(run(command).await.code, Some(0));

    let wrong = smoke(&server.url, &["--email", ADA, "--password", "another password"]).await;
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.out.contains("not 200, but 401: "), "{wrong:?}");
    for ended in [passed, wrong] {
        assert!(!ended.out.contains(PASSWORD) && !ended.out.contains("another password"), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_gateway_its_own_refusals_are_as_good() {
    let data = Data::new();
    let server = data.serve().await;
    let (url, passed_on) = Gateway::start(&server, |_, path, token| match (path, token) {
        ("/me", None) => Some((401, r#"{"message":"Unauthorized"}"#.to_owned())),
        ("/me", Some(token)) if token.split('.').next_back() == Some("AAAA") => {
            Some((403, r#"{"message":"Forbidden"}"#.to_owned()))
        }
        _ => None,
    })
    .await;
    let passed = smoke(&url, &["--json"]).await;
    assert_eq!((passed.code, steps(&passed.json())[2].1), (Some(0), 403), "{passed:?}");
    // What is dead reached the service: its session is no more, though its signature is good.
    let passed_on = passed_on.lock().unwrap().join("\n");
    assert!(passed_on.ends_with("POST /logout\nGET /me\nPOST /token/refresh"), "{passed_on}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_addresses_must_be_verified_it_goes_as_far_as_it_can_and_says_so() {
    let data = Data::new();
    let server = data.serve().await;
    let (url, _) = Gateway::start(&server, |_, path, _| match path {
        "/register" => Some((202, r#"{"message":"Look at your mail."}"#.to_owned())),
        _ => None,
    })
    .await;
    let passed = smoke(&url, &[]).await;
    assert_eq!(passed.code, Some(0), "{passed:?}");
    assert!(passed.out.contains("wants addresses verified before a sign-in"), "{passed:?}");
    let report = smoke(&url, &["--json"]).await.json();
    assert_eq!(report["outcome"], "verification_required");
    assert_eq!(steps(&report).last().unwrap(), &("sign in, not verified".to_owned(), 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_differs_fails_and_is_shown_without_tokens() {
    let data = Data::new();
    let server = data.serve().await;
    let cases: [(&str, &str, u16, Value, &str); 7] = [
        ("GET", "/health", 503, json!({"message": "Service Unavailable"}), "Service Unavailable"),
        ("GET", "/me", 200, json!({"user_id": LEAK}), "not 401, but 200"),
        ("POST", "/register", 500, json!({"message": "Internal Server Error"}), "not 201 or 202, but 500"),
        ("POST", "/login", 200, json!({"access_token": LEAK}), "no refresh_token: 200: {access_token: …}"),
        ("POST", "/token/refresh", 401, json!({"refresh_token": LEAK}), "{refresh_token: …}"),
        ("GET", "/me/sessions", 200, json!({"sessions": []}), "this session is not among them"),
        ("POST", "/logout", 200, json!(LEAK), "not 204, but 200: JSON that is no object"),
    ];
    for (method, path, status, body, told) in cases {
        let own = move |asked: &Method, at: &str, _: Option<&str>| {
            (asked == method && at == path).then(|| (status, body.to_string()))
        };
        let (url, _) = Gateway::start(&server, own).await;
        let failed = smoke(&url, &[]).await;
        assert_eq!((failed.code, failed.err.as_str()), (Some(1), ""), "{path}: {failed:?}");
        assert!(failed.out.contains(told) && failed.out.ends_with("\nfailed\n"), "{path}: {failed:?}");
        assert!(!failed.out.contains(LEAK) && !failed.out.contains("eyJ"), "{path}: {failed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_lives_on_after_the_sign_out_is_found() {
    let data = Data::new();
    let server = data.serve().await;
    // As behind a cache, or without the look at the session.
    let profile = Arc::<Mutex<bool>>::default();
    let own = move |method: &Method, path: &str, token: Option<&str>| {
        let mut signed_out = profile.lock().unwrap();
        *signed_out |= method == Method::POST && path == "/logout";
        (*signed_out && path == "/me" && token.is_some()).then(|| (200, "{}".to_owned()))
    };
    let (url, _) = Gateway::start(&server, own).await;
    let failed = smoke(&url, &[]).await;
    assert_eq!(failed.code, Some(1));
    assert!(
        failed.out.contains("the access token is dead") && failed.out.contains("not 401, but 200"),
        "{failed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_answers_or_not_in_time_it_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = smoke(&url, &["--timeout", "1"]).await;
    assert_eq!(silent.code, Some(1));
    assert!(silent.out.contains("no answer within 1 s"), "{silent:?}");
    let nobody = testkit::Nobody::new();
    let refused = smoke(&format!("http://{}", nobody.address()), &["--json"]).await;
    let report = refused.json();
    assert_eq!(
        (refused.code, &report["outcome"], &report["steps"][0]["status"]),
        (Some(1), &json!("failed"), &json!(null))
    );
    assert!(report["steps"][0]["wrong"].as_str().unwrap().starts_with("no connection: "), "{report}");
    for wrong in ["127.0.0.1:1", "ftp://example.com", "https://example.com/path"] {
        assert_eq!(smoke(wrong, &[]).await.code, Some(2));
    }
    assert_eq!(smoke(&url, &["--password", "x"]).await.code, Some(2), "whose?");
}
