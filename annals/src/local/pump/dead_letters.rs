use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lambda_events::event::dynamodb::EventRecord;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A record that was given up, with what it takes to handle it later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// When it was given up.
    pub at: DateTime<Utc>,
    /// Why it failed last.
    pub reason: String,
    /// How often it was tried alone.
    pub attempts: u32,
    /// The ARN of its stream.
    pub stream: String,
    /// The shard it is in.
    pub shard: String,
    /// Its place in the shard; the stream keeps it for 24 hours.
    pub sequence_number: String,
    /// When it was written.
    pub written: DateTime<Utc>,
    /// The keys of the item that changed, which are there for ever.
    pub keys: serde_dynamo::Item,
}

impl DeadLetter {
    pub(super) fn new(record: &EventRecord, stream: &str, shard: &str, attempts: u32, reason: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        Self {
            at: DateTime::from_timestamp(seconds, now.subsec_nanos()).unwrap_or_default(),
            reason: reason.to_owned(),
            attempts,
            stream: stream.to_owned(),
            shard: shard.to_owned(),
            sequence_number: record.change.sequence_number.clone().unwrap_or_default(),
            written: record.change.approximate_creation_date_time,
            keys: record.change.keys.clone(),
        }
    }
}

/// The file of dead letters, one JSON object a line.
pub(super) struct DeadLetters(PathBuf);

impl DeadLetters {
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Adds a letter and waits until it is on the disk: the record is passed over for good after this.
    pub(super) fn append(&self, letter: &DeadLetter) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(letter)?;
        line.push(b'\n');
        let mut file = std::fs::File::options().create(true).append(true).mode(0o600).open(&self.0)?;
        file.write_all(&line)?;
        file.sync_all()
    }
}
