//! Writes the log that is replayed: as our store writes it, commit by commit, and as dynamo-es writes it.
//!
//! Both are given a client that sends nothing: what they would have put is collected and imported into the engine's
//! data, a thousand users at a time. So every commit is sealed and chained by the code that does it in production.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use cqrs_es::persist::PersistedEventRepository as _;
use domain::{Command, CommandId, CredentialId, Email, SessionId, UserId, decide};
use dynoxide::types::Item;
use dynoxide::{Database, ImportOptions};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{Enclosed, Intent, Lifetimes, Loaded, Store};
use uuid::Uuid;

use crate::Failure;
use crate::peer::{self, Made, PeerUser};

/// Users made at a time.
const LOT: u64 = 1_000;
/// Lots in the making at a time.
const AT_ONCE: usize = 3;
/// Events of each user.
pub(crate) const EVENTS_EACH: u64 = 5;
/// What a browser says of itself.
pub(crate) const AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
/// A verifier of the usual size.
pub(crate) const VERIFIER: &str = "$argon2id$v=19$m=19456,t=2,p=1,keyid=cGVwcGVyMQ$\
                                   c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";

/// Fills the tables, which are there and empty, in the engine's data file.
pub(crate) async fn write(data: &Path, keys: &ServiceKeys, users: u64) -> Result<(), Failure> {
    let file = data.join("dynamodb.sqlite");
    let database = Database::new(file.to_str().ok_or("a folder whose name is no text")?)?;
    database.enable_bulk_loading()?;
    let lots = (0..users).step_by(usize::try_from(LOT)?).map(|first| first..users.min(first + LOT));
    let keys = Arc::new(keys.clone());
    stream::iter(lots)
        .map(|lot| {
            let keys = Arc::clone(&keys);
            async move { tokio::spawn(async move { make(&keys, lot).await }).await? }
        })
        .buffered(AT_ONCE)
        .try_for_each(|puts| {
            let imported = tokio::task::block_in_place(|| import(&database, puts));
            async { imported }
        })
        .await?;
    database.disable_bulk_loading()?;
    Ok(())
}

fn import(database: &Database, mut puts: Vec<Put>) -> Result<(), Failure> {
    puts.sort_by(|one, other| one.table_name.cmp(&other.table_name));
    let mut puts = puts.into_iter().peekable();
    while let Some(first) = puts.next() {
        let table = first.table_name;
        let mut items = vec![first.item];
        while let Some(next) = puts.next_if(|next| next.table_name == table) {
            items.push(next.item);
        }
        database.import_items(&table, items, ImportOptions::default())?;
    }
    Ok(())
}

async fn make(keys: &ServiceKeys, users: std::ops::Range<u64>) -> Result<Vec<Put>, Failure> {
    let collector = Collector::default();
    let client = collector.client();
    let store = Store::new(&client, &Tables::prefixed("annals"), keys, Lifetimes::default());
    let peers = peer::repository(client);
    for number in users {
        make_user(&store, &peers, number).await?;
    }
    let collected = std::mem::take(&mut *collector.0.lock().unwrap_or_else(PoisonError::into_inner));
    // The rows of sessions are not part of the log.
    Ok(collected.into_iter().filter(|put| put.table_name != "annals-sessions").collect())
}

async fn make_user(
    store: &Store,
    peers: &dynamo_es::DynamoEventRepository,
    number: u64,
) -> Result<(), Failure> {
    let id = |part: u64| id(number, part);
    let (user, credential) = (UserId::new(id(0)), CredentialId::new(id(1)));
    let email = Email::parse(&format!("user-{number}@example.com"))?;
    let began = DateTime::from_timestamp(1_750_000_000, 0).ok_or("no such time")?;
    let mut at: DateTime<Utc> = began + TimeDelta::milliseconds(i64::try_from(number)? * 97);

    let sign_in = |attempt: u64, at| -> Result<(Command, Enclosed), Failure> {
        let session = SessionId::new(id(10 + attempt));
        let begun = store.sessions.begin(user, session, Some(AGENT), at)?;
        let command =
            Command::SignIn { email: email.clone(), credential, attempt, device: None, session, ends: begun.ends, verified_only: false };
        Ok((command, Enclosed::Session(Box::new(begun))))
    };
    let mut loaded = Loaded::unborn(user)?;
    let mut of_peer = Vec::new();
    for step in 1..=EVENTS_EACH {
        let (command, enclosed) = match step {
            1 => (
                Command::Register { email: email.clone(), name: None, credential },
                Enclosed::Verifier(VERIFIER.to_owned().into()),
            ),
            4 => (Command::SignOut { session: SessionId::new(id(11)) }, Enclosed::ActingSession),
            _ => sign_in(step - 1, at)?,
        };
        at += TimeDelta::minutes(7);
        let name = command.name();
        for event in decide(&loaded.snapshot().user, &command, at)? {
            let made = Made {
                command: name,
                id: id(100 + step).to_string(),
                at: at.to_rfc3339_opts(SecondsFormat::Millis, true),
                agent: AGENT,
            };
            of_peer.push(peer::serialized(user, of_peer.len() + 1, event, made)?);
        }
        let intent = Intent {
            command,
            id: CommandId::new(id(100 + step)),
            at,
            address: None,
            agent: Some(AGENT.to_owned()),
            enclosed,
        };
        store.execute(&mut loaded, &intent).await?;
    }
    peers.persist::<PeerUser>(&of_peer, None).await?;
    Ok(())
}

/// A `UUIDv7`, as the service makes them, with numbers in place of its random bits.
pub(crate) fn id(number: u64, part: u64) -> Uuid {
    let milliseconds = 1_750_000_000_000 + u128::from(number) * 97;
    // Scattered, as random bits are.
    let scattered = u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 2);
    Uuid::from_u128(milliseconds << 80 | 7 << 76 | u128::from(part & 0xFFF) << 64 | 2 << 62 | scattered)
}

/// One item to be put.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    table_name: String,
    item: Item,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Transaction {
    transact_items: Vec<Action>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Action {
    put: Option<Put>,
}

/// Answers every write as if it had succeeded, and keeps what was to be put.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Put>>>);

impl Collector {
    fn client(&self) -> Client {
        Client::from_conf(
            aws_sdk_dynamodb::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::from_static("us-east-1"))
                .credentials_provider(Credentials::new("benchmark", "benchmark", None, None, "benchmark"))
                .http_client(self.clone())
                .build(),
        )
    }

    fn collect(&self, request: &HttpRequest) -> Result<(), Failure> {
        let body = request.body().bytes().ok_or("a request without a body")?;
        let operation = request.headers().get("x-amz-target").unwrap_or_default();
        let puts: Vec<Put> = match operation {
            "DynamoDB_20120810.PutItem" => vec![serde_json::from_slice(body)?],
            "DynamoDB_20120810.TransactWriteItems" => {
                let transaction: Transaction = serde_json::from_slice(body)?;
                transaction.transact_items.into_iter().filter_map(|action| action.put).collect()
            }
            _ => return Err(format!("nothing to read is here: {operation}").into()),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(puts);
        Ok(())
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Collector")
    }
}

impl HttpClient for Collector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Collector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(match self.collect(&request) {
            Ok(()) => 200_u16
                .try_into()
                .map(|status| HttpResponse::new(status, SdkBody::from("{}")))
                .map_err(|error| ConnectorError::other(Box::new(error), None)),
            Err(error) => Err(ConnectorError::user(error)),
        })
    }
}
