use std::error::Error;
use std::fmt::Write as _;
use std::time::Instant;

use aws_sdk_dynamodb::Client;
use chrono::{DateTime, Utc};
use domain::{UserId, Version};
use storage::tables::Tables;
use storage::{
    Broken, Commit, EventLog, Put, ReadError, Replacing, Snapshot, StoredView, Unavailable, View, ViewKeys,
    Views, WrappingKeys,
};
use telemetry::{Measure, measure};

/// How often a projector that keeps losing to others reads again. Whoever wins brings the view further, so two
/// losses in a row are rare already.
const TRIES: usize = 8;

/// The read model, and the log it is made from.
#[derive(Debug, Clone)]
pub struct ReadModel {
    /// The log; only read.
    pub log: EventLog,
    /// The views.
    pub views: Views,
}

/// What became of a user's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaughtUp {
    /// It shows the whole log already; or there is none, as the user has been erased.
    Current,
    /// It shows the whole log now.
    Projected,
    /// The log cannot be read: the user is parked.
    Parked,
    /// It was left to the newer code that put it: its fold number is higher.
    OfHigherFold,
    /// It was left as it is: it claims to show more than the log holds.
    BeyondLog,
    /// It shows the whole log, which does not hold the commit that was named: somebody has taken it away.
    CommitGone,
}

/// What it is known that a user's log holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named {
    /// The first commit that was named.
    pub first: Version,
    /// The last commit that was named; [`Version::NONE`] if none was.
    pub last: Version,
}

/// Why a user could not be caught up for now. The same again will help.
#[derive(Debug, thiserror::Error)]
pub enum CatchUpError {
    /// DynamoDB did not answer as it should.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Others kept writing the view.
    #[error("others kept writing the view")]
    Contended,
}

impl ReadModel {
    /// The read model in these tables, with the only keys it needs.
    pub fn new(client: &Client, tables: &Tables, wrapping: WrappingKeys, views: ViewKeys) -> Self {
        Self {
            log: EventLog::new(client.clone(), tables.events.clone(), wrapping),
            views: Views::new(client.clone(), tables.views.clone(), views),
        }
    }

    /// Brings a user's view to the end of the log, which should be at least the commit `named`
    /// ([`Version::NONE`]: none is known).
    ///
    /// The log is read consistently, and nothing of ours takes a commit away. A commit that was named and is not seen
    /// has therefore been deleted by somebody else, and no other try would find it: [`CaughtUp::CommitGone`].
    ///
    /// # Errors
    /// [`CatchUpError`], worth another try. A log that cannot be read is none: the user is parked.
    pub async fn catch_up(
        &self,
        user: UserId,
        named: Version,
        now: DateTime<Utc>,
    ) -> Result<CaughtUp, CatchUpError> {
        let stored = self.view(user, false).await?;
        self.catch_up_from(stored, Named { first: named, last: named }, now).await
    }

    /// The same, for a view that has been read already. An old one costs another try, and nothing else.
    pub(crate) async fn catch_up_from(
        &self,
        mut stored: StoredView,
        named: Named,
        now: DateTime<Utc>,
    ) -> Result<CaughtUp, CatchUpError> {
        let begun = Instant::now();
        for _ in 0..TRIES {
            if let Some(caught_up) = self.try_once(&stored, named, now + begun.elapsed()).await? {
                return Ok(caught_up);
            }
            stored = self.view(stored.user, true).await?;
        }
        Err(CatchUpError::Contended)
    }

    /// Folds what the log holds beyond this view and puts the document. `None` if the view has moved on meanwhile.
    async fn try_once(
        &self,
        stored: &StoredView,
        named: Named,
        now: DateTime<Utc>,
    ) -> Result<Option<CaughtUp>, CatchUpError> {
        let begun = Instant::now();
        let user = stored.user;
        let (mut snapshot, replacing) = match &stored.view {
            View::Foreign { fold, .. } if *fold > self.views.fold() => {
                return Ok(Some(CaughtUp::OfHigherFold));
            }
            View::Absent | View::Foreign { .. } => (Snapshot::default(), Replacing::Older),
            // A mark of parking goes with the view it stands on, even if no commit has come since; and only if all of
            // the log can be read, for what is broken may lie before the version that the view shows.
            View::Of(_) if stored.parked.is_some() => (Snapshot::default(), Replacing::OlderOrEqual),
            View::Of(snapshot) => (snapshot.clone(), Replacing::Older),
            View::Torn(torn) => {
                tracing::error!(alarm = "torn-view", %user, "a view does not open; it is made again from the log");
                (Snapshot::default(), Replacing::Torn(torn.clone()))
            }
        };
        let seen = snapshot.head.version;
        let shown = match &stored.view {
            View::Of(snapshot) => snapshot.head.version,
            View::Foreign { version, .. } => *version,
            View::Absent | View::Torn(_) => Version::NONE,
        };
        // When those were committed that the view is about to show first. One that no record names any more was shown
        // before, by a view that was deleted.
        let mut new = Vec::new();
        let visit = |commit: &Commit| {
            if commit.version > shown && commit.version >= named.first {
                new.push(commit.at);
            }
        };
        let broken = match self.log.advance_visiting(user, &mut snapshot, None, visit).await {
            // The vault lies behind the last commit, so a log that has one shows it, even if nothing is new.
            Ok(None) if snapshot.head.version > Version::NONE => Some(Broken::NoVault),
            Ok(_) => None,
            Err(ReadError::Unavailable(error)) => return Err(error.into()),
            Err(ReadError::Broken(Broken::Erased)) => {
                // There is nothing to show any more, and nothing to be parked for. What was read may be old, and no
                // record will come again: what is there now has to go.
                let swept = self.views.sweep(&self.view(user, true).await?).await?;
                return Ok((swept == Put::Written).then_some(CaughtUp::Current));
            }
            Err(ReadError::Broken(broken)) => Some(broken),
        };
        if let Some(broken) = broken {
            return Ok(match self.park(stored, &broken, now).await? {
                Put::Written => Some(CaughtUp::Parked),
                Put::Lost => None,
            });
        }
        let end = snapshot.head.version;
        let done = |otherwise| if end < named.last { gone(user, named.last, end) } else { otherwise };
        if end == Version::NONE {
            // There is nothing to show, and nothing to be parked for.
            self.free_of_mark(stored).await?;
            return Ok(Some(done(CaughtUp::Current)));
        }
        if end == seen && stored.parked.is_none() {
            return Ok(Some(done(CaughtUp::Current)));
        }
        if shown > end {
            let (alarm, view, log) = ("log-cut-off", shown.number(), end.number());
            tracing::error!(alarm, %user, view, log, "the log ends before its view");
            return Ok(Some(CaughtUp::BeyondLog));
        }
        Ok(match self.views.put_after(user, &snapshot, replacing, stored.marks).await? {
            Put::Written => {
                let now = now + begun.elapsed();
                for at in new {
                    // Clocks differ, and a lag is none.
                    measure(Measure::ProjectionLag((now - at).to_std().unwrap_or_default()));
                }
                Some(done(CaughtUp::Projected))
            }
            Put::Lost => None,
        })
    }

    /// Deletes a mark that stands where there is no view, unless a view has come since. Says whether it was one.
    pub(crate) async fn free_of_mark(&self, stored: &StoredView) -> Result<bool, Unavailable> {
        let is_mark = stored.parked.is_some()
            && matches!(stored.view, View::Foreign { version: Version::NONE, fold } if fold <= self.views.fold());
        Ok(is_mark && self.views.sweep(stored).await? == Put::Written)
    }

    /// Marks a user whose log cannot be read, unless the view has moved on since it was read.
    pub(crate) async fn park(
        &self,
        stored: &StoredView,
        broken: &Broken,
        now: DateTime<Utc>,
    ) -> Result<Put, Unavailable> {
        let user = stored.user;
        let seen = match &stored.view {
            View::Absent => Version::NONE,
            View::Of(snapshot) => snapshot.head.version,
            View::Foreign { version, .. } => *version,
            // It has no version to rest a condition on, and it is of no use to anybody.
            View::Torn(_) => {
                self.views.sweep(stored).await?;
                Version::NONE
            }
        };
        let put = self.views.park(user, seen, broken, now).await?;
        if put == Put::Written {
            let (alarm, code) = ("parked", broken.code());
            let version = broken.version().map(Version::number);
            tracing::error!(alarm, %user, code, version, "parked: the log cannot be read");
        }
        Ok(put)
    }

    /// One user's view.
    pub(crate) async fn view(&self, user: UserId, consistent: bool) -> Result<StoredView, Unavailable> {
        let mut views = self.views.read_all(&[user], consistent).await?;
        Ok(views.pop().unwrap_or(StoredView { user, view: View::Absent, parked: None, marks: 0 }))
    }
}

/// Says that a commit was named and is not in the log.
fn gone(user: UserId, named: Version, end: Version) -> CaughtUp {
    let (alarm, version, log) = ("commit-gone", named.number(), end.number());
    tracing::error!(alarm, %user, version, log, "a commit is gone from the log");
    CaughtUp::CommitGone
}

/// An error with its causes, for a log line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string does not fail.
        let _ = write!(line, ": {cause}");
        source = cause.source();
    }
    line
}
