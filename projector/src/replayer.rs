//! A replay spread over many invocations: each does a part of the log with the code of `annals rebuild --segment`,
//! stops in time, and keeps how far it came, so that the next invocation goes on from there.

use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use storage::{Checkpoints, ReplayPart, Segment, Unavailable};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::ReadModel;
use crate::catch_up::with_causes;
use crate::replay::{Checkpoint, Phase, Replay, ReplayError, Tally};

/// The most segments that DynamoDB scans in. [Amazon DynamoDB API reference, "Scan"]
const SEGMENTS: u32 = 1_000_000;
/// The longest name of a run: that of an execution of AWS Step Functions.
const LONGEST_NAME: usize = 80;
/// An invocation stops this long before its end, and no later than when three quarters of its time are over.
const MARGIN: Duration = Duration::from_secs(10);
/// How far an invocation has come is kept as often as this. What was done since is done again, and does no harm.
const KEPT_EVERY: Duration = Duration::from_secs(1);
/// Checkpoints read at the same time.
const AT_ONCE: usize = 32;

/// What an invocation is to do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The part of the log, counted from 0; `None` to add up what was done in all of them.
    pub segment: Option<u32>,
    /// Into how many parts the log is divided.
    pub total: u32,
    /// The name of the run: what is done is done once in it.
    pub run: String,
    /// What to do.
    pub kind: Kind,
}

/// What is done with a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Every view is made anew.
    Rebuild,
    /// What is behind, damaged, of a lower fold or parked is brought up to date.
    Repair,
    /// The log is compared with the views.
    Verify,
}

/// Why an order was not carried out to the end of its time.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// There is no such part.
    #[error("there is no segment {segment} of {total}: they count from 0, and are at most 1,000,000")]
    Segment {
        /// The part that was asked for.
        segment: u32,
        /// Of so many.
        total: u32,
    },
    /// The name of the run cannot be one.
    #[error("the name of a run has 1 to 80 letters, digits, - and _")]
    Run,
    /// The replay ended early. The same order again goes on from where it was.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The checkpoints cannot be reached. The same order again will help.
    #[error("the checkpoints cannot be reached")]
    Checkpoints(#[source] Unavailable),
}

/// Does parts of replays.
#[derive(Debug, Clone)]
pub struct Replayer {
    /// What is replayed.
    pub model: ReadModel,
    /// Where it is kept how far each part has come.
    pub checkpoints: Checkpoints,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild",
            Self::Repair => "repair",
            Self::Verify => "verify",
        }
    }

    const fn phase(self) -> Phase {
        match self {
            Self::Rebuild => Phase::Rebuild,
            Self::Repair => Phase::Repair,
            Self::Verify => Phase::Verify,
        }
    }
}

impl Order {
    fn check(&self) -> Result<(), OrderError> {
        let Self { segment, total, run, kind: _ } = self;
        let last = segment.unwrap_or_default();
        if !(1..=SEGMENTS).contains(total) || last >= *total {
            return Err(OrderError::Segment { segment: last, total: *total });
        }
        let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        if !(1..=LONGEST_NAME).contains(&run.len()) || !run.bytes().all(fits) {
            return Err(OrderError::Run);
        }
        Ok(())
    }

    fn part(&self, index: u32) -> ReplayPart {
        let segment = Segment { index, total: self.total };
        ReplayPart { run: self.run.clone(), kind: self.kind.name(), segment }
    }
}

impl Replayer {
    /// Carries out an order within `time`, and answers what its part adds up to, in this and all earlier invocations.
    ///
    /// Harmless if it is killed, given again, or given to two at once: whoever keeps a checkpoint last has done what it
    /// says.
    pub async fn carry_out(
        &self,
        order: &Order,
        now: DateTime<Utc>,
        time: Duration,
    ) -> Result<Tally, OrderError> {
        order.check()?;
        self.model.log.refresh_keys().await;
        match order.segment {
            Some(index) => self.do_part(order.kind, &order.part(index), now, time).await,
            None => self.add_up(order, now).await,
        }
    }

    async fn do_part(
        &self,
        kind: Kind,
        part: &ReplayPart,
        now: DateTime<Utc>,
        time: Duration,
    ) -> Result<Tally, OrderError> {
        let stop = Instant::now() + time - MARGIN.min(time / 4);
        let replay = Replay::of(self.model.clone()).only(part.segment);
        let replay = self.taken_up(replay, kind, part, now).await?;
        let (told, mut latest) = watch::channel(replay.checkpoint(kind.phase(), now));
        let replay = replay.keeping(move |checkpoint| {
            told.send_replace(checkpoint.clone());
        });
        let ended = {
            let mut running = pin!(run(&replay, kind, now));
            let mut next = Instant::now();
            loop {
                tokio::select! {
                    ended = &mut running => break Some(ended),
                    () = sleep_until(stop) => break None,
                    Ok(()) = changed_after(next, &mut latest) => {
                        self.keep(part, &mut latest, now).await;
                        next = Instant::now() + KEPT_EVERY;
                    }
                }
            }
        };
        if latest.has_changed().unwrap_or(true) {
            self.keep(part, &mut latest, now).await;
        }
        let tally = latest.borrow().tally();
        tracing::info!(
            run = part.run,
            kind = part.kind,
            segment = part.segment.index,
            total = part.segment.total,
            done = tally.done,
            read = tally.read,
            written = tally.written,
            differences = tally.differences,
            parked = tally.parked,
            "replayed"
        );
        ended.transpose()?;
        Ok(tally)
    }

    /// The replay, going on from where the part's last checkpoint says.
    async fn taken_up(
        &self,
        replay: Replay,
        kind: Kind,
        part: &ReplayPart,
        now: DateTime<Utc>,
    ) -> Result<Replay, OrderError> {
        let Some(checkpoint) = self.last(part, now).await? else { return Ok(replay) };
        match replay.clone().resuming(kind.phase(), checkpoint, now) {
            Ok(resumed) => Ok(resumed),
            Err(unfit) => {
                tracing::warn!(run = part.run, error = %unfit, "a part of a replay begins again");
                Ok(replay)
            }
        }
    }

    async fn last(&self, part: &ReplayPart, now: DateTime<Utc>) -> Result<Option<Checkpoint>, OrderError> {
        let kept = self.checkpoints.read(part, now).await.map_err(OrderError::Checkpoints)?;
        // What other code has kept, in a form of its own, is as good as nothing.
        Ok(kept.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// One that cannot be kept costs work, if the next cannot be either, and nothing else.
    async fn keep(&self, part: &ReplayPart, latest: &mut watch::Receiver<Checkpoint>, now: DateTime<Utc>) {
        let checkpoint = latest.borrow_and_update().clone();
        let kept = match serde_json::to_vec(&checkpoint) {
            Ok(text) => self.checkpoints.keep(part, &text, now).await.map_err(|error| with_causes(&error)),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = kept {
            tracing::warn!(run = part.run, error, "a checkpoint is not kept");
        }
    }

    async fn add_up(&self, order: &Order, now: DateTime<Utc>) -> Result<Tally, OrderError> {
        stream::iter(0..order.total)
            .map(|index| async move {
                let last = self.last(&order.part(index), now).await?;
                Ok(last.map_or_else(Tally::default, |checkpoint| checkpoint.tally()))
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(Tally { done: true, ..Tally::default() }, async |sum, part| Ok(sum + part))
            .await
    }
}

async fn run(replay: &Replay, kind: Kind, now: DateTime<Utc>) -> Result<(), ReplayError> {
    match kind {
        Kind::Rebuild => replay.renew(now).await.map(|_| ()),
        Kind::Repair => replay.repair(now).await.map(|_| ()),
        Kind::Verify => replay.verify_views(now).await,
    }
}

async fn changed_after(
    time: Instant,
    latest: &mut watch::Receiver<Checkpoint>,
) -> Result<(), watch::error::RecvError> {
    sleep_until(time).await;
    latest.changed().await
}
