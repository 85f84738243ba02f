use std::collections::BTreeMap;
use std::ops::Add;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use storage::{ScanPosition, Segment};

use super::rebuild::Rebuilt;
use super::standing::{Settled, Standing};
use super::{Covered, Findings, Phase};

/// The form of a checkpoint. It goes up when the form changes: what another program kept is not guessed at.
const FORMAT: u32 = 1;
/// A checkpoint is of use for so long after its replay began: whatever happens to users who were done before is the
/// projector's, and the stream holds its records for a day.
const OF_USE_FOR: TimeDelta = TimeDelta::hours(24);

/// How far a rebuild or a repair has come: enough for another process to go on from there.
///
/// It names what it is a part of, so that it is not mistaken for that of other data ([`Unfit`]). It holds ids of users
/// and nothing else of theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    format: u32,
    work: Work,
    begun: DateTime<Utc>,
    segments: BTreeMap<u32, Place>,
    counts: Counts,
}

/// What a checkpoint is a part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Work {
    pub phase: Phase,
    pub replacing_newer: bool,
    pub deployment: String,
    pub events: String,
    pub views: String,
    pub fold: u32,
    /// Of how many segments those of the checkpoint are some.
    pub total: u32,
}

/// How far a segment has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// No user is done.
    Beginning,
    /// The users up to here are done.
    After(ScanPosition),
    /// All are done.
    Finished,
}

/// What a replay has counted so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    pub covered: Covered,
    pub found: Findings,
    pub done: Rebuilt,
    /// What a verification has to report.
    #[serde(default)]
    pub differences: u64,
}

/// What was found about one user, and what was done about it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    pub standing: Option<Standing>,
    /// The log cannot be read.
    pub broken: bool,
    /// The user has been erased.
    pub erased: bool,
    pub settled: Option<Settled>,
    /// A verification has to report it.
    pub difference: bool,
}

/// What one part of a replay adds up to so far, whoever did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Whether all of the part is done.
    pub done: bool,
    /// Users whose logs have been read.
    pub read: u64,
    /// Views made.
    pub written: u64,
    /// Views that do not show what the log says and were left, or what a verification has to report.
    pub differences: u64,
    /// Users whose log cannot be read; all but a verification park them.
    pub parked: u64,
}

/// Why a replay cannot go on from a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Another program wrote it.
    #[error("it was kept by another version of the program")]
    Format,
    /// It is that of another kind of run.
    #[error("it is that of a run of another kind")]
    Phase,
    /// It is that of another deployment.
    #[error("it is that of another deployment, {0}")]
    Deployment(String),
    /// It is that of other tables.
    #[error("it is that of the tables {events} and {views}")]
    Tables {
        /// The events table it is of.
        events: String,
        /// The views table it is of.
        views: String,
    },
    /// The documents made so far are those of another fold number.
    #[error("the views made so far are those of fold number {kept}, and this program's is {own}")]
    Fold {
        /// The fold number of the views made.
        kept: u32,
        /// That of this code.
        own: u32,
    },
    /// The table was divided in another way.
    #[error("the log was divided into other segments")]
    Segments,
    /// It began more than a day ago.
    #[error("it began more than a day ago, at {0}")]
    Old(DateTime<Utc>),
    /// The clock was wrong when it began, or is now: how old it is cannot be told.
    #[error("by the clock it has not begun yet, but will at {0}")]
    Future(DateTime<Utc>),
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            done: self.done && other.done,
            read: self.read + other.read,
            written: self.written + other.written,
            differences: self.differences + other.differences,
            parked: self.parked + other.parked,
        }
    }
}

impl Checkpoint {
    /// Users who were done when it was made.
    pub const fn users(&self) -> u64 {
        self.counts.covered.users
    }

    /// What it adds up to.
    pub fn tally(&self) -> Tally {
        let Counts { covered, found, done, differences } = &self.counts;
        let (differences, parked) = match self.work.phase {
            Phase::Rebuild => (done.of_higher_fold + done.beyond_log, done.parked),
            Phase::DryRun | Phase::Repair | Phase::Mend => {
                (found.different + found.of_higher_fold + found.beyond_log, found.broken)
            }
            Phase::Verify => (*differences, found.broken),
        };
        Tally {
            done: self.segments.values().all(|place| *place == Place::Finished),
            read: covered.users,
            written: done.written,
            differences,
            parked,
        }
    }

    /// Nothing done yet of this work on these segments.
    pub(super) fn beginning(work: Work, segments: &[Segment], begun: DateTime<Utc>) -> Self {
        let segments = segments.iter().map(|segment| (segment.index, Place::Beginning)).collect();
        Self { format: FORMAT, work, begun, segments, counts: Counts::default() }
    }

    /// Whether `beginning`, that of a replay about to start, may be replaced by this one.
    pub(super) fn fits(&self, beginning: &Self) -> Result<(), Unfit> {
        let (kept, own) = (&self.work, &beginning.work);
        if self.format != beginning.format {
            return Err(Unfit::Format);
        }
        if (kept.phase, kept.replacing_newer) != (own.phase, own.replacing_newer) {
            return Err(Unfit::Phase);
        }
        if kept.deployment != own.deployment {
            return Err(Unfit::Deployment(kept.deployment.clone()));
        }
        if (&kept.events, &kept.views) != (&own.events, &own.views) {
            return Err(Unfit::Tables { events: kept.events.clone(), views: kept.views.clone() });
        }
        if kept.fold != own.fold {
            return Err(Unfit::Fold { kept: kept.fold, own: own.fold });
        }
        if kept.total != own.total || !self.segments.keys().eq(beginning.segments.keys()) {
            return Err(Unfit::Segments);
        }
        let age = beginning.begun - self.begun;
        if age > OF_USE_FOR {
            return Err(Unfit::Old(self.begun));
        }
        if age < TimeDelta::zero() {
            return Err(Unfit::Future(self.begun));
        }
        Ok(())
    }

    pub(super) const fn phase(&self) -> Phase {
        self.work.phase
    }

    pub(super) fn place(&self, segment: Segment) -> Place {
        self.segments.get(&segment.index).cloned().unwrap_or(Place::Beginning)
    }

    /// A page of users is done with, and the segment has come to this place. Place and counts move together, so that
    /// nobody is counted twice by a replay that goes on from here.
    pub(super) fn advance(&mut self, segment: Segment, place: Place, page: Covered, outcomes: &[Outcome]) {
        self.segments.insert(segment.index, place);
        self.counts.covered.users += page.users;
        self.counts.covered.commits += page.commits;
        self.counts.covered.events += page.events;
        for outcome in outcomes {
            if let Some(standing) = outcome.standing {
                self.counts.found.add(standing);
            }
            self.counts.found.broken += u64::from(outcome.broken);
            self.counts.found.erased += u64::from(outcome.erased);
            self.counts.differences += u64::from(outcome.difference);
            if let Some(settled) = outcome.settled {
                self.counts.done.add(settled);
            }
        }
    }

    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn into_counts(self) -> Counts {
        self.counts
    }
}

/// Who is told of checkpoints.
pub(super) type OnCheckpoint = Arc<dyn Fn(&Checkpoint) + Send + Sync>;
