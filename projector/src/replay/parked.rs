use domain::UserId;
use serde::Serialize;
use storage::{Parked, Unavailable};

use super::verify::LISTED;
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
            parked.users.extend(listed.map(|(user, Parked { since, reason })| ParkedUser {
                user,
                since,
                reason,
            }));
            match next {
                Some(next) => from = Some(next),
                None => return Ok(parked),
            }
        }
    }
}
