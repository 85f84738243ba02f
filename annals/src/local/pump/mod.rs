//! The stream pump: hands the events table's stream to a handler as a Lambda event source mapping does.
//!
//! Per shard in order and at least once: records of commits only, in batches; partial batch failures; a batch that
//! fails as a whole is split in two, down to the record at fault; a record that goes on failing is written to the
//! dead letters and passed over. Where the pump stands is kept in a file after each batch.

mod checkpoint;
mod dead_letters;
mod delivery;
mod record;
mod shard;

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::dynamodb::Event;
use aws_lambda_events::event::streams::DynamoDbEventResponse;
use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::types::Shard;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use dead_letters::DeadLetter;

use checkpoint::Checkpoint;
use dead_letters::DeadLetters;

/// How often new shards are looked for while all known ones are being read.
const NEW_SHARDS: Duration = Duration::from_mins(1);
/// How long the pump waits when no shard can be read.
const NO_SHARDS: Duration = Duration::from_secs(1);

/// Who is handed the stream. Each has a pump of its own, so that none waits for another, and files of its own in the
/// data folder: where its pump stands, and what it could not handle, one JSON object a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumer {
    /// Keeps the read model.
    Projector,
    /// Sends mail.
    Mailer,
}

impl Consumer {
    const fn checkpoint_file(self) -> &'static str {
        match self {
            Self::Projector => "stream.json",
            Self::Mailer => "mail-stream.json",
        }
    }

    const fn dead_letters_file(self) -> &'static str {
        match self {
            Self::Projector => "dead-letters.jsonl",
            Self::Mailer => "mail-dead-letters.jsonl",
        }
    }
}

/// How a pump reads and retries.
#[derive(Debug, Clone)]
pub struct PumpSettings {
    /// For whom.
    pub consumer: Consumer,
    /// At most this many records a batch, as in the deployed mapping.
    pub batch: usize,
    /// How often a single record is tried before it is written to the dead letters.
    pub attempts: u32,
    /// Before the first retry; doubled before each further one.
    pub back_off: Duration,
    /// The longest wait before a retry.
    pub back_off_limit: Duration,
    /// How long the handler may take for a batch.
    pub time_limit: Duration,
    /// How long to wait before a shard that had nothing new is read again.
    pub idle: Duration,
}

impl Default for PumpSettings {
    /// A record is given up after about 20 s, of which a restart of the engine takes one.
    fn default() -> Self {
        Self {
            consumer: Consumer::Projector,
            batch: 100,
            attempts: 10,
            back_off: Duration::from_millis(50),
            back_off_limit: Duration::from_secs(5),
            time_limit: Duration::from_secs(30),
            idle: Duration::from_millis(40),
        }
    }
}

impl PumpSettings {
    /// Those of the mailer: a record is given up after about a quarter of an hour, in which whoever takes the mails may
    /// come back, and a mailer that broke down over it loses its claim.
    pub fn of_mailer() -> Self {
        Self {
            consumer: Consumer::Mailer,
            batch: 25,
            attempts: 190,
            time_limit: Duration::from_mins(1),
            ..Self::default()
        }
    }
}

/// Reads one stream for one handler.
pub struct Pump<H> {
    streams: Client,
    /// The stream's ARN.
    stream: String,
    handler: H,
    settings: PumpSettings,
    checkpoint: Checkpoint,
    dead_letters: DeadLetters,
    stop: watch::Receiver<bool>,
    /// How often a shard had nothing new.
    empty_reads: watch::Sender<u64>,
}

/// Tells when a pump has nothing left to hand over.
pub struct Idleness(watch::Receiver<u64>);

impl Idleness {
    /// Waits until everything that is in the stream by now has been handed over: until a read that began after this
    /// call found nothing new.
    pub async fn reached(mut self) {
        // One read may have begun before.
        let enough = *self.0.borrow_and_update() + 2;
        // An error means that the pump has ended, and there is nothing to wait for.
        let _ = self.0.wait_for(|count| *count >= enough).await;
    }
}

/// Why a pump cannot start.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// The table does not exist, or the engine does not answer.
    #[error("cannot find the stream of table {0}")]
    Table(String, #[source] Box<aws_sdk_dynamodb::Error>),
    /// The table has no stream.
    #[error("table {0} has no stream")]
    NoStream(String),
}

/// The ARN of the table's stream.
pub async fn stream_of(client: &aws_sdk_dynamodb::Client, table: &str) -> Result<String, PumpError> {
    let description = client
        .describe_table()
        .table_name(table)
        .send()
        .await
        .map_err(|error| PumpError::Table(table.to_owned(), Box::new(error.into())))?;
    description
        .table
        .and_then(|table| table.latest_stream_arn)
        .ok_or_else(|| PumpError::NoStream(table.to_owned()))
}

/// The dead letters of a consumer in this data folder, for the operator.
pub fn dead_letters_in(data: &Path, consumer: Consumer) -> PathBuf {
    data.join(consumer.dead_letters_file())
}

impl<H, F, E> Pump<H>
where
    H: Fn(Event) -> F + Send + Sync + 'static,
    F: Future<Output = Result<DynamoDbEventResponse, E>> + Send + 'static,
    E: Display + Send + 'static,
{
    /// A pump that goes on where the last one on this data folder and stream stopped, or else begins with the oldest
    /// record there is. It stops once `stop` holds true, or its sender is gone.
    pub fn new(
        streams: Client,
        stream: String,
        handler: H,
        data: &Path,
        settings: PumpSettings,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let checkpoint = Checkpoint::read(data.join(settings.consumer.checkpoint_file()), &stream);
        let dead_letters = DeadLetters::at(dead_letters_in(data, settings.consumer));
        let empty_reads = watch::Sender::new(0);
        Self { streams, stream, handler, settings, checkpoint, dead_letters, stop, empty_reads }
    }

    /// What tells when this pump, of a stream with one shard as the embedded engine's, has nothing left.
    pub fn idleness(&self) -> Idleness {
        Idleness(self.empty_reads.subscribe())
    }

    /// Reads all shards, each after its parent, until it is told to stop; then finishes the batches under way.
    pub async fn run(self) {
        let pump = Arc::new(self);
        let mut stop = pump.stop.clone();
        let mut reading = JoinSet::new();
        let mut names: HashMap<tokio::task::Id, String> = HashMap::new();
        loop {
            for shard in pump.ready(&names.values().cloned().collect()).await {
                let task = reading.spawn(Arc::clone(&pump).read(shard.clone()));
                names.insert(task.id(), shard);
            }
            let pause = if reading.is_empty() { NO_SHARDS } else { NEW_SHARDS };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(ended) = reading.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => {
                            // Not the error, which quotes the message of a panic.
                            tracing::error!("the reader of a shard has ended; starting it again");
                            error.id()
                        }
                    };
                    names.remove(&id);
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        while reading.join_next().await.is_some() {}
    }

    /// The shards that can be read now: not yet being read, not at their end, and with no parent that has records left.
    async fn ready(&self, being_read: &HashSet<String>) -> Vec<String> {
        let shards = match self.shards().await {
            Ok(shards) => shards,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot list the stream's shards");
                return Vec::new();
            }
        };
        let listed: HashSet<&str> = shards.iter().filter_map(Shard::shard_id).collect();
        self.checkpoint.keep(&listed);
        let open = |shard: &str| listed.contains(shard) && !self.checkpoint.is_finished(shard);
        shards
            .iter()
            .filter(|shard| !shard.parent_shard_id().is_some_and(open))
            .filter_map(Shard::shard_id)
            .filter(|&shard| open(shard) && !being_read.contains(shard))
            .map(str::to_owned)
            .collect()
    }

    async fn shards(&self) -> Result<Vec<Shard>, aws_sdk_dynamodbstreams::Error> {
        let mut shards = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .streams
                .describe_stream()
                .stream_arn(&self.stream)
                .set_exclusive_start_shard_id(after)
                .send()
                .await?;
            let Some(description) = page.stream_description else { return Ok(shards) };
            shards.extend(description.shards.unwrap_or_default());
            after = description.last_evaluated_shard_id;
            if after.is_none() {
                return Ok(shards);
            }
        }
    }

    /// Waits, and says whether there is a reason to go on.
    async fn pause(&self, time: Duration) -> bool {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => false,
            () = tokio::time::sleep(time) => true,
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }
}
