//! Catching up with every user: the log is scanned in parallel segments, each user folded from the first commit, and
//! each fold compared with the view, or put in its place. Memory stays flat: one page of users a segment.

mod orphans;
mod parked;
mod rebuild;
mod repair;
mod standing;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use storage::{EventLog, Scanned, Segment, Unavailable};
use tokio::task::{JoinError, JoinSet};

pub use parked::{LogNow, ParkedPage, ParkedUser, ParkedUsers, StillParked};
pub use rebuild::{DryRunReport, RebuildReport, Rebuilt};
pub use repair::RepairReport;
pub use standing::Findings;
pub use verify::{Difference, Finding, VerifyReport};

use crate::ReadModel;
use crate::catch_up::with_causes;

/// The segments of a scan, unless told otherwise.
const SEGMENTS: u32 = 8;
/// Users of one segment worked on at the same time.
const AT_ONCE: usize = 16;

/// How often something is asked again before a replay gives up; the SDK has tried several times by then.
const ASKED_AGAIN: u32 = 6;
/// The first pause before asking again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A run over every user, or those of one segment.
#[derive(Clone)]
pub struct Replay {
    model: ReadModel,
    segments: Vec<Segment>,
    whole: bool,
    on_progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

/// What a replay is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Documents are made anew.
    Rebuild,
    /// It is looked at what a rebuild would change.
    DryRun,
    /// What is behind is brought up to date.
    Repair,
    /// The log is compared with views and identifiers.
    Verify,
}

/// How far a replay has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// In which phase.
    pub phase: Phase,
    /// Users done with.
    pub users: u64,
    /// Their commits.
    pub commits: u64,
}

/// What a replay has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Covered {
    /// Users with a log.
    pub users: u64,
    /// Commits of logs that can be read.
    pub commits: u64,
    /// Events in them.
    pub events: u64,
}

/// Why a replay ended early. It can be run again: what it did is done, and doing it again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// DynamoDB did not answer as it should, again and again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A segment's task ended early.
    #[error("a segment was not finished")]
    Unfinished(#[from] JoinError),
}

/// What is done with users as they come.
trait Pass: Send + Sync + 'static {
    fn page(&self, users: Vec<Scanned>) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Items of nobody's log were met beside them.
    fn strays(&self, _number: u64) {}
}

impl Replay {
    /// A run over every user.
    pub fn of(model: ReadModel) -> Self {
        Self { model, segments: Vec::new(), whole: true, on_progress: Arc::new(|_| {}) }.in_segments(SEGMENTS)
    }

    /// The same, with this many segments at the same time; at least one.
    #[must_use]
    pub fn in_segments(self, total: u32) -> Self {
        let total = total.max(1);
        let segments = (0..total).map(|index| Segment { index, total }).collect();
        Self { segments, whole: true, ..self }
    }

    /// A run over the users of one segment. What concerns a whole table is left out: views without a log, and
    /// identifiers without a user.
    #[must_use]
    pub fn only(self, segment: Segment) -> Self {
        Self { segments: vec![segment], whole: false, ..self }
    }

    /// Says after every page how far it has come.
    #[must_use]
    pub fn reporting(self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self { on_progress: Arc::new(on_progress), ..self }
    }

    async fn over_log<P: Pass>(&self, phase: Phase, pass: &Arc<P>) -> Result<Covered, ReplayError> {
        let count = Arc::new(Count::default());
        let mut parts = JoinSet::new();
        for segment in &self.segments {
            let part = Part {
                log: self.model.log.clone(),
                segment: *segment,
                phase,
                count: Arc::clone(&count),
                on_progress: Arc::clone(&self.on_progress),
            };
            parts.spawn(part.run(Arc::clone(pass)));
        }
        while let Some(part) = parts.join_next().await {
            part??;
        }
        Ok(count.covered())
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("segments", &self.segments).finish_non_exhaustive()
    }
}

/// One segment of a replay.
struct Part {
    log: EventLog,
    segment: Segment,
    phase: Phase,
    count: Arc<Count>,
    on_progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

impl Part {
    async fn run<P: Pass>(self, pass: Arc<P>) -> Result<(), Unavailable> {
        let mut scan = self.log.scan(self.segment);
        loop {
            let mut patience = Patience::default();
            let users = loop {
                match scan.next().await {
                    Ok(users) => break users,
                    Err(error) => patience.after(error).await?,
                }
            };
            let Some(users) = users else { return Ok(()) };
            pass.strays(scan.take_strays());
            let page = Covered::of(&users);
            pass.page(users).await?;
            let Covered { users, commits, events: _ } = self.count.add(page);
            (self.on_progress)(Progress { phase: self.phase, users, commits });
        }
    }
}

impl Covered {
    fn of(users: &[Scanned]) -> Self {
        let mut covered = Self::default();
        for scanned in users {
            match &scanned.outcome {
                // A vault without a commit.
                Ok(snapshot) if snapshot.head.version.number() == 0 => continue,
                Ok(snapshot) => {
                    covered.commits += snapshot.head.version.number();
                    covered.events += scanned.events;
                }
                Err(_) => {}
            }
            covered.users += 1;
        }
        covered
    }
}

#[derive(Default)]
struct Count {
    users: AtomicU64,
    commits: AtomicU64,
    events: AtomicU64,
}

impl Count {
    fn add(&self, page: Covered) -> Covered {
        let add = |count: &AtomicU64, more| count.fetch_add(more, Ordering::Relaxed) + more;
        Covered {
            users: add(&self.users, page.users),
            commits: add(&self.commits, page.commits),
            events: add(&self.events, page.events),
        }
    }

    fn covered(&self) -> Covered {
        self.add(Covered::default())
    }
}

/// What is left of a replay's patience with DynamoDB: hours of work should not end with one bad minute.
struct Patience {
    left: u32,
    pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { left: ASKED_AGAIN, pause: FIRST_PAUSE }
    }
}

impl Patience {
    /// Waits before the next try; gives the error back if there is to be none.
    async fn after(&mut self, error: Unavailable) -> Result<(), Unavailable> {
        if self.left == 0 {
            return Err(error);
        }
        tracing::warn!(error = with_causes(&error), "DynamoDB is asked again");
        tokio::time::sleep(self.pause).await;
        self.left -= 1;
        self.pause *= 2;
        Ok(())
    }
}
