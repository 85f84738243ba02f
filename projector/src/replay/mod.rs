//! Catching up with every user: the log is scanned in parallel segments, each user folded from the first commit, and
//! each fold compared with the view, or put in its place. Memory stays flat: one page of users a segment.

mod checkpoint;
mod orphans;
mod parked;
mod rebuild;
mod repair;
mod restore;
mod standing;
mod verify;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use storage::{EventLog, Scanned, Segment, Unavailable};
use tokio::task::{JoinError, JoinSet};

pub use checkpoint::{Checkpoint, Tally, Unfit};
use checkpoint::{Counts, OnCheckpoint, Outcome, Place, Work};
pub use parked::{LogNow, ParkedPage, ParkedUser, ParkedUsers, RetryReport, StillParked};
pub use rebuild::{DryRunReport, RebuildReport, Rebuilt, Renewed};
pub use repair::RepairReport;
pub use restore::{Contested, Mended, RestoreReport};
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
    replacing_newer: bool,
    resumed: Option<Checkpoint>,
    on_progress: Arc<dyn Fn(Progress) + Send + Sync>,
    on_checkpoint: OnCheckpoint,
}

/// What a replay is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Half transactions and identifiers are mended.
    Mend,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// There is no log to restore anything from, and there are users.
    #[error(
        "the events table is empty, and the tables beside it are not; bring it back first: nothing has been changed"
    )]
    LogEmpty,
    /// A segment's task ended early.
    #[error("a segment was not finished")]
    Unfinished(#[from] JoinError),
}

/// What is done with users as they come.
trait Pass: Send + Sync + 'static {
    /// One page of users; what was found and done, for those with something to be counted.
    fn page(&self, users: Vec<Scanned>) -> impl Future<Output = Result<Vec<Outcome>, Unavailable>> + Send;

    /// Items of nobody's log were met beside them.
    fn strays(&self, _number: u64) {}
}

impl Replay {
    /// A run over every user.
    pub fn of(model: ReadModel) -> Self {
        let replay = Self {
            model,
            segments: Vec::new(),
            whole: true,
            replacing_newer: false,
            resumed: None,
            on_progress: Arc::new(|_| {}),
            on_checkpoint: Arc::new(|_| {}),
        };
        replay.in_segments(SEGMENTS)
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

    /// A rebuild that replaces views of a higher fold number, too: after a roll-back, so that the code that runs now
    /// need not read every log. Where code of that number still runs, both keep replacing each other's views, and every
    /// answer stays right.
    #[must_use]
    pub fn replacing_newer(self) -> Self {
        Self { replacing_newer: true, ..self }
    }

    /// Says after every page how far it has come.
    #[must_use]
    pub fn reporting(self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self { on_progress: Arc::new(on_progress), ..self }
    }

    /// Says after every page of a rebuild, a repair or a verification of views how far it has come, for [`Replay::resuming`]. Waited for: it
    /// should not take long.
    #[must_use]
    pub fn keeping(self, on_checkpoint: impl Fn(&Checkpoint) + Send + Sync + 'static) -> Self {
        Self { on_checkpoint: Arc::new(on_checkpoint), ..self }
    }

    /// The same run going on from where one of its kind, which began at most a day ago, was when it ended early.
    ///
    /// What that one wrote behind the checkpoint is written again. What was appended meanwhile to the logs of users
    /// before it is the projector's, as always; the verification at the end of a rebuild covers everybody.
    pub fn resuming(self, phase: Phase, from: Checkpoint, now: DateTime<Utc>) -> Result<Self, Unfit> {
        from.fits(&self.beginning(phase, now))?;
        Ok(Self { resumed: Some(from), ..self })
    }

    /// Where a run of this phase stands before it does anything: where it goes on from, or at the beginning.
    pub fn checkpoint(&self, phase: Phase, now: DateTime<Utc>) -> Checkpoint {
        let resumed = self.resumed.clone().filter(|from| from.phase() == phase);
        resumed.unwrap_or_else(|| self.beginning(phase, now))
    }

    fn beginning(&self, phase: Phase, now: DateTime<Utc>) -> Checkpoint {
        let total = self.segments.first().map_or(0, |segment| segment.total);
        Checkpoint::beginning(self.work(phase, total), &self.segments, now)
    }

    fn work(&self, phase: Phase, total: u32) -> Work {
        let Self { model, replacing_newer, .. } = self;
        Work {
            phase,
            replacing_newer: *replacing_newer,
            deployment: model.log.deployment().to_owned(),
            events: model.log.table().to_owned(),
            views: model.views.table().to_owned(),
            fold: model.views.fold(),
            total,
        }
    }

    /// Users who were done before a run of this phase.
    fn done_before(&self, phase: Phase) -> Option<u64> {
        self.resumed.as_ref().filter(|from| from.phase() == phase).map(Checkpoint::users)
    }

    /// Goes over the log. `begun` is when that begins, for the checkpoints; `None` if there are to be none.
    async fn over_log<P: Pass>(
        &self,
        phase: Phase,
        begun: Option<DateTime<Utc>>,
        pass: &Arc<P>,
    ) -> Result<Counts, ReplayError> {
        let course = Arc::new(Course {
            phase,
            state: Mutex::new(self.checkpoint(phase, begun.unwrap_or_default())),
            on_progress: Arc::clone(&self.on_progress),
            on_checkpoint: begun.map(|_| Arc::clone(&self.on_checkpoint)),
        });
        let mut parts = JoinSet::new();
        for segment in &self.segments {
            let log = self.model.log.clone();
            let part = Part { log, segment: *segment, course: Arc::clone(&course) };
            parts.spawn(part.run(Arc::clone(pass)));
        }
        while let Some(part) = parts.join_next().await {
            part??;
        }
        let state = course.state.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(state.clone().into_counts())
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
    course: Arc<Course>,
}

/// How far a replay has come in all its segments.
struct Course {
    phase: Phase,
    state: Mutex<Checkpoint>,
    on_progress: Arc<dyn Fn(Progress) + Send + Sync>,
    on_checkpoint: Option<OnCheckpoint>,
}

impl Part {
    async fn run<P: Pass>(self, pass: Arc<P>) -> Result<(), Unavailable> {
        let scan = self.log.scan(self.segment);
        let mut scan = match self.course.place(self.segment) {
            Place::Beginning => scan,
            Place::After(position) => scan.after(position),
            Place::Finished => return Ok(()),
        };
        loop {
            let mut patience = Patience::default();
            let users = loop {
                match scan.next().await {
                    Ok(users) => break users,
                    Err(error) => patience.after(error).await?,
                }
            };
            let Some(users) = users else {
                self.course.advance(self.segment, Place::Finished, Covered::default(), &[]);
                return Ok(());
            };
            pass.strays(scan.take_strays());
            let page = Covered::of(&users);
            let outcomes = pass.page(users).await?;
            let place = scan.position().cloned().map_or(Place::Beginning, Place::After);
            self.course.advance(self.segment, place, page, &outcomes);
        }
    }
}

impl Course {
    fn place(&self, segment: Segment) -> Place {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).place(segment)
    }

    /// Told under the lock: a checkpoint never comes after a later one.
    fn advance(&self, segment: Segment, place: Place, page: Covered, outcomes: &[Outcome]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(segment, place, page, outcomes);
        if let Some(on_checkpoint) = &self.on_checkpoint {
            on_checkpoint(&state);
        }
        let Covered { users, commits, events: _ } = state.counts().covered;
        (self.on_progress)(Progress { phase: self.phase, users, commits });
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

/// Does this until DynamoDB answers, or patience ends.
async fn patiently<T, F: Future<Output = Result<T, Unavailable>>>(
    ask: impl Fn() -> F,
) -> Result<T, Unavailable> {
    let mut patience = Patience::default();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => patience.after(error).await?,
        }
    }
}
