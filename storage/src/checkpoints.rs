//! Where replays that are spread over many processes keep how far each part has come.
//!
//! The items lie in the sessions table, whose items expire, under keys that are no user's: `replay#`, the run and its
//! kind, and `segment-I-of-N`. They are sealed like views. Putting back an earlier one costs work that was done before,
//! and nothing else.

use aws_sdk_dynamodb::Client;
use chrono::{DateTime, TimeDelta, Utc};

use crate::error::Unavailable;
use crate::items::{Item, b, n, number, octets, s};
use crate::log::Segment;
use crate::views::ViewKeys;

/// An item is of no use to anybody after this.
const KEPT_FOR: TimeDelta = TimeDelta::days(2);

/// The checkpoints in the sessions table.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    client: Client,
    table: String,
    keys: ViewKeys,
}

/// Which part of which run a checkpoint is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayPart {
    /// The name of the run.
    pub run: String,
    /// What it does, in one word.
    pub kind: &'static str,
    /// The part of the log.
    pub segment: Segment,
}

impl ReplayPart {
    fn key(&self) -> (String, String) {
        let Self { run, kind, segment: Segment { index, total } } = self;
        (format!("replay#{run}#{kind}"), format!("segment-{index}-of-{total}"))
    }
}

impl Checkpoints {
    /// Those in this table, with the keys that open them.
    pub const fn new(client: Client, table: String, keys: ViewKeys) -> Self {
        Self { client, table, keys }
    }

    /// The last one that was kept of this part, read consistently. `None` if there is none of any use: one that does
    /// not open is as good as none, as it saves time and nothing else.
    pub async fn read(&self, part: &ReplayPart, now: DateTime<Utc>) -> Result<Option<Vec<u8>>, Unavailable> {
        let (run, item) = part.key();
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let answer = request.key("user", s(&run)).key("item", s(&item)).send().await?;
        Ok(answer.item.and_then(|found| self.open(&(run, item), &found, now)))
    }

    fn open(&self, (run, item): &(String, String), found: &Item, now: DateTime<Utc>) -> Option<Vec<u8>> {
        let expires: i64 = number(found, "expires").ok()?;
        if expires <= now.timestamp() {
            return None;
        }
        let opened = self.keys.open_checkpoint(item, run, octets(found, "sealed").ok()?);
        opened.inspect_err(|error| tracing::warn!(run, item, %error, "a checkpoint does not open")).ok()
    }

    /// Keeps this one of the part in place of any other.
    pub async fn keep(&self, part: &ReplayPart, plain: &[u8], now: DateTime<Utc>) -> Result<(), Unavailable> {
        let (run, item) = part.key();
        let sealed = self.keys.seal_checkpoint(&item, &run, plain)?;
        self.client
            .put_item()
            .table_name(&self.table)
            .item("user", s(run))
            .item("item", s(item))
            .item("sealed", b(sealed))
            .item("expires", n((now + KEPT_FOR).timestamp()))
            .send()
            .await?;
        Ok(())
    }
}
