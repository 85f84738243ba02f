use chrono::{DateTime, Utc};
use domain::{UserId, Version};

use super::{EventLog, Head, Snapshot};
use crate::error::{Broken, ReadError, Unavailable};

/// A moment in a user's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After this commit.
    Version(Version),
    /// After the last commit whose time is not later than this. The order of a log is that of its versions, and the
    /// clocks of those who wrote it may have run backwards: a commit before that one had happened by then, whatever
    /// time it bears.
    Time(DateTime<Utc>),
    /// After the last commit.
    End,
}

/// A user as of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The fold of the commits up to that moment.
    pub snapshot: Snapshot,
    /// The time of the last of them; milliseconds.
    pub at: DateTime<Utc>,
}

/// Why there is nothing to say of a moment.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The user has no log.
    #[error("there is no log")]
    NoLog,
    /// Versions count from 1.
    #[error("the first commit is 1")]
    NoSuchVersion,
    /// The log ends before this version.
    #[error("the log ends with commit {0}")]
    BeyondEnd(Version),
    /// No commit is of that time or an earlier one; the earliest is of this time.
    #[error("the earliest commit is of {}", .0.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))]
    BeforeAll(DateTime<Utc>),
    /// The log cannot be read as far as that.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<ReadError> for PastError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(error) => Self::Unavailable(error),
            ReadError::Broken(error) => Self::Broken(error),
        }
    }
}

impl EventLog {
    /// The user as of a moment, by the log alone, read consistently. For a version, nothing behind it is read; for a
    /// time, all of the log, as its last commits may bear earlier times.
    pub async fn as_of(&self, user: UserId, moment: Moment) -> Result<Past, PastError> {
        let (until, time) = match moment {
            Moment::Version(Version::NONE) => return Err(PastError::NoSuchVersion),
            Moment::Version(version) => (Some(version), None),
            Moment::Time(time) => (None, Some(time)),
            Moment::End => (None, None),
        };
        let (mut current, mut last_within, mut is_within) = (None, None, false);
        let mut earliest: Option<DateTime<Utc>> = None;
        let walked = self.walk_until(user, Head::default(), until, None, |commit, hash| {
            let within = time.is_none_or(|time| commit.at <= time);
            if is_within && !within {
                last_within.clone_from(&current);
            }
            let mut snapshot = current.take().map_or_else(Snapshot::default, |past: Past| past.snapshot);
            snapshot.follow(commit, hash);
            current = Some(Past { snapshot, at: commit.at });
            is_within = within;
            earliest = Some(earliest.map_or(commit.at, |earliest| earliest.min(commit.at)));
        });
        walked.await?;
        let (Some(current), Some(earliest)) = (current, earliest) else { return Err(PastError::NoLog) };
        let end = current.snapshot.head.version;
        match until {
            Some(version) if version > end => Err(PastError::BeyondEnd(end)),
            _ if is_within => Ok(current),
            _ => last_within.ok_or(PastError::BeforeAll(earliest)),
        }
    }
}
