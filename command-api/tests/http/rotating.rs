//! Service keys that rotate under the real router: nobody is signed out, and the log stays as it is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use command_api::passwords::PasswordHasher;
use command_api::{Clock, Service, router};
use reqwest::StatusCode;
use serde_json::{Value, json};
use storage::keys::{Change, KeyId, KeySource, KeyState, RingName, ServiceKeys};
use storage::tables::Tables;
use storage::{Lifetimes, Store};
use tempfile::TempDir;
use testkit::Engine;

use crate::app::{ADA, CHEAP, ISSUER, Item, PASSWORD};

/// Tables, a file of keys, and the time: what the processes of a deployment share.
struct Deployment {
    engine: Engine,
    tables: Tables,
    folder: TempDir,
    clock: Arc<AtomicI64>,
}

/// A process, with the keys as it has read them.
struct Process {
    address: SocketAddr,
    http: reqwest::Client,
}

/// What a client holds.
#[derive(Clone)]
struct Tokens {
    access: String,
    refresh: String,
}

impl Deployment {
    async fn new() -> Self {
        let engine = Engine::start().await;
        let tables = engine.tables().await;
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(4_102_444_800));
        ServiceKeys::open_or_create(&folder.path().join("keys.json")).unwrap();
        Self { engine, tables, folder, clock }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.clock.load(Ordering::SeqCst), 0).unwrap()
    }

    fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    async fn process(&self) -> Process {
        let clock = Arc::clone(&self.clock);
        let now = move || DateTime::from_timestamp(clock.load(Ordering::SeqCst), 0).unwrap();
        let keys = KeySource::File(self.path()).open(now.clone()).await.unwrap();
        let store = Store::new(&self.engine.client(), &self.tables, &keys, Lifetimes::default());
        let passwords = PasswordHasher::new(CHEAP, keys.pepper.clone(), 2).unwrap();
        let service = Service::new(store, passwords, &keys, ISSUER.to_owned(), Clock::of(now)).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router(Arc::new(service))).into_future());
        Process { address, http: reqwest::Client::builder().user_agent("test").build().unwrap() }
    }

    async fn change(&self, ring: RingName, change: &Change) {
        KeySource::File(self.path()).change(ring, change, self.now()).await.unwrap();
    }

    /// The id of the key of a ring that makes new values.
    fn current(&self, ring: RingName) -> KeyId {
        let keys = ServiceKeys::open(&self.path()).unwrap().ring(ring, self.now());
        keys.into_iter().find(|key| key.state == KeyState::Current).unwrap().id
    }

    /// Every commit as it lies in the table.
    async fn commits(&self) -> Vec<Item> {
        let scan =
            self.engine.client().scan().table_name(&self.tables.events).into_paginator().items().send();
        let all: Vec<Item> = scan.collect::<Result<_, _>>().await.unwrap();
        let mut commits: Vec<Item> =
            all.into_iter().filter(|item| item["item"].as_s().unwrap().starts_with("commit-")).collect();
        commits
            .sort_by_key(|item| (item["user"].as_s().unwrap().clone(), item["item"].as_s().unwrap().clone()));
        commits
    }
}

impl Process {
    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let answer =
            self.http.post(format!("http://{}{path}", self.address)).json(&body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn register(&self, email: &str) {
        let (status, body) = self.post("/register", json!({"email": email, "password": PASSWORD})).await;
        assert_eq!(status, 201, "{body}");
    }

    async fn login(&self, email: &str) -> Tokens {
        let (status, body) = self.post("/login", json!({"email": email, "password": PASSWORD})).await;
        assert_eq!(status, 200, "{body}");
        Tokens::of(&body)
    }

    async fn refresh(&self, tokens: &Tokens) -> Tokens {
        let (status, body) = self.post("/token/refresh", json!({"refresh_token": tokens.refresh})).await;
        assert_eq!(status, 200, "{body}");
        Tokens::of(&body)
    }

    async fn get(&self, path: &str, tokens: &Tokens) -> StatusCode {
        let request = self.http.get(format!("http://{}{path}", self.address)).bearer_auth(&tokens.access);
        request.send().await.unwrap().status()
    }

    /// The ids of the published keys.
    async fn published(&self) -> Vec<String> {
        let answer =
            self.http.get(format!("http://{}/.well-known/jwks.json", self.address)).send().await.unwrap();
        assert_eq!(answer.headers()["cache-control"], "public, max-age=900");
        let keys: Value = answer.json().await.unwrap();
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }
}

impl Tokens {
    fn of(body: &Value) -> Self {
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ring_rotates_under_traffic_and_nobody_is_signed_out() {
    let deployment = Deployment::new().await;
    let (one, other) = (deployment.process().await, deployment.process().await);
    one.register(ADA).await;
    let first = deployment.commits().await;
    let mut held = one.login(ADA).await;
    for ring in RingName::ALL {
        let before = deployment.current(ring);
        deployment.change(ring, &Change::Rotate).await;
        // Published; in use from its time on, by processes that have read it before, and open to both ever after.
        for wait in [1, 310, ring.lead().num_seconds() - 312, 2, 600] {
            deployment.pass(wait);
            for (here, there) in [(&one, &other), (&other, &one)] {
                held = here.refresh(&held).await;
                assert_eq!(there.get("/me", &held).await, 200, "{ring:?}");
            }
            // Not more than fifty in all: the oldest session would give way.
            let anew = one.login(ADA).await;
            assert_eq!(other.get("/me", &anew).await, 200, "{ring:?}");
            assert_eq!(other.get("/me/sessions", &other.refresh(&anew).await).await, 200, "{ring:?}");
        }
        assert_ne!(deployment.current(ring), before);
        one.register(&format!("after-{}@example.com", ring.as_str())).await;
        other.login(&format!("after-{}@example.com", ring.as_str())).await;
    }
    let commits = deployment.commits().await;
    assert!(first.iter().all(|commit| commits.contains(commit)), "the log is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_makes_with_a_key_not_read_yet_is_accepted_at_once() {
    for ring in RingName::ALL {
        let deployment = Deployment::new().await;
        let before = deployment.process().await;
        before.register(ADA).await;
        let held = before.login(ADA).await;
        deployment.change(ring, &Change::RotateNow).await;
        let after = deployment.process().await;
        after.register("new@example.com").await;
        let made = after.login("new@example.com").await;
        // The first of these meets the key, whichever it is, and no time has passed.
        assert_eq!(before.get("/me", &made).await, 200, "{ring:?}");
        before.refresh(&made).await;
        before.login("new@example.com").await;
        assert_eq!(after.get("/me", &held).await, 200, "{ring:?}");
        after.refresh(&held).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_is_published_two_hours_ahead_and_until_its_tokens_are_gone() {
    let deployment = Deployment::new().await;
    let process = deployment.process().await;
    let old = deployment.current(RingName::Signing).as_str().to_owned();
    deployment.change(RingName::Signing, &Change::Rotate).await;
    deployment.pass(301);
    let both = process.published().await;
    assert_eq!((both.len(), both.contains(&old)), (2, true));
    deployment.pass(2 * 3_600 - 302);
    process.register(ADA).await;
    let held = process.login(ADA).await;
    deployment.pass(2);
    assert_ne!(deployment.current(RingName::Signing).as_str(), old);
    // The last token of the old key, to the end of its life and the leeway.
    deployment.pass(900 + 55);
    assert_eq!(process.get("/me", &held).await, 200);
    assert!(process.published().await.contains(&old));
    deployment.pass(21 * 60 - 950);
    assert_eq!(process.published().await, [deployment.current(RingName::Signing).as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_retired_signing_key_are_refused_and_the_session_goes_on() {
    let deployment = Deployment::new().await;
    let process = deployment.process().await;
    process.register(ADA).await;
    let held = process.login(ADA).await;
    let old = deployment.current(RingName::Signing);
    deployment.change(RingName::Signing, &Change::RotateNow).await;
    deployment.change(RingName::Signing, &Change::Retire(old)).await;
    deployment.pass(300);
    assert_eq!(process.get("/me", &held).await, 401);
    assert_eq!(process.get("/me", &process.refresh(&held).await).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pepper_moves_on_with_each_sign_in_and_unknown_addresses_do_not_need_the_old_one() {
    let deployment = Deployment::new().await;
    let process = deployment.process().await;
    process.register(ADA).await;
    let old = deployment.current(RingName::Pepper);
    deployment.change(RingName::Pepper, &Change::RotateNow).await;
    deployment.pass(300);
    process.login(ADA).await;
    deployment.change(RingName::Pepper, &Change::Retire(old)).await;
    deployment.pass(300);
    process.login(ADA).await;
    let nobody = json!({"email": "nobody@example.com", "password": PASSWORD});
    assert_eq!(process.post("/login", nobody).await.0, 401, "the decoy names a pepper that is there");
}
