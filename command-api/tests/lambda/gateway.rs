use std::collections::BTreeMap;

use serde_json::{Value, json};
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{Lifetimes, Metadata, Store};
use tempfile::TempDir;
use testkit::{Ended, Engine, Function, Outcome, program, settings};

use crate::events::{post, with_token};

pub const ADA: &str = "ada@example.com";
pub const PASSWORD: &str = "correct horse battery";

/// What the function runs on: tables, and a file of service keys.
pub struct Ground {
    pub engine: Engine,
    pub tables: Tables,
    pub keys: ServiceKeys,
    pub folder: TempDir,
}

/// The function behind the gateway.
pub struct Gateway {
    pub ground: Ground,
    pub function: Function,
}

/// An answer as the gateway would send it on.
#[derive(Debug)]
pub struct Answer {
    pub status: u64,
    pub headers: Value,
    pub body: Value,
}

impl Ground {
    pub async fn new() -> Self {
        let engine = Engine::start().await;
        let tables = engine.tables().await;
        let folder = tempfile::tempdir().unwrap();
        let keys = ServiceKeys::open_or_create(&folder.path().join("keys.json")).unwrap();
        Self { engine, tables, keys, folder }
    }

    /// Every setting of the function.
    pub fn settings(&self) -> BTreeMap<&'static str, String> {
        let mut settings = settings(&self.engine, &self.tables, &self.folder.path().join("keys.json"));
        settings.insert("ANNALS_ISSUER", "https://accounts.example.com".to_owned());
        settings
    }

    pub async fn start(&self, settings: &BTreeMap<&'static str, String>) -> Result<Function, Ended> {
        let program = program("ANNALS_COMMAND_API_BIN", env!("CARGO_BIN_EXE_command-api"));
        Function::start(&program, settings).await
    }

    /// What the log records beside each of a user's events.
    pub async fn recorded(&self, user: &str) -> Vec<Metadata> {
        let store = Store::new(&self.engine.client(), &self.tables, &self.keys, Lifetimes::default());
        let mut recorded = Vec::new();
        let note = |commit: &storage::Commit| {
            recorded.extend(commit.events.iter().map(|recorded| recorded.meta.clone()));
        };
        store.log.history(user.parse().unwrap(), note).await.unwrap();
        recorded
    }
}

impl Gateway {
    pub async fn start() -> Self {
        let ground = Ground::new().await;
        let function = ground.start(&ground.settings()).await.unwrap();
        Self { ground, function }
    }

    pub async fn send(&mut self, event: Value) -> Answer {
        match self.function.invoke(event).await {
            Outcome::Answered(answer) => Answer::of(&answer),
            Outcome::Failed(error) => panic!("the invocation failed: {error}"),
        }
    }

    /// Registers Ada; her id.
    pub async fn register(&mut self) -> String {
        let registered = self.send(registration()).await;
        assert_eq!(registered.status, 201, "{registered:?}");
        registered.text("user_id")
    }

    /// Signs Ada in.
    pub async fn sign_in(&mut self) -> Answer {
        let signed_in = self.send(post("/login", &json!({"email": ADA, "password": PASSWORD}))).await;
        assert_eq!(signed_in.status, 200, "{signed_in:?}");
        signed_in
    }

    pub async fn get(&mut self, path: &str, access_token: &str) -> Answer {
        self.send(with_token(crate::events::event("GET", path), access_token)).await
    }
}

/// The event of Ada's registration.
pub fn registration() -> Value {
    post("/register", &json!({"email": ADA, "password": PASSWORD, "name": "Ada"}))
}

impl Answer {
    /// Reads what payload format 2.0 asks of an answer.
    fn of(answer: &Value) -> Self {
        assert_eq!(answer["isBase64Encoded"], false, "{answer}");
        let body = answer["body"].as_str().unwrap();
        let headers = answer["headers"].clone();
        assert!(headers.as_object().unwrap().values().all(Value::is_string), "{answer}");
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
        Self { status: answer["statusCode"].as_u64().unwrap(), headers, body }
    }

    pub fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field}: {self:?}")).to_owned()
    }

    /// Asserts that this is a documented problem of that kind.
    #[track_caller]
    pub fn is_problem(&self, status: u64, kind: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["type"], format!("urn:annals:problem:{kind}"));
    }
}
