use chrono::{DateTime, Utc};
use domain::Version;
use serde::{Deserialize, Serialize};
use storage::{Broken, Put, Replacing, Scanned, Snapshot, StoredView, Unavailable, View};

use super::patiently;
use crate::ReadModel;

/// How often a document that keeps losing to others is folded again.
const TRIES: usize = 8;

/// How a view stands to the fold of its user's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Equal,
    Absent,
    Behind,
    Different,
    Torn,
    Parked,
    OfLowerFold,
    OfHigherFold,
    BeyondLog,
}

/// How the views stand to the folds of their users' logs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Findings {
    /// Views that are the fold of the log.
    pub equal: u64,
    /// Users without a view.
    pub absent: u64,
    /// Views of an earlier version.
    pub behind: u64,
    /// Views that open and say something else than the log.
    pub different: u64,
    /// Views that do not open.
    pub torn: u64,
    /// Views that are marked as parked, of users whose log can be read.
    pub parked: u64,
    /// Views put by code of a lower fold number.
    pub of_lower_fold: u64,
    /// Views put by code of a higher fold number; nothing here changes them.
    pub of_higher_fold: u64,
    /// Views that claim to show more than the log holds; nothing here changes them.
    pub beyond_log: u64,
    /// Logs that cannot be read.
    pub broken: u64,
    /// Users who have been erased.
    pub erased: u64,
}

/// What became of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Written,
    Parked,
    OfHigherFold,
    BeyondLog,
    /// The user has been erased, and has no view.
    Erased,
    /// The log has not begun.
    NoLog,
    /// Others kept writing the view, and so know more than was folded here.
    Overtaken,
}

/// On what terms views are put.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub now: DateTime<Utc>,
    /// Whether those of a higher fold number give way, too.
    pub replacing_newer: bool,
}

impl Standing {
    pub(super) fn of(stored: &StoredView, snapshot: &Snapshot, own_fold: u32) -> Self {
        let end = snapshot.head.version;
        match &stored.view {
            View::Torn(_) => Self::Torn,
            View::Foreign { fold, .. } if *fold > own_fold => Self::OfHigherFold,
            View::Foreign { version, .. } if *version > end => Self::BeyondLog,
            View::Of(view) if view.head.version > end => Self::BeyondLog,
            _ if stored.parked.is_some() => Self::Parked,
            View::Of(view) if view == snapshot => Self::Equal,
            View::Of(view) if view.head.version == end => Self::Different,
            View::Of(_) => Self::Behind,
            View::Foreign { fold, .. } if *fold < own_fold => Self::OfLowerFold,
            // Of the same fold and of no version: what a mark leaves when it is taken away.
            View::Foreign { .. } | View::Absent => Self::Absent,
        }
    }
}

impl Findings {
    pub(super) const fn add(&mut self, standing: Standing) {
        *match standing {
            Standing::Equal => &mut self.equal,
            Standing::Absent => &mut self.absent,
            Standing::Behind => &mut self.behind,
            Standing::Different => &mut self.different,
            Standing::Torn => &mut self.torn,
            Standing::Parked => &mut self.parked,
            Standing::OfLowerFold => &mut self.of_lower_fold,
            Standing::OfHigherFold => &mut self.of_higher_fold,
            Standing::BeyondLog => &mut self.beyond_log,
        } += 1;
    }
}

impl ReadModel {
    /// How a view stands to a scanned log that can be read, which is folded again if the view knows more: it may have
    /// been appended to since.
    pub(super) async fn standing(
        &self,
        stored: &StoredView,
        snapshot: &mut Snapshot,
    ) -> Result<Standing, Unavailable> {
        let standing = Standing::of(stored, snapshot, self.views.fold());
        if standing == Standing::BeyondLog
            && let Ok(now) = self.log.fold(stored.user).await?.outcome
        {
            *snapshot = now;
            return Ok(Standing::of(stored, snapshot, self.views.fold()));
        }
        Ok(standing)
    }

    /// Puts the fold of a log in place of the view, or parks the user; if somebody else is writing, with what they
    /// have read.
    pub(super) async fn settle(
        &self,
        mut scanned: Scanned,
        mut replacing: Replacing,
        Terms { now, replacing_newer }: Terms,
    ) -> Result<Settled, Unavailable> {
        let user = scanned.user;
        // Until the view has been read. A mark put since the log was scanned must stay.
        let mut marks = 0;
        for _ in 0..TRIES {
            match &scanned.outcome {
                Ok(snapshot) if snapshot.head.version == Version::NONE => return Ok(Settled::NoLog),
                Ok(snapshot) => {
                    let end = snapshot.head.version;
                    if self.views.put_after(user, snapshot, replacing, marks).await? == Put::Written {
                        if !replacing_newer {
                            return Ok(Settled::Written);
                        }
                        // Until now a projector has left this user to newer code, and counted the records of what was
                        // appended since the log was read as handled: nothing would come again.
                        scanned = self.log.fold(user).await?;
                        if scanned.outcome.as_ref().is_ok_and(|snapshot| snapshot.head.version == end) {
                            return Ok(Settled::Written);
                        }
                        replacing = Replacing::OlderOrEqual;
                        continue;
                    }
                }
                Err(Broken::Erased) => {
                    if self.views.sweep(&self.view(user, true).await?).await? == Put::Written {
                        return Ok(Settled::Erased);
                    }
                }
                Err(broken) => {
                    let stored = self.view(user, true).await?;
                    if matches!(&stored.view, View::Foreign { fold, .. } if *fold > self.views.fold()) {
                        return Ok(Settled::OfHigherFold);
                    }
                    if self.park(&stored, broken, now).await? == Put::Written {
                        return Ok(Settled::Parked);
                    }
                }
            }
            let stored = self.view(user, true).await?;
            marks = stored.marks;
            scanned = self.log.fold(user).await?;
            if let Ok(snapshot) = &scanned.outcome {
                match Standing::of(&stored, snapshot, self.views.fold()) {
                    Standing::OfHigherFold if replacing_newer => {
                        if matches!(stored.view, View::Foreign { version, .. } if version > snapshot.head.version)
                        {
                            return Ok(Settled::BeyondLog);
                        }
                        replacing = Replacing::OfAnyFold;
                        continue;
                    }
                    Standing::OfHigherFold => return Ok(Settled::OfHigherFold),
                    Standing::BeyondLog => return Ok(Settled::BeyondLog),
                    Standing::Equal
                    | Standing::Absent
                    | Standing::Behind
                    | Standing::Different
                    | Standing::Torn
                    | Standing::Parked
                    | Standing::OfLowerFold => {}
                }
            }
            replacing = replacing_of(&stored);
        }
        Ok(Settled::Overtaken)
    }

    /// The same, with patience.
    pub(super) async fn settle_patiently(
        &self,
        scanned: Scanned,
        replacing: Replacing,
        terms: Terms,
    ) -> Result<Settled, Unavailable> {
        patiently(|| self.settle(scanned.clone(), replacing.clone(), terms)).await
    }
}

/// What a document made from the first commit may replace, when this view is in its place.
pub(super) fn replacing_of(stored: &StoredView) -> Replacing {
    match &stored.view {
        View::Torn(torn) => Replacing::Torn(torn.clone()),
        View::Absent | View::Of(_) | View::Foreign { .. } => Replacing::OlderOrEqual,
    }
}
