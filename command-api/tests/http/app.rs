use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use command_api::passwords::{HashParams, PasswordHasher};
use command_api::{Clients, Clock, Service, Verification, router};
use domain::UserEvent;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use storage::keys::ServiceKeys;
use storage::one_time::{Bound, OneTimePurpose};
use storage::tables::Tables;
use storage::{Lifetimes, Store};
use testkit::{Engine, Meter, Taken};

use crate::contract::Contract;

/// A hash that costs next to nothing.
pub const CHEAP: HashParams = HashParams { memory_kib: 8, iterations: 1, parallelism: 1 };
pub const ISSUER: &str = "https://accounts.example.com";
pub const ADA: &str = "ada@example.com";
pub const PASSWORD: &str = "correct horse battery";

/// A client that signs users in, refreshes and revokes.
pub const SHOP: (&str, &str) = ("shop", "the secret of the shop, as good as random");
/// A client that only introspects.
pub const GATEWAY: (&str, &str) = ("gateway", "the secret of the gateway, as good as random");
pub const FORM: &str = "application/x-www-form-urlencoded";

pub type Item = HashMap<String, AttributeValue>;

/// The service on a socket of its own, with fresh tables, and a clock that the test moves.
pub struct App {
    pub keys: ServiceKeys,
    pub store: Store,
    pub service: Arc<Service>,
    pub meter: Meter,
    pub tables: Tables,
    /// DynamoDB, past the service and its keys.
    pub raw: Client,
    pub address: SocketAddr,
    pub http: reqwest::Client,
    clock: Arc<AtomicI64>,
    contract: Contract,
    pub engine: Engine,
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

fn clients() -> Clients {
    let client = |(id, secret): (&str, &str), may: &[&str]| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
        let hash: String = hash.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        json!({"id": id, "secret_sha256": [hash], "may": may})
    };
    let clients = json!([client(SHOP, &["refresh", "revoke"]), client(GATEWAY, &["introspect"])]);
    Clients::parse(&clients.to_string()).unwrap()
}

/// A form with everything in it encoded that may be.
fn encoded(form: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|octet| match octet {
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' | b'.' => char::from(octet).to_string(),
                _ => format!("%{octet:02X}"),
            })
            .collect()
    };
    let pairs: Vec<String> =
        form.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

impl App {
    pub async fn start() -> Self {
        Self::with(Lifetimes::default()).await
    }

    pub async fn with(lifetimes: Lifetimes) -> Self {
        let engine = Engine::start().await;
        let (client, meter) = engine.metered();
        Self::on(engine, &client, meter, lifetimes).await
    }

    /// A service whose hashes cost this.
    pub async fn with_hashes(params: HashParams) -> Self {
        let engine = Engine::start().await;
        let (client, meter) = engine.metered();
        Self::made(engine, &client, meter, Lifetimes::default(), params, Verification::Optional).await
    }

    /// A service where addresses have to be verified.
    pub async fn requiring_verification() -> Self {
        let engine = Engine::start().await;
        let (client, meter) = engine.metered();
        Self::made(engine, &client, meter, Lifetimes::default(), CHEAP, Verification::Required).await
    }

    /// A service whose requests to DynamoDB go through this client.
    pub async fn on(engine: Engine, client: &Client, meter: Meter, lifetimes: Lifetimes) -> Self {
        Self::made(engine, client, meter, lifetimes, CHEAP, Verification::Optional).await
    }

    async fn made(
        engine: Engine,
        client: &Client,
        meter: Meter,
        lifetimes: Lifetimes,
        params: HashParams,
        verification: Verification,
    ) -> Self {
        let tables = engine.tables().await;
        let keys = ServiceKeys::random().unwrap();
        // More than in production: on a busy machine, fifty commands of one user take longer than in a region.
        let patience = Duration::from_mins(1);
        let store = Store::new(client, &tables, &keys, lifetimes).with_no_new_try_after(patience);
        let passwords = PasswordHasher::new(params, keys.pepper.clone(), 4).unwrap();
        // Far ahead, so that no engine's TTL takes a session away in the middle of a test.
        let clock = Arc::new(AtomicI64::new(4_102_444_800_000));
        let shown = Arc::clone(&clock);
        let shown = Clock::of(move || {
            DateTime::from_timestamp_millis(shown.load(Ordering::SeqCst)).unwrap_or_default()
        });
        let service = Service::new(store.clone(), passwords, &keys, ISSUER.to_owned(), shown).unwrap();
        let service = service.with_clients(clients()).with_verification(verification);
        let service = Arc::new(service);
        let routes = router(Arc::clone(&service));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let http = reqwest::Client::builder().user_agent("test").build().unwrap();
        let contract = Contract::of(&http, address).await;
        let raw = engine.client();
        Self { keys, store, service, meter, tables, raw, address, http, clock, contract, engine }
    }

    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.clock.load(Ordering::SeqCst)).unwrap()
    }

    pub fn pass(&self, time: TimeDelta) {
        self.clock.fetch_add(time.num_milliseconds(), Ordering::SeqCst);
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    /// Sends a request, reads the answer, and sees that it is one that the service promises.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = self.http.execute(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let mut answer = Answer { status, headers, text: response.text().await.unwrap() };
        self.contract.holds(&method, &path, &answer);
        // What differs between any two answers.
        answer.headers.remove("annals-request-id");
        answer.headers.remove("date");
        answer
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// Posts these octets as JSON.
    pub async fn post_octets(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.request(Method::POST, path).header("content-type", "application/json").body(body))
            .await
    }

    /// Posts a form to one of OAuth's endpoints, as this client if it is one with a secret.
    pub async fn form(&self, path: &str, client: Option<(&str, &str)>, form: &[(&str, &str)]) -> Answer {
        let mut request = self.request(Method::POST, path).header("content-type", FORM).body(encoded(form));
        if let Some((id, secret)) = client {
            request = request.basic_auth(id, Some(secret));
        }
        self.send(request).await
    }

    pub async fn get(&self, path: &str, access_token: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(access_token)).await
    }

    /// Sends a merge patch of the profile.
    pub async fn patch_me(&self, access_token: &str, patch: Value) -> Answer {
        self.send(self.request(Method::PATCH, "/me").bearer_auth(access_token).json(&patch)).await
    }

    pub async fn change_password(&self, access_token: &str, current: &str, new: &str) -> Answer {
        let request = self.request(Method::POST, "/me/password").bearer_auth(access_token);
        self.send(request.json(&json!({"current_password": current, "new_password": new}))).await
    }

    pub async fn forgot(&self, email: &str) -> Answer {
        self.post("/password/forgot", json!({ "email": email })).await
    }

    pub async fn reset(&self, token: &str, new: &str) -> Answer {
        self.post("/password/reset", json!({"token": token, "new_password": new})).await
    }

    /// The token of the mail that the last request of this user for a reset called for: made as the mailer makes it.
    pub async fn mailed(&self, user: &str) -> String {
        self.mailed_for(user, OneTimePurpose::PasswordReset).await
    }

    pub async fn delete(&self, path: &str, access_token: &str) -> Answer {
        self.send(self.request(Method::DELETE, path).bearer_auth(access_token)).await
    }

    pub async fn logout(&self, access_token: &str) -> Answer {
        self.send(self.request(Method::POST, "/logout").bearer_auth(access_token)).await
    }

    /// Registers Ada; her id.
    pub async fn register(&self) -> String {
        self.register_as(ADA, PASSWORD).await
    }

    pub async fn register_as(&self, email: &str, password: &str) -> String {
        let answer =
            self.post("/register", json!({"email": email, "password": password, "name": "Ada"})).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.text_of("user_id")
    }

    pub async fn login(&self, password: &str) -> Answer {
        self.login_as(ADA, password).await
    }

    pub async fn login_as(&self, email: &str, password: &str) -> Answer {
        self.post("/login", json!({"email": email, "password": password})).await
    }

    /// Signs Ada in from a device that may be known.
    pub async fn login_from(&self, device_token: &str, password: &str) -> Answer {
        self.post("/login", json!({"email": ADA, "password": password, "device_token": device_token})).await
    }

    /// Signs Ada in; the answer's body.
    pub async fn signed_in(&self) -> Value {
        let answer = self.login(PASSWORD).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/token/refresh", json!({ "refresh_token": token })).await
    }

    /// Does what the projector would do for this user.
    pub async fn project(&self, user: &str) {
        let user = user.parse().unwrap();
        let mut snapshot = storage::Snapshot::default();
        self.store.log.advance(user, &mut snapshot, None).await.unwrap();
        self.store.views.put(user, &snapshot, storage::Replacing::OlderOrEqual).await.unwrap();
    }

    /// The names of the events in a user's log.
    pub async fn events(&self, user: &str) -> Vec<&'static str> {
        let mut names = Vec::new();
        let visit = |commit: &storage::Commit| {
            names.extend(commit.events.iter().map(|recorded| recorded.event.name()));
        };
        self.store.log.history(user.parse().unwrap(), visit).await.unwrap();
        names
    }

    /// The token in the last mail that a user's log has sent for this purpose, made as the mailer makes it.
    pub async fn mailed_for(&self, user: &str, purpose: OneTimePurpose) -> String {
        let user = user.parse().unwrap();
        let (mut token, mut folded) = (None, domain::User::default());
        let visit = |commit: &storage::Commit| {
            folded = commit.fold(std::mem::take(&mut folded));
            for recorded in &commit.events {
                let (bound, ends) = match &recorded.event {
                    UserEvent::UserRegistered { email, credential, .. } => {
                        let bound = Bound::EmailVerification { email, credential: *credential };
                        (bound, commit.at + TimeDelta::hours(24))
                    }
                    UserEvent::UserRequestedEmailVerification { email, credential, ends } => {
                        (Bound::EmailVerification { email, credential: *credential }, *ends)
                    }
                    UserEvent::UserRequestedEmailChange { email, from, credential, ends } => {
                        (Bound::EmailChange { from, to: email, credential: *credential }, *ends)
                    }
                    UserEvent::UserRequestedPasswordReset { email, credential, ends } => {
                        let since = folded.account().and_then(|account| account.email_since);
                        (Bound::PasswordReset { email, credential: *credential, since }, *ends)
                    }
                    _ => continue,
                };
                if bound.purpose() == purpose {
                    token = Some(self.store.one_time.make(user, &bound, ends).unwrap());
                }
            }
        };
        self.store.log.history(user, visit).await.unwrap();
        token.unwrap_or_else(|| panic!("{user} was sent no such mail")).to_string()
    }

    pub async fn verify(&self, token: &str) -> Answer {
        self.post("/email/verify", json!({ "token": token })).await
    }

    pub async fn change_email(&self, access_token: &str, email: &str) -> Answer {
        let request = self.request(Method::POST, "/me/email").bearer_auth(access_token);
        self.send(request.json(&json!({ "email": email }))).await
    }

    /// To whom an address leads.
    pub async fn owner(&self, email: &str) -> Option<String> {
        let email = domain::Email::parse(email).unwrap();
        self.store.find(&email).await.unwrap().map(|user| user.to_string())
    }

    /// How many sessions a user has, according to the log.
    pub async fn sessions(&self, user: &str) -> usize {
        let mut snapshot = storage::Snapshot::default();
        self.store.log.advance(user.parse().unwrap(), &mut snapshot, None).await.unwrap();
        snapshot.user.account().map_or(0, |account| account.sessions.len())
    }

    /// Every item of a table.
    pub async fn items(&self, table: &str) -> Vec<Item> {
        let pages = self.raw.scan().table_name(table).into_paginator().items().send();
        pages.collect::<Result<_, _>>().await.unwrap()
    }

    /// The answer, and the work of the hashes that it took, in KiB of memory times passes.
    pub async fn hashed(&self, answer: impl Future<Output = Answer>) -> (Answer, u64) {
        let before = self.service.passwords.work();
        let answer = answer.await;
        (answer, self.service.passwords.work() - before)
    }

    /// What these requests took.
    pub async fn taken<T>(&self, requests: impl Future<Output = T>) -> (T, Taken) {
        self.meter.reset();
        let answer = requests.await;
        (answer, self.meter.taken())
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }

    /// Asserts that this is an error as OAuth has it.
    #[track_caller]
    pub fn is_oauth_error(&self, status: u16, error: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        let body = self.json();
        assert_eq!(body["error"], error, "{body}");
        let description = body["error_description"].as_str().unwrap();
        assert!(
            description.bytes().all(|octet| matches!(octet, b' '..=b'~') && octet != b'"' && octet != b'\\')
        );
        assert_eq!(body.as_object().unwrap().len(), 2);
        let challenged = self.headers.get("www-authenticate").map(|value| value.to_str().unwrap());
        assert_eq!(challenged.is_some_and(|value| value.starts_with("Basic realm=")), status == 401);
    }

    /// Asserts that this is a documented problem of that kind.
    #[track_caller]
    pub fn is_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["type"], format!("urn:annals:problem:{kind}"));
        assert_eq!(body["status"], status);
        assert!(body["title"].is_string());
    }

    pub fn text_of(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_else(|| panic!("no {field}: {self:?}")).to_owned()
    }
}

/// Several of them at once, each as a task of its own.
pub async fn all_at_once<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let started: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::new();
    for task in started {
        results.push(task.await.unwrap());
    }
    results
}
