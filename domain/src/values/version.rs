use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of commits in a user's log, which is also the number of the last one. Dense: there is a commit for
/// every number from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Version(u64);

impl Version {
    /// Before the first commit.
    pub const NONE: Self = Self(0);
    /// The greatest version: commits are numbered with ten digits.
    pub const MAX: Self = Self(9_999_999_999);

    /// The version with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The version one commit later.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
