//! Whether registering grows slower with the number of users: the first thousand of one local stack against the
//! thousand that comes after 20,000 of another, in turns, so that whatever else the machine does meets both alike.

mod support;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use annals::local::clients;
use aws_sdk_dynamodb::Client;
use domain::{Command, CommandId, CredentialId, Email, UserId};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{Enclosed, Intent, Lifetimes, Loaded, Store};
use support::{Failure, Server, milliseconds, quantile};
use uuid::Uuid;

const USERS_BEFORE: u32 = 20_000;
/// Half of them through the store, half over HTTP.
const MEASURED: u32 = 1_000;
/// Registrations under way at once while the users before are made.
const AT_ONCE: usize = 8;

/// A local stack: a server on a data folder, and the store beside it on the same engine.
struct Stack {
    store: Store,
    engine: Client,
    server: Server,
    http: reqwest::Client,
    through_store: Vec<Duration>,
    over_http: Vec<Duration>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (few, many) = (tempfile::tempdir()?, tempfile::tempdir()?);
    {
        let stack = Stack::on(many.path())?;
        let started = Instant::now();
        let mut making = stream::iter(0..USERS_BEFORE)
            .map(|number| stack.register("before", number))
            .buffer_unordered(AT_ONCE);
        while making.try_next().await?.is_some() {}
        stack.projected(USERS_BEFORE).await?;
        eprintln!("{USERS_BEFORE} users made and projected in {:.0} s", started.elapsed().as_secs_f64());
    }
    // A server of its own: the engine keeps the token of each transaction for ten minutes and looks through all of them
    // at every other one, so it is slower for a while after so many at once, however many users there are.
    let (mut few, mut many) = (Stack::on(few.path())?, Stack::on(many.path())?);
    // The first requests pay for connections and pages.
    for number in 0..20 {
        for stack in [&few, &many] {
            stack.register("first-store", number).await?;
            stack.post("first-http", number).await?;
        }
    }
    for number in 0..MEASURED / 2 {
        for stack in [&mut few, &mut many] {
            let time = stack.register("store", number).await?;
            stack.through_store.push(time);
            let time = stack.post("http", number).await?;
            stack.over_http.push(time);
        }
        // Each is the first to be asked every other time; after an even number of turns both are where they were.
        std::mem::swap(&mut few, &mut many);
    }
    println!("registering, embedded engine with a data file, median ms (p90)");
    println!("                     first {MEASURED}    after {USERS_BEFORE} users   ratio");
    for (what, few, many) in [
        ("through the store", &few.through_store, &many.through_store),
        ("over HTTP", &few.over_http, &many.over_http),
    ] {
        let (first, last) = (milliseconds(quantile(few, 50)), milliseconds(quantile(many, 50)));
        let (first_90, last_90) = (milliseconds(quantile(few, 90)), milliseconds(quantile(many, 90)));
        println!(
            "{what:18} {first:6.2} ({first_90:5.2})      {last:6.2} ({last_90:5.2})   {:5.2}",
            last / first
        );
    }
    Ok(())
}

impl Stack {
    fn on(data: &Path) -> Result<Self, Failure> {
        let folder = data.to_str().ok_or("a folder whose name is no text")?;
        let server = Server::start(&["--data", folder, "--argon2", "m=8,t=1,p=1"])?;
        let engine = clients::tables(&std::fs::read_to_string(data.join("engine.url"))?);
        let keys = ServiceKeys::open(&data.join("service-keys.json"))?;
        let store = Store::new(&engine, &Tables::prefixed("annals"), &keys, Lifetimes::default());
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { store, engine, server, http, through_store: Vec::new(), over_http: Vec::new() })
    }

    /// Registers a user through the store: the commit, the vault and the identifier; how long it took.
    async fn register(&self, name: &str, number: u32) -> Result<Duration, Failure> {
        let now = SystemTime::now();
        let id = |part: u32| id(now, number, part);
        let intent = Intent {
            command: Command::Register {
                email: Email::parse(&format!("{name}-{number}@example.com"))?,
                name: None,
                credential: CredentialId::new(id(1)),
            },
            id: CommandId::new(id(2)),
            at: chrono::DateTime::from(now),
            address: None,
            agent: None,
            enclosed: Enclosed::Verifier(
                "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g".to_owned().into(),
            ),
        };
        let mut unborn = Loaded::unborn(UserId::new(id(0)))?;
        let began = Instant::now();
        self.store.execute(&mut unborn, &intent).await?;
        Ok(began.elapsed())
    }

    /// Registers a user over HTTP, with a hash that costs next to nothing; how long it took.
    async fn post(&self, name: &str, number: u32) -> Result<Duration, Failure> {
        let body =
            json!({"email": format!("{name}-{number}@example.com"), "password": "correct horse battery"});
        let began = Instant::now();
        let request = self.http.post(format!("{}/register", self.server.url)).json(&body);
        request.send().await?.error_for_status()?.bytes().await?;
        Ok(began.elapsed())
    }

    /// Waits until so many views are there.
    async fn projected(&self, users: u32) -> Result<(), Failure> {
        loop {
            let mut views = 0;
            let mut from = None;
            loop {
                let scan = self.engine.scan().table_name("annals-views");
                let count = scan.select(aws_sdk_dynamodb::types::Select::Count);
                let page = count.set_exclusive_start_key(from).send().await?;
                views += u32::try_from(page.count())?;
                from = page.last_evaluated_key;
                if from.is_none() {
                    break;
                }
            }
            if views >= users {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// A `UUIDv7`, as the service makes them, with a number in place of its random bits.
fn id(now: SystemTime, number: u32, part: u32) -> Uuid {
    let milliseconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    Uuid::from_u128(milliseconds << 80 | 7 << 76 | 2 << 62 | u128::from(number) << 4 | u128::from(part))
}
