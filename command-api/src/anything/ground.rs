//! The service with its tables, asked in both ways, and what it promises of every answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use chrono::TimeDelta;
use command_api::passwords::{HashParams, PasswordHasher};
use command_api::{Clients, Clock, Service, router};
use proptest::prelude::{prop_assert, prop_assert_eq, prop_assert_ne};
use proptest::test_runner::TestCaseResult;
use serde_json::{Value, json};
use storage::keys::ServiceKeys;
use storage::one_time::Bound;
use storage::{Lifetimes, Store};
use testkit::Engine;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::asked::{Asked, MARK, PASSWORD, SECRET, good};
use crate::gateway::{self, GatewayError};

/// An answer, whichever way it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// The service with its tables, for all cases of a property.
pub(super) struct Ground {
    runtime: Runtime,
    router: Router,
    store: Store,
    users: AtomicU64,
    _engine: Engine,
}

impl Ground {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (engine, store, router) = runtime.block_on(async {
            let engine = Engine::start().await;
            let tables = engine.tables().await;
            let keys = ServiceKeys::random().unwrap();
            let store = Store::new(&engine.client(), &tables, &keys, Lifetimes::default());
            let cheap = HashParams { memory_kib: 8, iterations: 1, parallelism: 1 };
            let passwords = PasswordHasher::new(cheap, keys.pepper.clone(), 1).unwrap();
            let issuer = "https://accounts.example.com".to_owned();
            let service = Service::new(store.clone(), passwords, &keys, issuer, Clock::system()).unwrap();
            let hash = digest::digest(&digest::SHA256, SECRET.as_bytes());
            let hash: String = hash.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
            let clients = json!([{"id": "gateway", "secret_sha256": [hash], "may": ["introspect"]}]);
            let service = service.with_clients(Clients::parse(&clients.to_string()).unwrap());
            (engine, store, router(Arc::new(service)))
        });
        Self { runtime, router, store, users: AtomicU64::new(0), _engine: engine }
    }

    pub(super) fn send(&self, request: Request<Body>) -> Answer {
        self.runtime.block_on(async {
            let Ok(response) = self.router.clone().oneshot(request).await;
            let (parts, body) = response.into_parts();
            let headers = parts
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
            Answer { status: parts.status.as_u16(), headers: headers.collect(), body }
        })
    }

    pub(super) fn invoke(&self, event: Value) -> Result<Answer, GatewayError> {
        let answer = self.runtime.block_on(gateway::answer(self.router.clone(), event, String::new()))?;
        let answer = serde_json::to_value(answer).unwrap();
        assert_eq!(answer["isBase64Encoded"], false, "every answer is text");
        Ok(Answer {
            status: answer["statusCode"].as_u64().and_then(|status| status.try_into().ok()).unwrap(),
            headers: serde_json::from_value(answer["headers"].clone()).unwrap(),
            body: answer["body"].as_str().unwrap().as_bytes().to_vec(),
        })
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.send(good("POST", path, Some(body.clone())).request().unwrap());
        assert!(answer.status < 300, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// A token by which this user's address can be verified, made as the mailer makes it.
    fn mailed(&self, user: &str) -> String {
        let user = user.parse().unwrap();
        let loaded = self.runtime.block_on(async {
            let mut loaded = self.store.load(user).await.unwrap().unwrap();
            self.store.freshen(&mut loaded).await.unwrap();
            loaded
        });
        let account = loaded.snapshot().user.account().unwrap();
        let bound = Bound::EmailVerification {
            email: account.email.as_ref().unwrap(),
            credential: account.credential,
        };
        let ends = Clock::system().now() + TimeDelta::hours(1);
        self.store.one_time.make(user, &bound, ends).unwrap().to_string()
    }

    /// Sends a request of somebody who has just registered and signed in, in both ways.
    pub(super) fn ask(&self, asked: &Asked) -> Vec<Answer> {
        let number = self.users.fetch_add(3, Ordering::Relaxed);
        let address = |offset| format!("user{}@example.com", number + offset);
        let email = address(0);
        self.post("/register", &json!({"email": email, "password": PASSWORD}));
        let begun = self.post("/login", &json!({"email": email, "password": PASSWORD}));
        let [access, refresh, device] =
            ["access_token", "refresh_token", "device_token"].map(|name| begun[name].as_str().unwrap());
        let mailed = self.mailed(begun["user_id"].as_str().unwrap());
        let filled = |fresh: String| asked.filled([access, refresh, &email, &fresh, device, &mailed]);
        let event = filled(address(1)).event();
        let mut answers = vec![self.invoke(event).unwrap_or_else(|error| panic!("{error}: {asked:?}"))];
        answers.extend(filled(address(2)).request().map(|request| self.send(request)));
        answers
    }
}

/// What holds for every answer.
pub(super) fn promised(asked: &Asked, answer: &Answer) -> TestCaseResult {
    prop_assert!(answer.status < 500, "{answer:?}");
    let mut shown = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
    if answer.status == 422 {
        // The name of a field that does not belong there is told; its value is not.
        let mut problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        for error in problem["errors"].as_array_mut().into_iter().flatten() {
            error["field"] = Value::Null;
        }
        shown = format!("{:?} {problem}", answer.headers);
    }
    if answer.status == 200 && asked.path == "/me/events" && asked.method != "HEAD" {
        // A user is shown by which client they did what; that is the one place for it.
        let mut history: Value = serde_json::from_slice(&answer.body).unwrap();
        for event in history["events"].as_array_mut().into_iter().flatten() {
            event["client"] = Value::Null;
        }
        shown = format!("{:?} {history}", answer.headers);
    }
    prop_assert!(!shown.contains(MARK), "a secret is sent back: {shown}");
    let header = |name: &str| answer.headers.get(name).map(String::as_str);
    prop_assert_eq!(header("x-content-type-options"), Some("nosniff"));
    prop_assert_eq!(header("strict-transport-security"), Some("max-age=63072000; includeSubDomains"));
    prop_assert_eq!(header("annals-request-id").map(str::len), Some(36));
    let public = answer.status == 200 && header("cache-control") == Some("public, max-age=900");
    prop_assert!(public || header("cache-control") == Some("no-store"), "{answer:?}");
    prop_assert_eq!(header("www-authenticate").is_some(), answer.status == 401);
    prop_assert_eq!(header("retry-after").is_some(), answer.status == 429);
    prop_assert_eq!(header("allow").is_some(), answer.status == 405);
    if answer.status < 400 {
        return Ok(());
    }
    // OAuth has a form of its own for what is wrong with a request. [RFC 6749, section 5.2]
    if header("content-type") == Some("application/json") {
        prop_assert!([400, 401, 413, 415].contains(&answer.status) && asked.path.starts_with("/oauth2/"));
        let error: Value = serde_json::from_slice(&answer.body).unwrap();
        let members: Vec<&str> = error.as_object().unwrap().keys().map(String::as_str).collect();
        prop_assert_eq!(members, ["error", "error_description"]);
        return Ok(());
    }
    prop_assert_eq!(header("content-type"), Some("application/problem+json"));
    if asked.method == "HEAD" {
        prop_assert!(answer.body.is_empty());
        return Ok(());
    }
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    let members: Vec<&str> = problem.as_object().unwrap().keys().map(String::as_str).collect();
    if answer.status == 422 {
        prop_assert_eq!(members, ["errors", "status", "title", "type"]);
        let errors = problem["errors"].as_array().unwrap();
        prop_assert!(!errors.is_empty());
        for error in errors {
            prop_assert!(error["field"].as_str().is_some_and(|field| field.chars().count() <= 64));
            prop_assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
            prop_assert_eq!(error.as_object().unwrap().len(), 2);
        }
    } else {
        prop_assert_eq!(members, ["status", "title", "type"]);
    }
    prop_assert_eq!(&problem["status"], answer.status);
    prop_assert!(problem["type"].as_str().unwrap().starts_with("urn:annals:problem:"));
    prop_assert_ne!(&problem["title"], "");
    Ok(())
}
