use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lambda_events::event::dynamodb::Event;
use domain::{UserId, Version};
use projector::{ReadModel, handle};
use serde_json::{Value, json};
use testkit::{Random, with_luck};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::world::World;

/// The stream is asked for more at this pace.
const PACE: Duration = Duration::from_millis(15);
/// A shard is asked for more after so many milliseconds: what has come meanwhile is a batch, or several.
const SHARD_PACE: (u64, u64) = (5, 250);
/// A batch that fails so often is given up, as by a mapping with a limit of retries.
const ATTEMPTS: usize = 6;

/// Hands the log's stream to the projector's handler in every way that streams are allowed to, and in some that they
/// are not: records are dropped, too.
pub(crate) struct Delivery {
    world: Arc<World>,
    shards: Vec<Mutex<Vec<Due>>>,
    /// What the handler was given and answered for.
    delivered: Mutex<BTreeSet<(UserId, Version)>>,
    habits: Habits,
}

/// How often what happens to a record or a batch.
struct Habits {
    dropped: f64,
    doubled: f64,
    delayed: f64,
    /// On another shard than most of its user's, as after a split.
    strayed: f64,
    /// The handler dies with the batch in its hands.
    killed: f64,
}

/// A record that is to be delivered at some time.
#[derive(Clone)]
struct Due {
    at: Instant,
    record: Value,
}

impl Delivery {
    pub(crate) fn new(world: &Arc<World>, random: &mut Random) -> Self {
        let mut often = |most: f64| most * *random.pick(&[0.0, 0.3, 1.0]).unwrap_or(&1.0);
        let habits = Habits {
            dropped: often(0.1),
            doubled: often(0.3),
            delayed: often(0.3),
            strayed: often(0.3),
            killed: often(0.25),
        };
        let shards = (0..=random.below(3)).map(|_| Mutex::default()).collect();
        Self { world: Arc::clone(world), shards, delivered: Mutex::default(), habits }
    }

    /// The commits that the handler was given and answered for.
    pub(crate) fn delivered(&self) -> BTreeSet<(UserId, Version)> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Delivers until it is told that no more will be written, and all that was written has been delivered or dropped.
    pub(crate) async fn run(self: &Arc<Self>, mut random: Random, done: watch::Receiver<bool>) {
        let dealt = watch::Sender::new(false);
        let shards = (0..self.shards.len()).map(|shard| {
            let (delivery, random, dealt) = (Arc::clone(self), random.fork(), dealt.subscribe());
            tokio::spawn(async move { delivery.shard(shard, random, dealt).await })
        });
        let shards: Vec<_> = shards.collect();
        let mut stream = self.world.engine.stream(&self.world.tables.events);
        loop {
            let last = *done.borrow();
            for record in stream.read() {
                self.deal(&record, &mut random);
            }
            if last {
                break;
            }
            sleep(PACE).await;
        }
        dealt.send_replace(true);
        for shard in shards {
            shard.await.expect("a shard is read to its end");
        }
    }

    /// Puts a record onto a shard, or onto two, or onto none.
    fn deal(&self, record: &Value, random: &mut Random) {
        let keys = &record["dynamodb"]["Keys"];
        let Some(user) = keys["user"]["S"].as_str().filter(|_| commit(record).is_some()) else { return };
        let count = |what| self.world.tally.count(what);
        if random.chance(self.habits.dropped) {
            return count("record dropped");
        }
        let home = user.bytes().map(usize::from).sum::<usize>() % self.shards.len();
        let copies = if random.chance(self.habits.doubled) { 2 } else { 1 };
        if copies == 2 {
            count("record doubled");
        }
        for _ in 0..copies {
            let strays = random.chance(self.habits.strayed);
            let shard = if strays { random.below(self.shards.len()) } else { home };
            if shard != home {
                count("user on two shards");
            }
            let wait = if random.chance(self.habits.delayed) {
                count("record delayed");
                random.millis(50, 3_000)
            } else {
                random.millis(0, 20)
            };
            self.queue(shard, |queue| queue.push(Due { at: Instant::now() + wait, record: record.clone() }));
        }
    }

    fn queue<T>(&self, shard: usize, with: impl FnOnce(&mut Vec<Due>) -> T) -> T {
        with(&mut self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One shard: batch after batch, each until it is answered for.
    async fn shard(&self, shard: usize, mut random: Random, dealt: watch::Receiver<bool>) {
        let storm = &self.world.storm;
        let client = if random.chance(0.5) { storm.client() } else { storm.bare_client() };
        let model = self.world.read_model(&client);
        loop {
            let last = *dealt.borrow();
            let now = Instant::now();
            let mut batch = self.queue(shard, |queue| {
                let due = queue.extract_if(.., |due| due.at <= now);
                due.map(|due| due.record).collect::<Vec<_>>()
            });
            self.shuffle(&mut batch, &mut random);
            while !batch.is_empty() {
                let size = (1 + random.below(8)).min(batch.len());
                let rest = batch.split_off(size);
                self.batch(&model, batch, &mut random).await;
                batch = rest;
            }
            if last && self.queue(shard, |queue| queue.is_empty()) {
                return;
            }
            sleep(random.millis(SHARD_PACE.0, SHARD_PACE.1)).await;
        }
    }

    /// Each commit is an item of its own, and only what concerns one item comes in order.
    fn shuffle(&self, batch: &mut [Value], random: &mut Random) {
        if batch.len() > 1 && random.chance(0.5) {
            for index in (1..batch.len()).rev() {
                batch.swap(index, random.below(index + 1));
            }
            self.world.tally.count("records reordered");
        }
    }

    async fn batch(&self, model: &ReadModel, mut batch: Vec<Value>, random: &mut Random) {
        for _ in 0..ATTEMPTS {
            let handling = handle(model, event(&batch), self.world.time.now());
            let dies = random.chance(self.habits.killed);
            let within = if dies { random.millis(0, 40) } else { Duration::from_mins(1) };
            let Ok(answer) = with_luck(random.fork(), timeout(within, handling)).await else {
                self.world.tally.count("projector killed");
                // A batch that failed as a whole may come again in two.
                if batch.len() > 1 && random.chance(0.5) {
                    let later = batch.split_off(batch.len() / 2);
                    Box::pin(self.batch(model, later, random)).await;
                }
                continue;
            };
            let failed = answer.batch_item_failures.first();
            let Some(failure) = failed else { return self.answered_for(&batch) };
            self.world.tally.count("batch failed in part");
            let place = failure.item_identifier.as_deref().and_then(|number| number.parse().ok());
            let again = batch.split_off(place.unwrap_or(0));
            self.answered_for(&batch);
            batch = again;
            sleep(random.millis(1, 200)).await;
        }
        self.world.tally.count("batch given up");
    }

    fn answered_for(&self, batch: &[Value]) {
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        delivered.extend(batch.iter().filter_map(commit));
    }
}

/// The commit that a record is about.
fn commit(record: &Value) -> Option<(UserId, Version)> {
    let keys = &record["dynamodb"]["Keys"];
    Some((keys["user"]["S"].as_str()?.parse().ok()?, storage::version_of(keys["item"]["S"].as_str()?)?))
}

/// The batch as Lambda gives it to the handler, numbered in its own order.
fn event(batch: &[Value]) -> Event {
    let records: Vec<Value> = batch
        .iter()
        .enumerate()
        .map(|(place, record)| {
            json!({
                "awsRegion": "us-east-1",
                "eventID": record["eventID"],
                "eventName": record["eventName"],
                "dynamodb": {
                    "Keys": record["dynamodb"]["Keys"],
                    "SequenceNumber": place.to_string(),
                    "SizeBytes": record["dynamodb"]["SizeBytes"],
                    "StreamViewType": "KEYS_ONLY",
                },
            })
        })
        .collect();
    serde_json::from_value(json!({ "Records": records })).expect("an event of stream records")
}
