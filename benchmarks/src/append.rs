//! One event appended to a user who has been loaded: by our store, by cqrs-es, and by a bare client that puts an item
//! of the same size under the same condition. Then the whole command: by ours with what the caller keeps of the user,
//! and loaded anew; by cqrs-es, whose framework loads the user every time.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure, StreamSpecification};
use chrono::{DateTime, SecondsFormat, Utc};
use cqrs_es::CqrsFramework;
use cqrs_es::persist::{PersistedEventRepository as _, PersistedEventStore};
use domain::{Command, CommandId, CredentialId, DisplayName, Email, UserEvent, UserId, Version};
use dynamo_es::DynamoEventRepository;
use futures::future::try_join_all;
use projector::ReadModel;
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{Enclosed, Intent, Lifetimes, Loaded, Store, ViewKeys, WrappingKeys};

use crate::Failure;
use crate::engine::{Engine, client};
use crate::log::{AGENT, VERIFIER, id};
use crate::peer::{self, Made, PeerUser, Record};
use crate::replay::load;

/// Writers at the same time, in the second round.
const WRITERS: usize = 16;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each side has its turn.
    #[arg(long, default_value_t = 100)]
    turns: usize,
    /// Appends of one turn, by all writers together.
    #[arg(long, default_value_t = 64)]
    appends: usize,
    /// Another engine, empty, on which the same is measured after the local stack's.
    #[arg(long)]
    endpoint: Option<String>,
}

pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let keys = ServiceKeys::open_or_create(&folder.path().join("service-keys.json"))?;
    let engine = Engine::start(&folder.path().join("data")).await?;
    println!("the local stack's engine, in a process of its own, with a data file");
    on(&engine.endpoint, &keys, args).await?;
    engine.stop().await?;
    if let Some(endpoint) = &args.endpoint {
        Tables::prefixed("annals").create(&client(endpoint).0).await?;
        println!("\nthe engine at {endpoint}");
        on(endpoint, &keys, args).await?;
    }
    Ok(())
}

async fn on(endpoint: &str, keys: &ServiceKeys, args: &Args) -> Result<(), Failure> {
    peer::create_tables(&client(endpoint).0).await?;
    // DynamoDB writes its stream behind the answer; the local engine writes it in the same transaction, in SQL. The
    // peer's table has none, so neither has ours here.
    without_stream(endpoint).await?;
    println!("load {}", load()?);
    println!(
        "{:34} {:>10} {:>10} {:>10} {:>12} {:>12}",
        "median of the turns, per s", "annals", "cqrs-es", "bare put", "to cqrs-es", "to bare put"
    );
    for (first, writers) in [(0, 1), (100, WRITERS)] {
        let mut ground = Ground::new(endpoint, keys, (first, writers)).await?;
        let mut rates = [Vec::new(), Vec::new(), Vec::new()];
        // The first turn pays for connections and pages.
        for turn in 0..=args.turns {
            let each = args.appends / writers;
            let times = [ground.ours(each).await?, ground.peers(each).await?, ground.bare(each).await?];
            for (rates, time) in rates.iter_mut().zip(times).filter(|_| turn > 0) {
                rates.push((each * writers) as f64 / time.as_secs_f64());
            }
        }
        let [ours, peers, bare] = rates.map(median);
        println!(
            "{:34} {ours:10.0} {peers:10.0} {bare:10.0} {:11.2}x {:11.2}x",
            format!("append, {writers} at a time"),
            ours / peers,
            bare / ours
        );
    }
    println!("a whole command, user kept by annals / loaded anew by annals; cqrs-es loads every time:");
    for (first, writers, history) in [(200, 1, 10), (300, WRITERS, 10), (400, 1, 100), (500, WRITERS, 100)] {
        let mut ground = Ground::new(endpoint, keys, (first, WRITERS)).await?;
        ground.ours(history - 2).await?;
        ground.peers(history - 1).await?;
        ground.project().await?;
        let mut rates = [Vec::new(), Vec::new(), Vec::new()];
        for turn in 0..=args.turns / 10 {
            let times = [
                ground.our_commands(writers, Caller::Keeps).await?,
                ground.our_commands(writers, Caller::Loads).await?,
                ground.peer_commands(writers).await?,
            ];
            for (rates, time) in rates.iter_mut().zip(times).filter(|_| turn > 0) {
                rates.push(WRITERS as f64 / time.as_secs_f64());
            }
        }
        let [kept, loaded, peers] = rates.map(median);
        for (what, ours) in [("kept", kept), ("loaded", loaded)] {
            println!(
                "{:34} {ours:10.0} {peers:10.0} {:>10} {:11.2}x",
                format!("{what}, {history}+ events, {writers} at a time"),
                "",
                ours / peers
            );
        }
    }
    println!("load {}", load()?);
    Ok(())
}

async fn without_stream(endpoint: &str) -> Result<(), Failure> {
    let off = StreamSpecification::builder().stream_enabled(false).build()?;
    let (client, _) = client(endpoint);
    let table = Tables::prefixed("annals").events;
    client.update_table().table_name(table).stream_specification(off).send().await?;
    Ok(())
}

/// What the caller of our store has of a user before the next command.
#[derive(Clone, Copy)]
enum Caller {
    /// What the command before left: one request.
    Keeps,
    /// Nothing: the view and the vault are read first, as every request over HTTP does.
    Loads,
}

/// Writers, each with a user of its own on every side.
struct Ground {
    store: Store,
    model: ReadModel,
    peers: DynamoEventRepository,
    framework: CqrsFramework<PeerUser, PersistedEventStore<DynamoEventRepository, PeerUser>>,
    client: Client,
    table: String,
    writers: Vec<Writer>,
}

struct Writer {
    /// Which user it is, for ids.
    number: u64,
    loaded: Loaded,
    /// Under this user the bare items lie.
    bare: UserId,
    /// An item that our store wrote.
    item: Arc<std::collections::HashMap<String, AttributeValue>>,
    peer_sequence: usize,
    bare_sequence: usize,
    renamed: u64,
}

impl Ground {
    async fn new(
        endpoint: &str,
        keys: &ServiceKeys,
        (first, writers): (u64, usize),
    ) -> Result<Self, Failure> {
        let (client, _) = client(endpoint);
        let tables = Tables::prefixed("annals");
        let store = Store::new(&client, &tables, keys, Lifetimes::default());
        let wrapping = WrappingKeys::new(keys.deployment.clone(), keys.wrapping.clone());
        let views = ViewKeys::new(keys.deployment.clone(), keys.views.clone());
        let peers = || peer::repository(client.clone());
        let mut ground = Self {
            model: ReadModel::new(&client, &tables, wrapping, views),
            peers: peers(),
            framework: CqrsFramework::new(PersistedEventStore::new_event_store(peers()), vec![], ()),
            store,
            table: tables.events,
            client: client.clone(),
            writers: Vec::new(),
        };
        for number in 0..writers {
            let writer = ground.writer(first + number as u64).await?;
            ground.writers.push(writer);
        }
        Ok(ground)
    }

    async fn writer(&self, number: u64) -> Result<Writer, Failure> {
        let user = UserId::new(id(number, 0));
        let (email, credential) =
            (Email::parse(&format!("user-{number}@example.com"))?, CredentialId::new(id(number, 1)));
        let command = Command::Register { email: email.clone(), name: None, credential };
        let enclosed = Enclosed::Verifier(VERIFIER.to_owned().into());
        self.store.execute(&mut Loaded::unborn(user)?, &intent(command, number, enclosed)).await?;
        let mut loaded = self.store.load(user).await?.ok_or("no such user")?;
        self.store.execute(&mut loaded, &rename(number, 0)?).await?;
        let key = std::collections::HashMap::from([
            ("user".to_owned(), AttributeValue::S(user.to_string())),
            ("item".to_owned(), AttributeValue::S("commit-0000000002".to_owned())),
        ]);
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key)).send().await?;
        self.model.catch_up(user, Version::new(2), now()).await?;
        let registered = UserEvent::UserRegistered { email, credential, name: None };
        self.peers.persist::<PeerUser>(&[peer::serialized(user, 1, registered, made(number))?], None).await?;
        Ok(Writer {
            number,
            loaded,
            bare: UserId::new(id(number, 2)),
            item: Arc::new(get.item.ok_or("no commit")?),
            peer_sequence: 1,
            bare_sequence: 0,
            renamed: 0,
        })
    }

    async fn ours(&mut self, appends: usize) -> Result<Duration, Failure> {
        let store = &self.store;
        timed(self.writers.iter_mut().map(async |writer| {
            for _ in 0..appends {
                writer.renamed += 1;
                store.execute(&mut writer.loaded, &rename(writer.number, writer.renamed)?).await?;
            }
            Ok(())
        }))
        .await
    }

    async fn peers(&mut self, appends: usize) -> Result<Duration, Failure> {
        let peers = &self.peers;
        timed(self.writers.iter_mut().map(async |writer| {
            for _ in 0..appends {
                writer.peer_sequence += 1;
                let event = UserEvent::UserRenamed { name: name(writer.peer_sequence as u64)? };
                let user = writer.loaded.user();
                let event = peer::serialized(user, writer.peer_sequence, event, made(writer.number))?;
                peers.persist::<PeerUser>(&[event], None).await?;
            }
            Ok(())
        }))
        .await
    }

    async fn bare(&mut self, appends: usize) -> Result<Duration, Failure> {
        let (client, table) = (&self.client, &self.table);
        timed(self.writers.iter_mut().map(async |writer| {
            for _ in 0..appends {
                writer.bare_sequence += 1;
                let mut item = (*writer.item).clone();
                item.insert("user".to_owned(), AttributeValue::S(writer.bare.to_string()));
                let key = format!("commit-{:010}", writer.bare_sequence);
                item.insert("item".to_owned(), AttributeValue::S(key));
                client
                    .put_item()
                    .table_name(table)
                    .set_item(Some(item))
                    .condition_expression("attribute_not_exists(#item)")
                    .expression_attribute_names("#item", "item")
                    .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                    .send()
                    .await?;
            }
            Ok(())
        }))
        .await
    }

    /// One command for every user, so many users at a time; then, unmeasured, their views are brought up to date.
    async fn our_commands(&mut self, at_once: usize, caller: Caller) -> Result<Duration, Failure> {
        let mut taken = Duration::ZERO;
        let store = &self.store;
        for writers in self.writers.chunks_mut(at_once) {
            taken += timed(writers.iter_mut().map(async |writer| {
                writer.renamed += 1;
                if let Caller::Loads = caller {
                    writer.loaded = store.load(writer.loaded.user()).await?.ok_or("no such user")?;
                }
                store.execute(&mut writer.loaded, &rename(writer.number, writer.renamed)?).await?;
                Ok(())
            }))
            .await?;
        }
        self.project().await?;
        Ok(taken)
    }

    async fn project(&self) -> Result<(), Failure> {
        for writer in &self.writers {
            self.model.catch_up(writer.loaded.user(), Version::NONE, now()).await?;
        }
        Ok(())
    }

    async fn peer_commands(&mut self, at_once: usize) -> Result<Duration, Failure> {
        let mut taken = Duration::ZERO;
        let framework = &self.framework;
        for writers in self.writers.chunks_mut(at_once) {
            taken += timed(writers.iter_mut().map(async |writer| {
                writer.peer_sequence += 1;
                let event = UserEvent::UserRenamed { name: name(writer.peer_sequence as u64)? };
                let user = writer.loaded.user().to_string();
                let metadata = made(writer.number).metadata();
                framework.execute_with_metadata(&user, Record(event), metadata).await?;
                Ok(())
            }))
            .await?;
        }
        Ok(taken)
    }
}

async fn timed(
    tasks: impl Iterator<Item = impl Future<Output = Result<(), Failure>>>,
) -> Result<Duration, Failure> {
    let began = Instant::now();
    try_join_all(tasks).await?;
    Ok(began.elapsed())
}

fn rename(number: u64, renamed: u64) -> Result<Intent, Failure> {
    let command = Command::Rename { name: name(renamed)?, replacing: None };
    Ok(intent(command, number * 1_000_000 + renamed, Enclosed::Nothing))
}

fn intent(command: Command, number: u64, enclosed: Enclosed) -> Intent {
    let id = CommandId::new(id(number, 3));
    Intent { command, id, at: now(), address: None, agent: Some(AGENT.to_owned()), enclosed }
}

/// What our log records beside an event, for the peer.
fn made(number: u64) -> Made<'static> {
    let at = now().to_rfc3339_opts(SecondsFormat::Millis, true);
    Made { command: "Rename", id: id(number, 3).to_string(), at, agent: AGENT }
}

/// Never the one before.
fn name(renamed: u64) -> Result<Option<DisplayName>, Failure> {
    Ok(Some(DisplayName::parse(&format!("Ada {:010}", renamed))?))
}

fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
