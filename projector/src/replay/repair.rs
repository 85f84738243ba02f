use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::Version;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use storage::{Broken, Scanned, StoredView, Unavailable, View};

use super::checkpoint::{Counts, Outcome};
use super::rebuild::Rebuilt;
use super::standing::{Standing, Terms, replacing_of};
use super::{AT_ONCE, Covered, Findings, Pass, Phase, Replay, ReplayError};
use crate::ReadModel;

/// What a repair found and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// What was read, also by the run that this one went on from.
    #[serde(flatten)]
    pub covered: Covered,
    /// Users who were done before, if this run went on from an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_before: Option<u64>,
    /// How the views stood to the log.
    pub found: Findings,
    /// What was done about it.
    pub done: Rebuilt,
    /// Users who were still parked at the end, and need not be: they have no log, or it can be read by now. The log
    /// was mended behind this run, or behind the one that it went on from.
    pub freed: u64,
}

impl Replay {
    /// Brings up to date every view that is absent, behind, torn, of a lower fold number, or parked while its log can
    /// be read, and parks the users whose log cannot. Whoever is still parked at the end is tried once more. A view that
    /// says something else than the log is left to [`Replay::rebuild`]: it should not exist, and somebody should look
    /// at it.
    pub async fn repair(&self, now: DateTime<Utc>) -> Result<RepairReport, ReplayError> {
        let pass = Arc::new(Comparison { model: self.model.clone(), mending: Some(now) });
        let Counts { covered, found, done, .. } = self.over_log(Phase::Repair, Some(now), &pass).await?;
        let freed = if self.whole { self.retry_parked(now).await?.freed } else { 0 };
        Ok(RepairReport { covered, done_before: self.done_before(Phase::Repair), found, done, freed })
    }
}

/// Compares each view with the fold of its log, and mends it if told to.
pub(super) struct Comparison {
    model: ReadModel,
    /// At what time it mends; `None` if it only looks.
    mending: Option<DateTime<Utc>>,
}

impl Comparison {
    pub(super) const fn only_looking(model: ReadModel) -> Self {
        Self { model, mending: None }
    }

    async fn user(&self, mut scanned: Scanned, stored: StoredView) -> Result<Outcome, Unavailable> {
        let mut outcome = Outcome::default();
        let mend = match &mut scanned.outcome {
            Ok(snapshot) if snapshot.head.version == Version::NONE => return Ok(outcome),
            Ok(snapshot) => {
                let standing = self.model.standing(&stored, snapshot).await?;
                outcome.standing = Some(standing);
                match standing {
                    Standing::Absent
                    | Standing::Behind
                    | Standing::Torn
                    | Standing::Parked
                    | Standing::OfLowerFold => true,
                    Standing::Equal | Standing::Different | Standing::OfHigherFold | Standing::BeyondLog => {
                        false
                    }
                }
            }
            Err(Broken::Erased) => {
                outcome.erased = true;
                stored.view != View::Absent
            }
            Err(_) => {
                outcome.broken = true;
                true
            }
        };
        if let (true, Some(now)) = (mend, self.mending) {
            let terms = Terms { now, replacing_newer: false };
            let settled = self.model.settle_patiently(scanned, replacing_of(&stored), terms).await?;
            outcome.settled = Some(settled);
        }
        Ok(outcome)
    }
}

impl Pass for Comparison {
    async fn page(&self, users: Vec<Scanned>) -> Result<Vec<Outcome>, Unavailable> {
        let ids: Vec<_> = users.iter().map(|scanned| scanned.user).collect();
        let views = self.model.views.read_all(&ids, false).await?;
        stream::iter(users.into_iter().zip(views))
            .map(|(scanned, stored)| self.user(scanned, stored))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }
}
