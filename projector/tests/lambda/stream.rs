use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use domain::{Command, CommandId, CredentialId, Email, UserId, Version};
use serde_json::{Value, json};
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{Enclosed, Intent, Lifetimes, Loaded, Store, View};
use tempfile::TempDir;
use testkit::{Ended, Engine, Function, Outcome, program, settings};
use uuid::Uuid;
use zeroize::Zeroizing;

/// The sort key of everybody's first commit.
pub const FIRST: &str = "commit-0000000001";

/// What the function runs on: tables, and a file of service keys.
pub struct Ground {
    pub engine: Engine,
    pub tables: Tables,
    pub folder: TempDir,
    pub store: Store,
}

/// The function behind the stream.
pub struct Stream {
    pub ground: Ground,
    pub function: Function,
}

impl Ground {
    pub async fn new() -> Self {
        let engine = Engine::start().await;
        let tables = engine.tables().await;
        let folder = tempfile::tempdir().unwrap();
        let keys = ServiceKeys::open_or_create(&folder.path().join("keys.json")).unwrap();
        let store = Store::new(&engine.client(), &tables, &keys, Lifetimes::default());
        Self { engine, tables, folder, store }
    }

    /// Every setting of the function.
    pub fn settings(&self) -> BTreeMap<&'static str, String> {
        let mut settings = settings(&self.engine, &self.tables, &self.folder.path().join("keys.json"));
        settings.retain(|name, _| !matches!(*name, "ANNALS_IDENTIFIERS_TABLE" | "ANNALS_SESSIONS_TABLE"));
        settings
    }

    pub async fn start(&self, settings: &BTreeMap<&'static str, String>) -> Result<Function, Ended> {
        let program = program("ANNALS_PROJECTOR_BIN", env!("CARGO_BIN_EXE_projector"));
        Function::start(&program, settings).await
    }

    /// Registers a user; each test numbers its own.
    pub async fn register(&self, number: u128) -> UserId {
        self.register_with(number, None).await
    }

    /// The same, with a `User-Agent`, which the commit records.
    pub async fn register_with(&self, number: u128, agent: Option<String>) -> UserId {
        let user = UserId::new(Uuid::from_u128(number << 64 | 7));
        let email = Email::parse(&format!("user-{number}@example.com")).unwrap();
        let credential = CredentialId::new(Uuid::from_u128(number << 64 | 8));
        let intent = Intent {
            command: Command::Register { email, name: None, credential },
            id: CommandId::new(Uuid::from_u128(number << 64 | 9)),
            at: DateTime::<Utc>::from_timestamp(1_800_000_000, 0).unwrap(),
            address: None,
            agent,
            enclosed: Enclosed::Verifier(Zeroizing::new("$argon2id$".to_owned())),
        };
        self.store.execute(&mut Loaded::unborn(user).unwrap(), &intent).await.unwrap();
        user
    }

    /// Deletes a user's view.
    pub async fn forget(&self, user: UserId) {
        let client = self.engine.client();
        let key = AttributeValue::S(user.to_string());
        client.delete_item().table_name(&self.tables.views).key("user", key).send().await.unwrap();
    }

    /// The version that a user's view shows.
    pub async fn shown(&self, user: UserId) -> Option<Version> {
        match self.store.views.read(user).await.unwrap() {
            View::Absent => None,
            View::Of(snapshot) => {
                assert!(snapshot.user.account().is_some());
                Some(snapshot.head.version)
            }
            view @ (View::Foreign { .. } | View::Torn(_)) => panic!("{view:?}"),
        }
    }
}

impl Stream {
    pub async fn start() -> Self {
        let ground = Ground::new().await;
        let function = ground.start(&ground.settings()).await.unwrap();
        Self { ground, function }
    }

    /// Gives the function a batch; what it answers.
    pub async fn send(&mut self, batch: Value) -> Value {
        match self.function.invoke(batch).await {
            Outcome::Answered(answer) => answer,
            Outcome::Failed(error) => panic!("the invocation failed: {error}"),
        }
    }
}

/// The event of a batch of records, each of a name, a user and an item; their sequence numbers count from 0. [AWS
/// Lambda developer guide, "Using AWS Lambda with Amazon DynamoDB"]
pub fn batch(records: &[(&str, String, &str)]) -> Value {
    let records: Vec<_> = records
        .iter()
        .enumerate()
        .map(|(number, (name, user, item))| {
            json!({
                "eventID": format!("{number:032x}"),
                "eventName": name,
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": "us-east-1",
                "dynamodb": {
                    "ApproximateCreationDateTime": 1_800_000_000.0,
                    "Keys": {"user": {"S": user}, "item": {"S": item}},
                    "SequenceNumber": format!("4421584500000000{number:09}"),
                    "SizeBytes": 59,
                    "StreamViewType": "KEYS_ONLY",
                },
                "eventSourceARN":
                    "arn:aws:dynamodb:us-east-1:123456789012:table/events/stream/2100-11-22T00:00:00.000",
            })
        })
        .collect();
    json!({ "Records": records })
}

/// The answer that reports the record with this sequence number, and no other.
pub fn failed(number: usize) -> Value {
    json!({"batchItemFailures": [{"itemIdentifier": format!("4421584500000000{number:09}")}]})
}

/// The answer that reports nothing.
pub fn processed() -> Value {
    json!({ "batchItemFailures": [] })
}
