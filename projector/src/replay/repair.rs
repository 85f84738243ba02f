use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use domain::Version;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use storage::{Scanned, StoredView, Unavailable};

use super::rebuild::Rebuilt;
use super::standing::{Standing, replacing_of};
use super::{AT_ONCE, Covered, Findings, Pass, Phase, Replay, ReplayError};
use crate::ReadModel;

/// What a repair found and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// What was read.
    #[serde(flatten)]
    pub covered: Covered,
    /// How the views stood to the log.
    pub found: Findings,
    /// What was done about it.
    pub done: Rebuilt,
    /// Marks of parking of users who have no log, which were deleted.
    pub freed: u64,
}

impl Replay {
    /// Brings up to date every view that is absent, behind, torn, of a lower fold number, or parked while its log can
    /// be read, and parks the users whose log cannot. Marks of users without a log are deleted. A view that says something else than the log is left to
    /// [`Replay::rebuild`]: it should not exist, and somebody should look at it.
    pub async fn repair(&self, now: DateTime<Utc>) -> Result<RepairReport, ReplayError> {
        let pass =
            Arc::new(Comparison { mending: Some(now), ..Comparison::only_looking(self.model.clone()) });
        let covered = self.over_log(Phase::Repair, &pass).await?;
        let freed = if self.whole { self.free_without_log().await? } else { 0 };
        let (found, done) = pass.found();
        Ok(RepairReport { covered, found, done, freed })
    }
}

/// Compares each view with the fold of its log, and mends it if told to.
pub(super) struct Comparison {
    model: ReadModel,
    /// At what time it mends; `None` if it only looks.
    mending: Option<DateTime<Utc>>,
    found: Mutex<(Findings, Rebuilt)>,
}

impl Comparison {
    pub(super) fn only_looking(model: ReadModel) -> Self {
        Self { model, mending: None, found: Mutex::default() }
    }

    pub(super) fn found(&self) -> (Findings, Rebuilt) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn user(&self, mut scanned: Scanned, stored: StoredView) -> Result<(), Unavailable> {
        let mend = match &mut scanned.outcome {
            Ok(snapshot) if snapshot.head.version == Version::NONE => return Ok(()),
            Ok(snapshot) => {
                let standing = self.model.standing(&stored, snapshot).await?;
                self.count(|(found, _)| found.add(standing));
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
            Err(_) => {
                self.count(|(found, _)| found.broken += 1);
                true
            }
        };
        if let (true, Some(now)) = (mend, self.mending) {
            let settled = self.model.settle_patiently(scanned, replacing_of(&stored), now).await?;
            self.count(|(_, done)| done.add(settled));
        }
        Ok(())
    }

    fn count(&self, count: impl FnOnce(&mut (Findings, Rebuilt))) {
        count(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Pass for Comparison {
    async fn page(&self, users: Vec<Scanned>) -> Result<(), Unavailable> {
        let ids: Vec<_> = users.iter().map(|scanned| scanned.user).collect();
        let views = self.model.views.read_all(&ids, false).await?;
        stream::iter(users.into_iter().zip(views))
            .map(|(scanned, stored)| self.user(scanned, stored))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }
}
