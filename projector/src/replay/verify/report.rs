use domain::{UserId, Version};
use serde::Serialize;

use crate::replay::{Covered, ParkedUsers};

/// The most differences a report lists. All are counted.
pub(in crate::replay) const LISTED: usize = 1_000;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct VerifyReport {
    /// What was read.
    #[serde(flatten)]
    pub covered: Covered,
    /// How many differences there are.
    pub total: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// The users who are parked. Why they should not be, or why they have to be, is among the differences.
    #[serde(skip_serializing_if = "ParkedUsers::is_empty")]
    pub parked: ParkedUsers,
}

/// Where log, view and identifiers do not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Whose; `None` if that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// What.
    #[serde(flatten)]
    pub finding: Finding,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// The log cannot be read.
    LogBroken {
        /// The code of the damage.
        code: &'static str,
        /// The first commit that cannot be read, if it is known which.
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<Version>,
    },
    /// The user has a vault and no commit.
    VaultWithoutLog,
    /// An item of the events table belongs to nobody's log.
    LogItemMalformed,
    /// The log ends before the last commit that the view shows.
    LogEndsBeforeView {
        /// The last commit of the log.
        log: Version,
        /// The last commit of the view.
        view: Version,
    },
    /// The log is whole, and its commit that the view shows last is not the one that the view was made from: the log
    /// was cut off before it and went on another way.
    LogWentAnotherWay {
        /// The last commit of the log.
        log: Version,
        /// The last commit of the view.
        view: Version,
    },
    /// There is no view.
    ViewAbsent,
    /// The view is not brought up to date.
    ViewBehind {
        /// The last commit of the log.
        log: Version,
        /// The last commit of the view.
        view: Version,
    },
    /// The view says something else than the log.
    ViewDiffers,
    /// The view does not open.
    ViewTorn,
    /// The view is marked as parked, and the log can be read.
    ViewParked,
    /// The view was put by code of a lower fold number.
    ViewOfLowerFold,
    /// The view was put by code of a higher fold number, so this code cannot tell whether it is right.
    ViewOfHigherFold,
    /// There is a view and no log.
    ViewWithoutLog,
    /// There is a view of a user who has been erased.
    ViewOfErased,
    /// A view's key is no user id.
    ViewMalformed,
    /// The user's address leads to nobody.
    IdentifierMissing,
    /// The user's address leads to somebody else.
    IdentifierOfAnother {
        /// To whom.
        found: UserId,
    },
    /// An identifier leads to this user, and is not the one of their address.
    IdentifierWithoutUser,
    /// An identifier leads to nobody.
    IdentifierMalformed,
}

impl VerifyReport {
    /// Whether log, views and identifiers agree.
    pub const fn holds(&self) -> bool {
        self.total == 0
    }

    pub(super) fn add(&mut self, user: Option<UserId>, finding: Finding) {
        self.total += 1;
        if self.differences.len() < LISTED {
            self.differences.push(Difference { user, finding });
        }
    }
}
