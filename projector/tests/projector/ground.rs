use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lambda_events::event::dynamodb::Event;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Command, CommandId, CredentialId, Email, EmailChange, SessionId, UserId, Version};
use projector::ReadModel;
use serde_json::json;
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{
    Enclosed, Guessed, Intent, Lifetimes, Loaded, Parked, Snapshot, Store, View, ViewKeys, Views,
    WrappingKeys,
};
use testkit::Engine;
use uuid::Uuid;
use zeroize::Zeroizing;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// A deployment with users, and a read model beside it.
pub(crate) struct Ground {
    pub engine: Engine,
    pub client: Client,
    pub tables: Tables,
    pub keys: ServiceKeys,
    pub store: Store,
    pub model: ReadModel,
    ids: AtomicU64,
}

pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(4_102_444_800, 0).unwrap()
}

pub(crate) fn v(number: u64) -> Version {
    Version::new(number)
}

/// Waits until this holds.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            // Not at once: whoever it waits for needs the processor, too.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting).await.expect("it never came to hold");
}

impl Ground {
    pub(crate) async fn new() -> Self {
        let engine = Engine::start().await;
        let client = engine.client();
        let tables = Box::pin(engine.tables()).await;
        let keys = ServiceKeys::random().unwrap();
        let store = Store::new(&client, &tables, &keys, Lifetimes::default());
        let model = model(&client, &tables, &keys);
        Self { engine, client, tables, keys, store, model, ids: AtomicU64::new(1) }
    }

    /// The read model as another client reaches it.
    pub(crate) fn model_of(&self, client: &Client) -> ReadModel {
        model(client, &self.tables, &self.keys)
    }

    /// A read model with the same keys in other tables.
    pub(crate) fn model_in(&self, tables: &Tables) -> ReadModel {
        model(&self.client, tables, &self.keys)
    }

    /// The read model as code of another fold number sees it.
    pub(crate) fn model_of_fold(&self, fold: u32) -> ReadModel {
        let views: Views = self.model.views.clone().with_fold(fold);
        ReadModel { log: self.model.log.clone(), views }
    }

    fn id(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.ids.fetch_add(1, Ordering::Relaxed)) << 64 | 7)
    }

    pub(crate) async fn registered(&self) -> UserId {
        self.registered_by(&self.store).await
    }

    pub(crate) async fn registered_by(&self, store: &Store) -> UserId {
        let user = UserId::new(self.id());
        self.registered_as(store, user, address(user)).await;
        user
    }

    pub(crate) async fn registered_as(&self, store: &Store, user: UserId, email: Email) {
        let command = Command::Register { email, name: None, credential: CredentialId::new(self.id()) };
        let enclosed = Enclosed::Verifier(Zeroizing::new("$argon2id$".to_owned()));
        self.execute(store, &mut Loaded::unborn(user).unwrap(), command, enclosed, None).await;
    }

    pub(crate) async fn many_registered(&self, how_many: usize) -> Vec<UserId> {
        let mut users = Vec::new();
        for _ in 0..how_many {
            users.push(self.registered().await);
        }
        users
    }

    pub(crate) async fn signed_in(&self, user: UserId) -> SessionId {
        self.signed_in_with(user, None).await
    }

    pub(crate) async fn signed_in_by(&self, store: &Store, user: UserId) -> SessionId {
        self.sign_in(store, user, None).await
    }

    /// Signs in with a `User-Agent`, which the commit records.
    pub(crate) async fn signed_in_with(&self, user: UserId, agent: Option<String>) -> SessionId {
        self.sign_in(&self.store, user, agent).await
    }

    async fn sign_in(&self, store: &Store, user: UserId, agent: Option<String>) -> SessionId {
        let session = SessionId::new(self.id());
        let snapshot = store.log.fold(user).await.unwrap().outcome.unwrap();
        let credential = snapshot.user.account().unwrap().credential;
        let begun = store.sessions.begin(user, session, None, now()).unwrap();
        let command = Command::SignIn {
            email: address(user),
            credential,
            attempt: 1,
            device: None,
            session,
            ends: begun.ends,
            verified_only: false,
        };
        let mut loaded = store.load(user).await.unwrap().unwrap();
        self.execute(store, &mut loaded, command, Enclosed::Session(Box::new(begun)), agent).await;
        session
    }

    pub(crate) async fn signed_out(&self, user: UserId, session: SessionId) {
        self.signed_out_by(&self.store, user, session).await;
    }

    pub(crate) async fn signed_out_by(&self, store: &Store, user: UserId, session: SessionId) {
        let mut loaded = store.load(user).await.unwrap().unwrap();
        self.execute(store, &mut loaded, Command::SignOut { session }, Enclosed::ActingSession, None).await;
    }

    /// Changes the address, which is the one that users get here, to another.
    pub(crate) async fn moved(&self, user: UserId, to: &Email) {
        let session = self.signed_in(user).await;
        let store = &self.store;
        let whose = Guessed::Unknown(store.identifiers.key.email(to));
        let mut loaded = store.load(user).await.unwrap().unwrap();
        let ends = now() + TimeDelta::hours(24);
        let command = Command::RequestEmailChange { session, email: to.clone(), ends };
        let enclosed = Enclosed::MailElsewhere { acting: session, to: whose, unverified: false };
        self.execute(store, &mut loaded, command, enclosed, None).await;
        let credential = loaded.snapshot().user.account().unwrap().credential;
        let change = EmailChange { from: address(user), to: to.clone(), ends };
        let command = Command::ConfirmEmailChange { change, credential };
        self.execute(store, &mut loaded, command, Enclosed::Nothing, None).await;
    }

    /// Somebody registers the address that this user has not verified for a day.
    pub(crate) async fn yielded(&self, by: UserId) -> UserId {
        let newcomer = UserId::new(self.id());
        let mut owner = self.store.load(by).await.unwrap().unwrap();
        let credential = CredentialId::new(self.id());
        let intent = Intent {
            command: Command::Register { email: address(by), name: None, credential },
            id: CommandId::new(self.id()),
            at: now() + TimeDelta::hours(25),
            address: None,
            agent: None,
            enclosed: Enclosed::VerifierAndYielded { verifier: Zeroizing::new("$argon2id$".to_owned()), by },
        };
        let mut unborn = Loaded::unborn(newcomer).unwrap();
        self.store.register_instead(&mut unborn, &mut owner, &intent).await.unwrap();
        newcomer
    }

    async fn execute(
        &self,
        store: &Store,
        loaded: &mut Loaded,
        command: Command,
        enclosed: Enclosed,
        agent: Option<String>,
    ) {
        let at = now() + TimeDelta::milliseconds(1);
        let intent = Intent { command, id: CommandId::new(self.id()), at, address: None, agent, enclosed };
        assert!(store.execute(loaded, &intent).await.unwrap().version.is_some());
    }

    pub(crate) async fn fold(&self, user: UserId) -> Snapshot {
        self.model.log.fold(user).await.unwrap().outcome.unwrap()
    }

    pub(crate) async fn view(&self, user: UserId) -> View {
        self.model.views.read(user).await.unwrap()
    }

    pub(crate) async fn parked(&self, user: UserId) -> Option<Parked> {
        self.model.views.read_all(&[user], true).await.unwrap().pop().unwrap().parked
    }

    pub(crate) async fn caught_up(&self, users: &[UserId]) {
        for user in users {
            self.model.catch_up(*user, Version::NONE, now()).await.unwrap();
        }
    }

    pub(crate) async fn assert_shown(&self, user: UserId) {
        assert_eq!(self.view(user).await, View::Of(self.fold(user).await));
    }

    pub(crate) fn commit_key(user: UserId, version: u64) -> Item {
        let item = AttributeValue::S(format!("commit-{version:010}"));
        Item::from([("user".into(), AttributeValue::S(user.to_string())), ("item".into(), item)])
    }

    pub(crate) fn view_key(user: UserId) -> Item {
        Item::from([("user".into(), AttributeValue::S(user.to_string()))])
    }

    pub(crate) async fn get(&self, table: &str, key: Item) -> Option<Item> {
        self.client.get_item().table_name(table).set_key(Some(key)).send().await.unwrap().item
    }

    pub(crate) async fn put(&self, table: &str, item: Item) {
        self.client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    }

    pub(crate) async fn delete(&self, table: &str, key: Item) {
        self.client.delete_item().table_name(table).set_key(Some(key)).send().await.unwrap();
    }

    /// Damages a commit, and returns it as it was.
    pub(crate) async fn break_commit(&self, user: UserId, version: u64) -> Item {
        let whole = self.get(&self.tables.events, Self::commit_key(user, version)).await.unwrap();
        self.put(&self.tables.events, damaged(&whole)).await;
        whole
    }

    /// Damages a view.
    pub(crate) async fn tear_view(&self, user: UserId) {
        let whole = self.get(&self.tables.views, Self::view_key(user)).await.unwrap();
        self.put(&self.tables.views, damaged(&whole)).await;
    }

    /// Every item of a table, in the order of their keys.
    pub(crate) async fn dump(&self, table: &str) -> Vec<Item> {
        let mut items = self.client.scan().table_name(table).send().await.unwrap().items.unwrap();
        items.sort_by_key(|item| {
            format!("{:?} {:?} {:?}", item.get("user"), item.get("item"), item.get("identifier"))
        });
        items
    }
}

fn model(client: &Client, tables: &Tables, keys: &ServiceKeys) -> ReadModel {
    let wrapping = WrappingKeys::new(keys.deployment.clone(), keys.wrapping.clone());
    let views = ViewKeys::new(keys.deployment.clone(), keys.views.clone());
    ReadModel::new(client, tables, wrapping, views)
}

pub(crate) fn address(user: UserId) -> Email {
    Email::parse(&format!("{user}@example.com")).unwrap()
}

fn damaged(item: &Item) -> Item {
    let mut item = item.clone();
    let mut sealed = item["sealed"].as_b().unwrap().clone().into_inner();
    *sealed.last_mut().unwrap() ^= 1;
    item.insert("sealed".into(), AttributeValue::B(Blob::new(sealed)));
    item
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
