//! A batch of the stream through the projector's handler, against a bare client that sends the same requests, as many
//! at a time.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use aws_lambda_events::event::dynamodb::Event;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use chrono::{DateTime, Utc};
use domain::{Command, CommandId, CredentialId, DisplayName, Email, UserId, Version};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use projector::{ReadModel, handle};
use serde_json::json;
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{Enclosed, Intent, Lifetimes, Loaded, Store, ViewKeys, WrappingKeys};

use crate::Failure;
use crate::counter::Counter;
use crate::engine::{Engine, client};
use crate::log::{AGENT, VERIFIER, id};
use crate::replay::load;

/// Records of a batch, each of another user.
const BATCH: u64 = 100;
/// Users whom the projector catches up with at a time.
const AT_ONCE: usize = 16;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many batches each side projects.
    #[arg(long, default_value_t = 60)]
    turns: u64,
}

pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let engine = Engine::start(&folder.path().join("data")).await?;
    let (client, counter) = client(&engine.endpoint);
    let keys = ServiceKeys::open_or_create(&folder.path().join("service-keys.json"))?;
    let tables = Tables::prefixed("annals");
    let wrapping = WrappingKeys::new(keys.deployment.clone(), keys.wrapping.clone());
    let views = ViewKeys::new(keys.deployment.clone(), keys.views.clone());
    let ground = Ground {
        store: Store::new(&client, &tables, &keys, Lifetimes::default()),
        model: ReadModel::new(&client, &tables, wrapping, views),
        client,
        counter,
        tables,
    };
    let (ours, bare) = (ground.registered(0).await?, ground.registered(BATCH).await?);
    let mut times = [Vec::new(), Vec::new()];
    let mut requests = [0, 0];
    // The first turn pays for connections and pages.
    for turn in 0..=args.turns {
        let version = turn + 2;
        for number in 0..2 * BATCH {
            ground.renamed(number, version).await?;
        }
        let put = ground.view(&ours[0]).await?;
        let mut took = [Duration::ZERO; 2];
        // Each is first every other time.
        for side in [turn % 2, (turn + 1) % 2] {
            let before = ground.counter.requests();
            let began = Instant::now();
            if side == 0 {
                let response = handle(&ground.model, batch(&ours, version)?, now()).await;
                if !response.batch_item_failures.is_empty() {
                    return Err("the projector left something for later".into());
                }
            } else {
                ground.bare(&bare, version, &put).await?;
            }
            let side = usize::try_from(side)?;
            took[side] = began.elapsed();
            requests[side] = ground.counter.requests() - before;
        }
        for (times, took) in times.iter_mut().zip(took).filter(|_| turn > 0) {
            times.push(took);
        }
    }
    let [ours, bare] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1_000.0
    });
    println!("a batch of {BATCH} records of {BATCH} users, median of {} turns; load {}", args.turns, load()?);
    println!("the projector's handler  {ours:6.1} ms  {} requests", requests[0]);
    println!("a bare client            {bare:6.1} ms  {} requests", requests[1]);
    println!("                         {:6.2} times as long", ours / bare);
    engine.stop().await
}

struct Ground {
    store: Store,
    model: ReadModel,
    client: Client,
    counter: Counter,
    tables: Tables,
}

impl Ground {
    /// Registers a batch of users, whose views are there.
    async fn registered(&self, first: u64) -> Result<Vec<UserId>, Failure> {
        let mut users = Vec::new();
        for number in first..first + BATCH {
            let user = UserId::new(id(number, 0));
            let command = Command::Register {
                email: Email::parse(&format!("user-{number}@example.com"))?,
                name: None,
                credential: CredentialId::new(id(number, 1)),
            };
            let enclosed = Enclosed::Verifier(VERIFIER.to_owned().into());
            self.execute(&mut Loaded::unborn(user)?, command, enclosed, id(number, 2)).await?;
            self.model.catch_up(user, Version::new(1), now()).await?;
            users.push(user);
        }
        Ok(users)
    }

    /// Appends an event to a user's log.
    async fn renamed(&self, number: u64, version: u64) -> Result<(), Failure> {
        let name = DisplayName::parse(&format!("Ada {version:010}"))?;
        let command = Command::Rename { name: Some(name), replacing: None };
        let mut loaded = self.store.load(UserId::new(id(number, 0))).await?.ok_or("no such user")?;
        self.store.freshen(&mut loaded).await?;
        self.execute(&mut loaded, command, Enclosed::Nothing, id(number, version + 2)).await
    }

    async fn execute(
        &self,
        loaded: &mut Loaded,
        command: Command,
        enclosed: Enclosed,
        id: uuid::Uuid,
    ) -> Result<(), Failure> {
        let agent = Some(AGENT.to_owned());
        let intent = Intent { command, id: CommandId::new(id), at: now(), address: None, agent, enclosed };
        self.store.execute(loaded, &intent).await?;
        Ok(())
    }

    /// A view as it lies in the table.
    async fn view(&self, user: &UserId) -> Result<HashMap<String, AttributeValue>, Failure> {
        let get = self.client.get_item().table_name(&self.tables.views);
        Ok(get.key("user", text(user)).send().await?.item.ok_or("no view")?)
    }

    /// What the handler asks, without anything of what it does in between: the views; for each user the commits behind
    /// the view, and a view put in place of the older one.
    async fn bare(
        &self,
        users: &[UserId],
        version: u64,
        put: &HashMap<String, AttributeValue>,
    ) -> Result<(), Failure> {
        let keys = users.iter().map(|user| HashMap::from([("user".to_owned(), text(user))])).collect();
        let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(false).build()?;
        self.client.batch_get_item().request_items(&self.tables.views, keys).send().await?;
        stream::iter(users)
            .map(async |user| -> Result<(), Failure> {
                let found = self
                    .client
                    .query()
                    .table_name(&self.tables.events)
                    .consistent_read(true)
                    .key_condition_expression("#user = :user AND #item > :after")
                    .expression_attribute_names("#user", "user")
                    .expression_attribute_names("#item", "item")
                    .expression_attribute_values(":user", text(user))
                    .expression_attribute_values(":after", text(format!("commit-{:010}", version - 1)))
                    .send()
                    .await?;
                if found.count() != 2 {
                    return Err("a commit and a vault were to be found".into());
                }
                let (version, fold) = (AttributeValue::N(version.to_string()), put["fold"].clone());
                let mut item = put.clone();
                item.insert("user".to_owned(), text(user));
                item.insert("version".to_owned(), version.clone());
                self.client
                    .put_item()
                    .table_name(&self.tables.views)
                    .set_item(Some(item))
                    .expression_attribute_names("#version", "version")
                    .expression_attribute_names("#fold", "fold")
                    .condition_expression(
                        "attribute_not_exists(#user) OR (#fold = :fold AND #version < :version) \
                         OR (#fold < :fold AND #version <= :version)",
                    )
                    .expression_attribute_names("#user", "user")
                    .expression_attribute_values(":fold", fold)
                    .expression_attribute_values(":version", version)
                    .send()
                    .await?;
                Ok(())
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(())
    }
}

/// A batch of records, each saying that a commit was appended.
fn batch(users: &[UserId], version: u64) -> Result<Event, Failure> {
    let records: Vec<_> = users
        .iter()
        .enumerate()
        .map(|(index, user)| {
            json!({
                "awsRegion": "us-east-1",
                "eventID": index.to_string(),
                "eventName": "INSERT",
                "dynamodb": {
                    "Keys": { "user": { "S": user }, "item": { "S": format!("commit-{version:010}") } },
                    "SequenceNumber": (index + 1).to_string(),
                    "SizeBytes": 1,
                    "StreamViewType": "KEYS_ONLY",
                },
            })
        })
        .collect();
    Ok(serde_json::from_value(json!({ "Records": records }))?)
}

fn text(text: impl ToString) -> AttributeValue {
    AttributeValue::S(text.to_string())
}

fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}
