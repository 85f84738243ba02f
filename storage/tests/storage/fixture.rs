//! A world of one engine with its tables, the people in it, and the tester's own hand in the tables.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Command, CommandId, CredentialId, DisplayName, Email, SessionId, UserId, VerifiedPassword};
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{
    Appended, Broken, Enclosed, ExecuteError, Intent, Lifetimes, Loaded, NewSession, Put, ReadError,
    Replacing, Scanned, Segment, Snapshot, Store,
};
use testkit::{Engine, Faults, Meter};
use uuid::Uuid;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// What the verifiers of the tests look like. Storage does not read them.
pub(crate) const PHC: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA";

/// The verifier of another password.
pub(crate) const NEW_PHC: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bmV3c2FsdG5ld3NhbHQ$bmV3aGFzaG5ld2hhc2huZXdoYXNo";

/// How long the store under test goes on trying.
const PATIENCE: Duration = Duration::from_mins(1);

/// When a story begins: far ahead, so that no engine's TTL takes a session away in its middle.
pub(crate) fn noon() -> DateTime<Utc> {
    "2100-11-22T12:00:00.250Z".parse().unwrap()
}

/// That many seconds after noon.
pub(crate) fn second(seconds: i64) -> DateTime<Utc> {
    noon() + TimeDelta::seconds(seconds)
}

/// Bits for an id that no other test has.
pub(crate) fn bits() -> Uuid {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = u128::from(NEXT.fetch_add(1, Ordering::Relaxed));
    Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_0000 + number)
}

pub(crate) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(crate) fn octets(value: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) tables: Tables,
    pub(crate) keys: ServiceKeys,
    /// What is under test. The SDK does not try again by itself.
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    pub(crate) meter: Meter,
    /// The hand of one who can write the tables and has no service key.
    pub(crate) raw: Client,
}

/// Somebody who has registered.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) user: UserId,
    pub(crate) email: Email,
    pub(crate) credential: CredentialId,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(ServiceKeys::random().unwrap(), Lifetimes::default()).await
    }

    pub(crate) async fn with(keys: ServiceKeys, lifetimes: Lifetimes) -> Self {
        let engine = Engine::start().await;
        let tables = engine.tables().await;
        let (client, faults, meter) = engine.faulty();
        // A busy build machine must not look like contention without end.
        let store = Store::new(&client, &tables, &keys, lifetimes).with_no_new_try_after(PATIENCE);
        let raw = engine.client();
        Self { engine, tables, keys, store, faults, meter, raw }
    }

    /// Another program on the same tables, with other keys or times.
    pub(crate) fn store_of(&self, keys: &ServiceKeys, lifetimes: Lifetimes) -> Store {
        Store::new(&self.raw, &self.tables, keys, lifetimes)
    }

    pub(crate) async fn register(&self, address: &str) -> Person {
        let person = somebody(address);
        let mut loaded = Loaded::unborn(person.user).unwrap();
        let appended = self.store.execute(&mut loaded, &registration(&person)).await.unwrap();
        assert_eq!(appended.version.map(domain::Version::number), Some(1));
        person
    }

    pub(crate) async fn load(&self, person: &Person) -> Loaded {
        self.store.load(person.user).await.unwrap().unwrap()
    }

    /// Signs in from the browser at noon.
    pub(crate) async fn sign_in(&self, person: &Person, attempt: u64) -> NewSession {
        let session = self.begin(person);
        self.execute(person, &sign_in(person, attempt, &session)).await.unwrap();
        session
    }

    pub(crate) fn begin(&self, person: &Person) -> NewSession {
        self.store.sessions.begin(person.user, SessionId::new(bits()), Some("browser"), noon()).unwrap()
    }

    pub(crate) async fn execute(&self, person: &Person, intent: &Intent) -> Result<Appended, ExecuteError> {
        self.store.execute(&mut self.load(person).await, intent).await
    }

    /// Brings the view up to date, as the projector does.
    pub(crate) async fn project(&self, person: &Person) -> Snapshot {
        let snapshot = self.fold(person).await.unwrap();
        let put = self.store.views.put(person.user, &snapshot, Replacing::Older).await.unwrap();
        assert_eq!(put, Put::Written);
        snapshot
    }

    pub(crate) async fn fold(&self, person: &Person) -> Result<Snapshot, Broken> {
        self.store.log.fold(person.user).await.unwrap().outcome
    }

    /// What every way of reading the log says is broken.
    pub(crate) async fn broken(&self, person: &Person) -> Broken {
        let broken = self.fold(person).await.unwrap_err();
        let history = self.store.log.history(person.user, |_| ()).await;
        assert!(matches!(&history, Err(ReadError::Broken(same)) if *same == broken), "{history:?}");
        let mut snapshot = Snapshot::default();
        let advanced = self.store.log.advance(person.user, &mut snapshot, None).await;
        assert!(matches!(&advanced, Err(ReadError::Broken(same)) if *same == broken), "{advanced:?}");
        let scanned = self.scan().await.into_iter().find(|scanned| scanned.user == person.user);
        assert_eq!(scanned.unwrap().outcome, Err(broken.clone()));
        broken
    }

    /// Everybody, by a scan in two segments.
    pub(crate) async fn scan(&self) -> Vec<Scanned> {
        let mut everybody = Vec::new();
        for index in 0..2 {
            let mut scan = self.store.log.scan(Segment { index, total: 2 });
            while let Some(scanned) = scan.next().await.unwrap() {
                everybody.extend(scanned);
            }
        }
        everybody
    }

    /// Everything in a table.
    pub(crate) async fn all(&self, table: &str) -> Vec<Item> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let page = self.raw.scan().table_name(table).set_exclusive_start_key(start);
            let page = page.consistent_read(true).send().await.unwrap();
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                return items;
            }
        }
    }

    /// The sort keys in a user's log, in order.
    pub(crate) async fn log_items(&self, person: &Person) -> Vec<String> {
        let user = text(&person.user.to_string());
        let mut keys: Vec<String> = self
            .all(&self.tables.events)
            .await
            .into_iter()
            .filter(|item| item["user"] == user)
            .map(|item| item["item"].as_s().unwrap().clone())
            .collect();
        keys.sort();
        keys
    }

    pub(crate) fn identifier_key(&self, person: &Person) -> Item {
        let identifier = self.store.identifiers.key.email(&person.email);
        Item::from([("identifier".to_owned(), text(identifier.as_str()))])
    }

    pub(crate) async fn get(&self, table: &str, key: Item) -> Option<Item> {
        self.raw.get_item().table_name(table).set_key(Some(key)).send().await.unwrap().item
    }

    pub(crate) async fn put(&self, table: &str, item: Item) {
        self.raw.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    }

    pub(crate) async fn delete(&self, table: &str, key: Item) {
        self.raw.delete_item().table_name(table).set_key(Some(key)).send().await.unwrap();
    }

    /// A commit, the vault, a session's row or the guesses: whatever has a sort key.
    pub(crate) async fn item(&self, table: &str, person: &Person, sort_key: &str) -> Item {
        self.get(table, key(person, sort_key)).await.unwrap()
    }

    /// Sets or removes one attribute of an item.
    pub(crate) async fn patch(&self, table: &str, mut item: Item, name: &str, value: Option<AttributeValue>) {
        match value {
            Some(value) => item.insert(name.to_owned(), value),
            None => item.remove(name),
        };
        self.put(table, item).await;
    }

    pub(crate) async fn commit(&self, person: &Person, version: u64) -> Item {
        self.item(&self.tables.events, person, &commit_key(version)).await
    }

    pub(crate) async fn vault(&self, person: &Person) -> Item {
        self.item(&self.tables.events, person, "vault").await
    }

    pub(crate) async fn view(&self, person: &Person) -> Item {
        self.get(&self.tables.views, view_key(person)).await.unwrap()
    }

    pub(crate) async fn session_row(&self, person: &Person, session: SessionId) -> Option<Item> {
        self.get(&self.tables.sessions, key(person, &format!("session-{session}"))).await
    }

    /// The ids of the sessions that have a row.
    pub(crate) async fn session_rows(&self, person: &Person) -> Vec<String> {
        let user = text(&person.user.to_string());
        let rows = self.all(&self.tables.sessions).await;
        let rows = rows.into_iter().filter(|row| row["user"] == user);
        rows.filter_map(|row| row["item"].as_s().unwrap().strip_prefix("session-").map(str::to_owned))
            .collect()
    }
}

pub(crate) fn commit_key(version: u64) -> String {
    format!("commit-{version:010}")
}

pub(crate) fn key(person: &Person, sort_key: &str) -> Item {
    Item::from([("user".to_owned(), text(&person.user.to_string())), ("item".to_owned(), text(sort_key))])
}

pub(crate) fn view_key(person: &Person) -> Item {
    Item::from([("user".to_owned(), text(&person.user.to_string()))])
}

/// Somebody who has not registered yet.
pub(crate) fn somebody(address: &str) -> Person {
    Person {
        user: UserId::new(bits()),
        email: Email::parse(address).unwrap(),
        credential: CredentialId::new(bits()),
    }
}

pub(crate) fn intent(command: Command, enclosed: Enclosed) -> Intent {
    let (address, agent) = (Some("192.0.2.1".to_owned()), Some("browser".to_owned()));
    Intent { command, id: CommandId::new(bits()), at: noon(), address, agent, enclosed }
}

pub(crate) fn registration(person: &Person) -> Intent {
    let name = Some(DisplayName::parse("Ada").unwrap());
    let command = Command::Register { email: person.email.clone(), name, credential: person.credential };
    intent(command, Enclosed::Verifier(PHC.to_owned().into()))
}

pub(crate) fn sign_in(person: &Person, attempt: u64, session: &NewSession) -> Intent {
    let command = Command::SignIn {
        email: person.email.clone(),
        credential: person.credential,
        attempt,
        device: None,
        session: session.id,
        ends: session.ends,
        verified_only: false,
    };
    intent(command, Enclosed::Session(Box::new(session.clone())))
}

/// The same with a stronger verifier of the same password, in place of the one in the vault that was loaded.
pub(crate) fn sign_in_rehashed(
    loaded: &Loaded,
    person: &Person,
    attempt: u64,
    session: &NewSession,
) -> Intent {
    let enclosed = Enclosed::SessionAndVerifier {
        session: Box::new(session.clone()),
        verifier: NEW_PHC.to_owned().into(),
        instead_of: Box::new(loaded.vault().unwrap().clone()),
    };
    Intent { enclosed, ..sign_in(person, attempt, session) }
}

/// A sign-out by the session itself.
pub(crate) fn sign_out(session: SessionId) -> Intent {
    intent(Command::SignOut { session }, Enclosed::ActingSession)
}

/// A new name: a commit with nothing beside it.
pub(crate) fn rename(session: SessionId, name: &str) -> Intent {
    let name = Some(DisplayName::parse(name).unwrap());
    intent(Command::Rename { session, name, replacing: None }, Enclosed::Nothing)
}

/// Another password, asked for in session `acting` after the current one was right.
pub(crate) fn change_password(person: &Person, attempt: u64, acting: SessionId) -> Intent {
    let command = Command::ChangePassword {
        session: acting,
        verified: VerifiedPassword { credential: person.credential, attempt, device: None },
        credential: CredentialId::new(bits()),
    };
    intent(command, Enclosed::NewVerifier { verifier: NEW_PHC.to_owned().into(), acting })
}

/// A mail with which the password can be reset.
pub(crate) fn request_reset(person: &Person) -> Intent {
    let (email, ends) = (person.email.clone(), second(600));
    intent(Command::RequestPasswordReset { email, ends }, Enclosed::Nothing)
}

/// Another password, by a token for the current one, after so many attempts were counted.
pub(crate) fn reset_password(person: &Person, base: u64) -> Intent {
    let command = Command::ResetPassword {
        email: person.email.clone(),
        since: None,
        replacing: person.credential,
        credential: CredentialId::new(bits()),
        base,
    };
    intent(command, Enclosed::Verifier(NEW_PHC.to_owned().into()))
}

pub(crate) fn disable(attempt: u64) -> Intent {
    intent(Command::DisablePassword { attempt }, Enclosed::Nothing)
}

/// The credential that a change or a reset of a password puts in.
pub(crate) fn put_in_by(intent: &Intent) -> CredentialId {
    match &intent.command {
        Command::ChangePassword { credential, .. } | Command::ResetPassword { credential, .. } => *credential,
        other => panic!("{other:?} changes no password"),
    }
}

/// The end of a session, asked for in another.
pub(crate) fn end_session(acting: SessionId, session: SessionId) -> Intent {
    intent(Command::EndSession { acting, session }, Enclosed::LastingSession(acting))
}

pub(crate) fn end_others(acting: SessionId) -> Intent {
    intent(Command::EndOtherSessions { acting }, Enclosed::LastingSession(acting))
}

pub(crate) fn end_reused(session: SessionId) -> Intent {
    intent(Command::EndReusedSession { session }, Enclosed::Nothing)
}
