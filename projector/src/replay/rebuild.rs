use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use storage::{Identifiers, Put, Replacing, Scanned, Unavailable};

use super::checkpoint::{Counts, Outcome};
use super::orphans::orphans;
use super::repair::Comparison;
use super::standing::{Settled, Terms};
use super::{AT_ONCE, Covered, Findings, Pass, Phase, Replay, ReplayError, VerifyReport};
use crate::ReadModel;

/// What a rebuild did, or what it would find to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebuildReport {
    /// What was read, also by the run that this one went on from.
    #[serde(flatten)]
    pub covered: Covered,
    /// Users who were done before, if this run went on from an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_before: Option<u64>,
    /// What was done with the views.
    #[serde(flatten)]
    pub done: Rebuilt,
    /// Views without a log, which were deleted.
    pub swept: u64,
    /// What the verification afterwards found.
    pub verified: VerifyReport,
}

/// What the first part of a rebuild did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// What was read.
    pub covered: Covered,
    /// What was done with the views.
    pub done: Rebuilt,
}

/// What became of the users of a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rebuilt {
    /// Views made anew.
    pub written: u64,
    /// Users parked, because their log cannot be read.
    pub parked: u64,
    /// Users who have been erased: they have no view.
    pub erased: u64,
    /// Views left to the newer code that put them.
    pub of_higher_fold: u64,
    /// Views left as they are: they claim to show more than the log holds.
    pub beyond_log: u64,
    /// Views that others kept writing.
    pub overtaken: u64,
}

/// What a rebuild would find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DryRunReport {
    /// What was read.
    #[serde(flatten)]
    pub covered: Covered,
    /// How the views stand to the log.
    #[serde(flatten)]
    pub found: Findings,
    /// Views without a log.
    pub orphaned: u64,
}

impl Replay {
    /// Makes every view anew from the first commit, beside live traffic; deletes views without a log; verifies.
    ///
    /// Harmless if it is killed, run again, or run by two at once.
    pub async fn rebuild(
        &self,
        identifiers: &Identifiers,
        now: DateTime<Utc>,
    ) -> Result<RebuildReport, ReplayError> {
        let Renewed { covered, done } = self.renew(now).await?;
        let mut swept = 0;
        if self.whole {
            let mut pages = orphans(&self.model);
            while let Some(found) = pages.try_next().await? {
                for stored in found.views {
                    swept += u64::from(self.model.views.sweep(&stored).await? == Put::Written);
                }
            }
        }
        let verified = Box::pin(self.verify(identifiers)).await?;
        let done_before = self.done_before(Phase::Rebuild);
        Ok(RebuildReport { covered, done_before, done, swept, verified })
    }

    /// The first part of a rebuild: makes every view anew from the first commit, and looks at nothing afterwards.
    pub async fn renew(&self, now: DateTime<Utc>) -> Result<Renewed, ReplayError> {
        let terms = Terms { now, replacing_newer: self.replacing_newer };
        let pass = Arc::new(Rebuild { model: self.model.clone(), terms });
        let Counts { covered, done, .. } = self.over_log(Phase::Rebuild, Some(now), &pass).await?;
        Ok(Renewed { covered, done })
    }

    /// Says what a rebuild would find, and writes nothing.
    pub async fn dry_run(&self) -> Result<DryRunReport, ReplayError> {
        let pass = Arc::new(Comparison::only_looking(self.model.clone()));
        let Counts { covered, found, .. } = self.over_log(Phase::DryRun, None, &pass).await?;
        let mut orphaned = 0;
        if self.whole {
            let mut pages = orphans(&self.model);
            while let Some(found) = pages.try_next().await? {
                orphaned += found.views.len() as u64;
            }
        }
        Ok(DryRunReport { covered, found, orphaned })
    }
}

struct Rebuild {
    model: ReadModel,
    terms: Terms,
}

impl Pass for Rebuild {
    async fn page(&self, users: Vec<Scanned>) -> Result<Vec<Outcome>, Unavailable> {
        // The view is not even read, unless it refuses to be replaced.
        let replacing =
            if self.terms.replacing_newer { Replacing::OfAnyFold } else { Replacing::OlderOrEqual };
        stream::iter(users)
            .map(|scanned| self.model.settle_patiently(scanned, replacing.clone(), self.terms))
            .buffer_unordered(AT_ONCE)
            .map_ok(|settled| Outcome { settled: Some(settled), ..Outcome::default() })
            .try_collect()
            .await
    }
}

impl Rebuilt {
    pub(super) const fn add(&mut self, settled: Settled) {
        *match settled {
            Settled::NoLog => return,
            Settled::Written => &mut self.written,
            Settled::Parked => &mut self.parked,
            Settled::Erased => &mut self.erased,
            Settled::OfHigherFold => &mut self.of_higher_fold,
            Settled::BeyondLog => &mut self.beyond_log,
            Settled::Overtaken => &mut self.overtaken,
        } += 1;
    }
}
