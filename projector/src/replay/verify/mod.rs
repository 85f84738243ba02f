//! Log, views and identifiers, held against one another while the system runs.

mod addresses;
mod report;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{UserId, Version};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use storage::{
    Broken, Identifiers, Moment, PastError, ReadError, Scanned, Snapshot, StoredView, Unavailable, View,
};
use tokio::time::{Instant, sleep};

pub(super) use report::LISTED;
pub use report::{Difference, Finding, VerifyReport};

use super::checkpoint::{Counts, Outcome};
use super::orphans::orphans;
use super::parked::ParkedUsers;
use super::standing::Standing;
use super::{AT_ONCE, Pass, Phase, Replay, ReplayError};
use crate::ReadModel;

/// How long the projector may take to bring a view up to date before the view is reported.
const PROJECTED_WITHIN: Duration = Duration::from_secs(2);
/// The first pause before a view is looked at again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

impl Replay {
    /// Compares the log with the views and, both ways, with the identifiers, while the system runs: what differs is
    /// read again, and the projector gets two seconds, before it is reported.
    pub async fn verify(&self, identifiers: &Identifiers) -> Result<VerifyReport, ReplayError> {
        let pass = Arc::new(Verify::of(self.model.clone(), Some(identifiers.clone())));
        let Counts { covered, .. } = self.over_log(Phase::Verify, None, &pass).await?;
        let mut parked = ParkedUsers::default();
        if self.whole {
            parked = ParkedUsers::of(&self.model).await?;
            let mut pages = orphans(&self.model);
            while let Some(found) = pages.try_next().await? {
                for stored in found.views {
                    pass.report(Some(stored.user), Finding::ViewWithoutLog);
                }
                for _ in 0..found.malformed {
                    pass.report(None, Finding::ViewMalformed);
                }
            }
            Box::pin(pass.every_identifier(identifiers)).await?;
        }
        let report = std::mem::take(&mut *pass.report.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(VerifyReport { covered, parked, ..report })
    }

    /// Compares the log with the views and with nothing else, in the same way, so that it can go on from a checkpoint:
    /// for processes that share the work. Of what it finds, the checkpoints have the number, and each stands in the log
    /// of the process.
    pub async fn verify_views(&self, now: DateTime<Utc>) -> Result<(), ReplayError> {
        let pass = Arc::new(Verify::of(self.model.clone(), None));
        self.over_log(Phase::Verify, Some(now), &pass).await?;
        Ok(())
    }
}

struct Verify {
    model: ReadModel,
    /// `None` if addresses are not looked at.
    identifiers: Option<Identifiers>,
    report: Mutex<VerifyReport>,
    /// What was reported since the last page.
    outcomes: Mutex<Vec<Outcome>>,
}

/// A user whose view and log do not agree yet.
struct Suspect {
    stored: StoredView,
    snapshot: Snapshot,
    /// Where the log ended at the first look.
    seen: Version,
}

impl Pass for Verify {
    async fn page(&self, users: Vec<Scanned>) -> Result<Vec<Outcome>, Unavailable> {
        let mut begun = Vec::with_capacity(users.len());
        for Scanned { user, outcome, events: _ } in users {
            match outcome {
                Ok(snapshot) if snapshot.head.version == Version::NONE => {
                    if self.model.log.is_vault_alone(user).await? {
                        self.report(Some(user), Finding::VaultWithoutLog);
                    }
                }
                Ok(snapshot) => begun.push((user, snapshot)),
                Err(Broken::Erased) => {
                    if self.model.view(user, true).await?.view != View::Absent {
                        self.report(Some(user), Finding::ViewOfErased);
                    }
                }
                Err(broken) => self.report_broken(user, &broken),
            }
        }
        let ids: Vec<_> = begun.iter().map(|(user, _)| *user).collect();
        let views = self.model.views.read_all(&ids, false).await?;
        if let Some(identifiers) = &self.identifiers {
            self.addresses_of(identifiers, &begun).await?;
        }
        let suspects = begun
            .into_iter()
            .zip(views)
            .map(|((_, snapshot), stored)| Suspect { stored, seen: snapshot.head.version, snapshot })
            .filter(|suspect| suspect.standing(&self.model) != Standing::Equal)
            .collect();
        self.look_again(suspects).await?;
        Ok(std::mem::take(&mut *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn strays(&self, number: u64) {
        for _ in 0..number {
            self.report(None, Finding::LogItemMalformed);
        }
    }
}

impl Suspect {
    fn standing(&self, model: &ReadModel) -> Standing {
        Standing::of(&self.stored, &self.snapshot, model.views.fold())
    }
}

impl Verify {
    fn of(model: ReadModel, identifiers: Option<Identifiers>) -> Self {
        Self { model, identifiers, report: Mutex::default(), outcomes: Mutex::default() }
    }

    fn report(&self, user: Option<UserId>, finding: Finding) {
        tracing::warn!(user = user.map(tracing::field::display), ?finding, "log and read model differ");
        let broken = matches!(finding, Finding::LogBroken { .. });
        let outcome = Outcome { difference: true, broken, ..Outcome::default() };
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
        self.report.lock().unwrap_or_else(PoisonError::into_inner).add(user, finding);
    }

    fn report_broken(&self, user: UserId, broken: &Broken) {
        let finding = Finding::LogBroken { code: broken.code(), version: broken.version() };
        self.report(Some(user), finding);
    }

    /// Reads views and logs again, consistently and in this order, until they agree, or cannot come to, or the
    /// projector has had its time.
    async fn look_again(&self, mut suspects: Vec<Suspect>) -> Result<(), Unavailable> {
        let deadline = Instant::now() + PROJECTED_WITHIN;
        let mut pause = FIRST_PAUSE;
        while !suspects.is_empty() {
            let ids: Vec<_> = suspects.iter().map(|suspect| suspect.stored.user).collect();
            let views = self.model.views.read_all(&ids, true).await?;
            let read: Vec<Option<Suspect>> = stream::iter(suspects.into_iter().zip(views))
                .map(|(suspect, stored)| self.read_on(Suspect { stored, ..suspect }))
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?;
            let in_time = Instant::now() < deadline;
            suspects = Vec::new();
            for suspect in read.into_iter().flatten() {
                let user = Some(suspect.stored.user);
                let log = suspect.snapshot.head.version;
                let standing = suspect.standing(&self.model);
                match standing {
                    Standing::Equal => continue,
                    Standing::Absent | Standing::Behind | Standing::OfLowerFold if in_time => {
                        suspects.push(suspect);
                        continue;
                    }
                    Standing::Absent
                    | Standing::Behind
                    | Standing::OfLowerFold
                    | Standing::OfHigherFold
                    | Standing::Different
                    | Standing::Torn
                    | Standing::Parked
                    | Standing::BeyondLog => {}
                }
                if let Some(finding) = self.in_its_own_time(&suspect).await? {
                    self.report(user, finding);
                    continue;
                }
                let finding = match standing {
                    Standing::Equal => continue,
                    // It shows all that there was at the first look; the log grows faster than anybody looks.
                    Standing::Behind if shown(&suspect.stored) >= suspect.seen => continue,
                    Standing::Absent => Finding::ViewAbsent,
                    Standing::Behind => Finding::ViewBehind { log, view: shown(&suspect.stored) },
                    Standing::OfLowerFold => Finding::ViewOfLowerFold,
                    Standing::OfHigherFold => Finding::ViewOfHigherFold,
                    Standing::Different => Finding::ViewDiffers,
                    Standing::Torn => Finding::ViewTorn,
                    Standing::Parked => Finding::ViewParked,
                    Standing::BeyondLog => Finding::LogEndsBeforeView { log, view: shown(&suspect.stored) },
                };
                self.report(user, finding);
            }
            if !suspects.is_empty() {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        Ok(())
    }

    /// What is wrong with a view if it is held against the log as of the version that it shows.
    async fn in_its_own_time(&self, suspect: &Suspect) -> Result<Option<Finding>, Unavailable> {
        let View::Of(view) = &suspect.stored.view else { return Ok(None) };
        let (log, shown) = (suspect.snapshot.head.version, view.head.version);
        match self.model.log.as_of(suspect.stored.user, Moment::Version(shown)).await {
            Ok(past) if past.snapshot.head != view.head => {
                Ok(Some(Finding::LogWentAnotherWay { log, view: shown }))
            }
            Ok(past) if past.snapshot != *view => Ok(Some(Finding::ViewDiffers)),
            Err(PastError::Unavailable(error)) => Err(error),
            // It may end before the view, or have been broken this very moment: that is another finding.
            Ok(_)
            | Err(
                PastError::NoLog
                | PastError::NoSuchVersion
                | PastError::BeyondEnd(_)
                | PastError::BeforeAll(_)
                | PastError::Broken(_),
            ) => Ok(None),
        }
    }

    /// Brings a fold up to the end of the log as it is after its view was read. `None` if it turns out to be broken.
    async fn read_on(&self, mut suspect: Suspect) -> Result<Option<Suspect>, Unavailable> {
        match self.model.log.advance(suspect.stored.user, &mut suspect.snapshot, None).await {
            Ok(_) => Ok(Some(suspect)),
            Err(ReadError::Unavailable(error)) => Err(error),
            Err(ReadError::Broken(broken)) => {
                self.report_broken(suspect.stored.user, &broken);
                Ok(None)
            }
        }
    }
}

fn shown(stored: &StoredView) -> Version {
    match &stored.view {
        View::Of(snapshot) => snapshot.head.version,
        View::Foreign { version, .. } => *version,
        View::Absent | View::Torn(_) => Version::NONE,
    }
}
