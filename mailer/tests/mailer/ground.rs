use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lambda_events::event::dynamodb::Event;
use aws_lambda_events::event::streams::DynamoDbEventResponse;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Command, CommandId, CredentialId, DisplayName, Email, UserId};
use mailer::{Kept, Letterhead, Mailer, Outbox, Transport};
use serde_json::{Value, json};
use storage::keys::ServiceKeys;
use storage::one_time::OneTimeKeys;
use storage::tables::Tables;
use storage::{Enclosed, EventLog, Intent, Lifetimes, Loaded, MailClaims, Store, WrappingKeys};
use tempfile::TempDir;
use testkit::Engine;
use uuid::Uuid;

pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) const ADA: &str = "ada@example.com";
/// The address that links begin with.
pub(crate) const LINKS: &str = "https://app.example.com/account";

/// When users register, and when forged commits say that they were made.
pub(crate) fn noon() -> DateTime<Utc> {
    "2100-11-22T12:00:00.250Z".parse().unwrap()
}

/// So many seconds after noon.
pub(crate) fn second(seconds: i64) -> DateTime<Utc> {
    noon() + TimeDelta::seconds(seconds)
}

/// A deployment with users, and an outbox beside it.
pub(crate) struct Ground {
    pub(crate) engine: Engine,
    pub(crate) client: Client,
    pub(crate) tables: Tables,
    pub(crate) keys: ServiceKeys,
    pub(crate) store: Store,
    pub(crate) mailer: Mailer,
    pub(crate) outbox: Outbox,
    pub(crate) folder: TempDir,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        let engine = Engine::start().await;
        let client = engine.client();
        let tables = Box::pin(engine.tables()).await;
        let keys = ServiceKeys::random().unwrap();
        let store = Store::new(&client, &tables, &keys, Lifetimes::default());
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(&folder.path().join("outbox")).unwrap();
        let mailer = mailer(&client, &tables, &keys, Transport::Outbox(outbox.clone()));
        Self { engine, client, tables, keys, store, mailer, outbox, folder }
    }

    /// A mailer that reaches the tables with another client.
    pub(crate) fn mailer_by(&self, client: &Client) -> Mailer {
        mailer(client, &self.tables, &self.keys, Transport::Outbox(self.outbox.clone()))
    }

    /// A mailer that sends in another way.
    pub(crate) fn mailer_over(&self, transport: Transport) -> Mailer {
        mailer(&self.client, &self.tables, &self.keys, transport)
    }

    /// Registers Ada with this address.
    pub(crate) async fn registered(&self, address: &str) -> UserId {
        registered(&self.store, address).await
    }

    /// Appends a commit with these events, as if it had been made at noon.
    pub(crate) async fn append(&self, user: UserId, version: u64, events: &[Value]) -> (UserId, u64) {
        let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
        let meta = json!({"command": "Forged", "address": "192.0.2.7", "agent": agent});
        let recorded: Vec<_> = events.iter().map(|event| json!({"event": event, "meta": meta})).collect();
        let before = self.get(commit_key(user, version - 1)).await.unwrap();
        let vault = self.get(key(user, "vault")).await.unwrap();
        let commit = testkit::commit_after(&self.keys, &vault, &before, &json!(recorded).to_string());
        self.put(commit).await;
        (user, version)
    }

    /// Hands the mailer a batch of these commits.
    pub(crate) async fn handle(
        &self,
        commits: &[(UserId, u64)],
        now: DateTime<Utc>,
    ) -> DynamoDbEventResponse {
        mailer::handle(&self.mailer, batch(commits), now).await
    }

    /// Every mail that was sent, the last one first.
    pub(crate) fn mails(&self) -> Vec<Kept> {
        self.outbox.list().unwrap()
    }

    /// The only mail that was sent.
    #[track_caller]
    pub(crate) fn mail(&self) -> Kept {
        let mut mails = self.mails();
        assert_eq!(mails.len(), 1, "{mails:?}");
        mails.remove(0)
    }

    /// A mail as it lies in its file: its head and its body.
    pub(crate) fn raw(&self, mail: &Kept) -> (String, String) {
        let file = self.folder.path().join(format!("outbox/{}.eml", mail.id));
        let text = std::fs::read_to_string(file).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (format!("{head}\r\n"), body.to_owned())
    }

    pub(crate) async fn get(&self, key: Item) -> Option<Item> {
        let get = self.client.get_item().table_name(&self.tables.events).set_key(Some(key));
        get.consistent_read(true).send().await.unwrap().item
    }

    pub(crate) async fn put(&self, item: Item) {
        let put = self.client.put_item().table_name(&self.tables.events).set_item(Some(item));
        put.send().await.unwrap();
    }
}

pub(crate) fn mailer(client: &Client, tables: &Tables, keys: &ServiceKeys, transport: Transport) -> Mailer {
    let wrapping = WrappingKeys::new(keys.deployment.clone(), keys.wrapping.clone());
    let log = EventLog::new(client.clone(), tables.events.clone(), wrapping);
    let claims = MailClaims::new(client.clone(), tables.sessions.clone());
    let tokens = OneTimeKeys::new(keys.deployment.clone(), keys.one_time.clone());
    let from = "Annals <no-reply@example.com>".parse().unwrap();
    Mailer::new(log, claims, tokens, Letterhead { from, links: LINKS.parse().unwrap() }, transport)
}

pub(crate) fn id() -> Uuid {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Uuid::from_u128(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)) << 64 | 7)
}

/// Registers Ada with this address, at noon.
pub(crate) async fn registered(store: &Store, address: &str) -> UserId {
    registered_at(store, address, noon()).await
}

/// The same, at some other time.
pub(crate) async fn registered_at(store: &Store, address: &str, at: DateTime<Utc>) -> UserId {
    let user = UserId::new(id());
    let command = Command::Register {
        email: Email::parse(address).unwrap(),
        name: Some(DisplayName::parse("Ada").unwrap()),
        credential: CredentialId::new(id()),
    };
    let enclosed = Enclosed::Verifier("$argon2id$".to_owned().into());
    let id = CommandId::new(id());
    let intent = Intent { command, id, at, address: None, agent: None, enclosed };
    store.execute(&mut Loaded::unborn(user).unwrap(), &intent).await.unwrap();
    user
}

pub(crate) fn key(user: UserId, item: &str) -> Item {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    Item::from([("user".into(), text(&user.to_string())), ("item".into(), text(item))])
}

pub(crate) fn commit_key(user: UserId, version: u64) -> Item {
    key(user, &format!("commit-{version:010}"))
}

/// A batch of records, each saying that a commit was appended; numbered from 1 in their order.
pub(crate) fn batch(commits: &[(UserId, u64)]) -> Event {
    let keys: Vec<_> = commits
        .iter()
        .map(|(user, version)| ("INSERT", user.to_string(), format!("commit-{version:010}")))
        .collect();
    records(&keys)
}

pub(crate) fn records(records: &[(&str, String, String)]) -> Event {
    let records: Vec<_> = records
        .iter()
        .enumerate()
        .map(|(index, (name, user, item))| {
            json!({
                "awsRegion": "us-east-1",
                "eventID": index.to_string(),
                "eventName": name,
                "dynamodb": {
                    "Keys": { "user": { "S": user }, "item": { "S": item } },
                    "SequenceNumber": (index + 1).to_string(),
                    "SizeBytes": 1,
                    "StreamViewType": "KEYS_ONLY",
                },
            })
        })
        .collect();
    serde_json::from_value(json!({ "Records": records })).unwrap()
}

/// The sequence numbers that an answer names.
pub(crate) fn failed(response: &DynamoDbEventResponse) -> Vec<&str> {
    response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_deref().unwrap()).collect()
}
