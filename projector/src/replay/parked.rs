use chrono::{DateTime, Utc};
use domain::{UserId, Version};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use storage::{Parked, Unavailable, ViewCursor};

use super::standing::{Settled, Standing, Terms, replacing_of};
use super::verify::LISTED;
use super::{AT_ONCE, Patience, Replay, ReplayError, patiently};
use crate::ReadModel;

/// The users who are parked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ParkedUsers {
    /// How many there are.
    pub total: u64,
    /// The first of them.
    pub users: Vec<ParkedUser>,
}

/// A user who is parked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParkedUser {
    /// Who.
    pub user: UserId,
    /// Since when; RFC 3339.
    pub since: String,
    /// The code of what was wrong with the log when it was last tried.
    pub reason: String,
}

/// A user who is parked, and what holds now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StillParked {
    /// What the mark says.
    #[serde(flatten)]
    pub parked: ParkedUser,
    /// What the log says.
    #[serde(flatten)]
    pub log: LogNow,
}

/// Whether the log of a parked user can be read by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "log", rename_all = "snake_case")]
pub enum LogNow {
    /// It can: a repair frees the user.
    Readable,
    /// It cannot.
    Broken {
        /// The code of the damage.
        code: &'static str,
        /// The first commit that cannot be read, if it is known which.
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<Version>,
    },
    /// What there is of it can be read, and the view shows more.
    EndsBeforeView,
    /// There is none.
    Absent,
}

/// One page of the parked.
#[derive(Debug, Clone)]
pub struct ParkedPage {
    /// The users.
    pub users: Vec<StillParked>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<ViewCursor>,
}

/// What came of trying the parked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RetryReport {
    /// Users who are free: their log can be read by now, or they have none.
    pub freed: u64,
    /// Users who stay parked.
    pub parked: u64,
}

impl Replay {
    /// One page of the parked, found in the sparse index of their marks, which is eventually consistent; each with what
    /// their log says now.
    pub async fn parked(&self, from: Option<ViewCursor>) -> Result<ParkedPage, ReplayError> {
        let mut patience = Patience::default();
        let (marked, next) = loop {
            match self.model.views.parked(from.clone()).await {
                Ok(page) => break page,
                Err(error) => patience.after(error).await?,
            }
        };
        let users = stream::iter(marked)
            .map(|(user, parked)| async move {
                let parked = ParkedUser::of(user, parked);
                Ok::<_, Unavailable>(StillParked { parked, log: self.model.log_now(user).await? })
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(ParkedPage { users, next })
    }

    /// Frees the parked whose log can be read by now, or who have none: no run over the log meets these, and a run that
    /// went on from another does not meet those before its place. Harmless beside anything else.
    pub async fn retry_parked(&self, now: DateTime<Utc>) -> Result<RetryReport, ReplayError> {
        let (mut report, mut from) = (RetryReport::default(), None);
        loop {
            let ParkedPage { users, next } = self.parked(from).await?;
            for StillParked { parked, log } in users {
                let stored = patiently(|| self.model.view(parked.user, true)).await?;
                // The index may be behind.
                if stored.parked.is_none() {
                    continue;
                }
                let is_freed = match log {
                    LogNow::Absent => self.model.free_of_mark(&stored).await?,
                    LogNow::Readable => {
                        let scanned = patiently(|| self.model.log.fold(parked.user)).await?;
                        let terms = Terms { now, replacing_newer: false };
                        let settled = self.model.settle_patiently(scanned, replacing_of(&stored), terms);
                        settled.await? == Settled::Written
                    }
                    LogNow::Broken { .. } | LogNow::EndsBeforeView => false,
                };
                if is_freed {
                    report.freed += 1;
                } else {
                    report.parked += 1;
                }
            }
            match next {
                Some(next) => from = Some(next),
                None => return Ok(report),
            }
        }
    }
}

impl ReadModel {
    async fn log_now(&self, user: UserId) -> Result<LogNow, Unavailable> {
        let stored = self.view(user, true).await?;
        Ok(match self.log.fold(user).await?.outcome {
            Err(broken) => LogNow::Broken { code: broken.code(), version: broken.version() },
            Ok(snapshot) if snapshot.head.version == Version::NONE => LogNow::Absent,
            Ok(snapshot) if Standing::of(&stored, &snapshot, self.views.fold()) == Standing::BeyondLog => {
                LogNow::EndsBeforeView
            }
            Ok(_) => LogNow::Readable,
        })
    }
}

impl ParkedUser {
    fn of(user: UserId, Parked { since, reason }: Parked) -> Self {
        Self { user, since, reason }
    }
}

impl ParkedUsers {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Everybody who is marked, read from the sparse index of the marks: eventually consistent.
    pub(super) async fn of(model: &ReadModel) -> Result<Self, Unavailable> {
        let (mut parked, mut from) = (Self::default(), None);
        loop {
            let (marked, next) = model.views.parked(from).await?;
            parked.total += marked.len() as u64;
            let room = LISTED.saturating_sub(parked.users.len());
            let listed = marked.into_iter().take(room);
            parked.users.extend(listed.map(|(user, mark)| ParkedUser::of(user, mark)));
            match next {
                Some(next) => from = Some(next),
                None => return Ok(parked),
            }
        }
    }
}
