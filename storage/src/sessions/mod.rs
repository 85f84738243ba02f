//! Sessions: one row each, with the tags of its refresh tokens and its ends; and the counts of guesses and of mails, and
//! the claims of mails, which lie beside them.

mod client;
mod device;
mod guesses;
mod list;
mod mail_claims;
pub(crate) mod mails;
mod row;
mod standing;
mod token;

use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{SessionId, UserId};

pub use client::ClientId;
pub use device::KnownDevice;
pub use guesses::{CountError, Counted, Guessed, Guesses};
pub use list::ListedSession;
pub(crate) use list::Origin;
pub(crate) use mail_claims::is_mail_claim;
pub use mail_claims::{Claimed, MailClaim, MailClaims};
pub use row::Session;
pub(crate) use row::{Row, sort_key};
pub use token::{RefreshToken, TokenError};

use crate::error::Unavailable;
use crate::items::{b, n, s};
use crate::keys::{KeyId, LiveRing, Secret};
use crate::log::key;
use crate::retry::Backoff;
use crate::seal::Mac;

/// How long sessions last.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// A session that is not refreshed ends after this.
    pub idle: TimeDelta,
    /// Every session ends after this.
    pub absolute: TimeDelta,
    /// For so long after its use, a spent token yields the same successor again to the same client.
    pub grace: Duration,
}

impl Default for Lifetimes {
    /// 7 days, 30 days, 10 seconds.
    fn default() -> Self {
        Self { idle: TimeDelta::days(7), absolute: TimeDelta::days(30), grace: Duration::from_secs(10) }
    }
}

/// What tags refresh tokens and rows of sessions.
#[derive(Debug, Clone)]
pub struct SessionKeys {
    deployment: String,
    ring: LiveRing<Secret>,
}

impl SessionKeys {
    /// The keys of this deployment.
    pub fn new(deployment: String, ring: impl Into<LiveRing<Secret>>) -> Self {
        Self { deployment, ring: ring.into() }
    }

    fn get(&self, id: &KeyId) -> Option<Secret> {
        self.ring.get(id)
    }
}

/// The sessions table.
#[derive(Debug, Clone)]
pub struct Sessions {
    pub(crate) client: Client,
    pub(crate) table: String,
    keys: SessionKeys,
    lifetimes: Lifetimes,
}

/// A session about to begin: its row goes into the transaction of the event that says so.
#[derive(Clone)]
pub struct NewSession {
    pub(crate) user: UserId,
    pub(crate) row: Row,
    /// The session.
    pub id: SessionId,
    /// When it ends at the latest; whole seconds.
    pub ends: DateTime<Utc>,
    /// Its first refresh token.
    pub token: String,
}

/// What came of presenting a refresh token.
pub enum Rotation {
    /// The token's successor, and the session it belongs to. The same within the grace, however often.
    Next {
        /// The new refresh token.
        token: String,
        /// The session.
        session: Session,
    },
    /// The token was spent before: somebody has a copy. The session must end.
    Reused,
    /// The session has ended.
    Ended,
}

impl fmt::Debug for NewSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSession").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next { token: _, session } => {
                f.debug_struct("Next").field("session", session).finish_non_exhaustive()
            }
            Self::Reused => f.write_str("Reused"),
            Self::Ended => f.write_str("Ended"),
        }
    }
}

/// A token to be spent, and what would take its place.
struct Step {
    spent: Mac,
    row: Row,
    next: Rotation,
}

impl Sessions {
    /// The table with its keys.
    pub const fn new(client: Client, table: String, keys: SessionKeys, lifetimes: Lifetimes) -> Self {
        Self { client, table, keys, lifetimes }
    }

    /// Prepares a session that begins now, with the `User-Agent` it is begun with, for Annals' own sign-in.
    pub fn begin(
        &self,
        user: UserId,
        id: SessionId,
        agent: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<NewSession, Unavailable> {
        self.begin_for(&ClientId::own(), user, id, agent, now)
    }

    /// Prepares a session that begins now, and whose tokens are issued to this client.
    pub fn begin_for(
        &self,
        client: &ClientId,
        user: UserId,
        id: SessionId,
        agent: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<NewSession, Unavailable> {
        let prepared = || {
            let secret = Secret::random().ok()?;
            let (key, _) = self.keys.ring.current();
            let ends = now + self.lifetimes.absolute;
            let idle = now + self.lifetimes.idle;
            let token = RefreshToken::first(key, user, id, now, ends, idle, &secret, client)?;
            let row = self.keys.row(&token, None, agent)?;
            Some(NewSession { user, row, id, ends: token.ends(), token: self.keys.write(&token)? })
        };
        prepared().ok_or_else(|| Unavailable::because("no random numbers, or a clock out of range"))
    }

    /// Reads a refresh token. Nothing is asked of any table: what we did not make does not get further.
    pub fn parse(&self, text: &str) -> Result<RefreshToken, TokenError> {
        self.keys.parse(text)
    }

    /// Spends a refresh token, in one conditional update.
    ///
    /// A lost answer does no harm: the successor follows from the token, so the row that stands in the way of the
    /// second try is recognised. All of the row that the token knows is part of the condition, so that patching a row
    /// gives a token no longer life.
    pub async fn rotate(
        &self,
        presented: &RefreshToken,
        agent: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Rotation, Unavailable> {
        let Some(step) = self.step(presented, agent, now) else { return Ok(Rotation::Ended) };
        let mut backoff = Backoff::new();
        let updated = loop {
            let updated = self.update(presented, &step, now).await;
            // The row is in somebody's transaction, such as a sign-out's. The SDK does not try again by itself.
            let conflict = updated.as_ref().is_err_and(|error| {
                error.as_service_error().is_some_and(UpdateItemError::is_transaction_conflict_exception)
            });
            if !conflict || !backoff.wait().await {
                break updated;
            }
        };
        let in_the_way = match updated {
            Ok(_) => return Ok(step.next),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => failed.item().cloned(),
                _ => return Err(error.into()),
            },
        };
        let Some(found) =
            in_the_way.and_then(|item| self.keys.open_row(presented.user(), presented.session(), &item))
        else {
            return Ok(Rotation::Ended);
        };
        if found.expires <= now.timestamp() {
            return Ok(Rotation::Ended);
        }
        Ok(self.again(presented, &found, &step, agent, now).unwrap_or(Rotation::Reused))
    }

    async fn update(
        &self,
        presented: &RefreshToken,
        step: &Step,
        now: DateTime<Utc>,
    ) -> Result<UpdateItemOutput, SdkError<UpdateItemError>> {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(presented.user(), &sort_key(presented.session()))))
            .update_expression(Row::UPDATE)
            .condition_expression(
                "#token = :spent AND #key = :spent_key AND #generation = :spent_generation \
                 AND #auth_time = :auth_time AND #expires = :spent_expires AND #expires > :now",
            )
            .set_expression_attribute_names(Some(Row::names()))
            .set_expression_attribute_values(Some(step.row.values()))
            .expression_attribute_names("#auth_time", "auth_time")
            .expression_attribute_values(":spent", b(step.spent.0))
            .expression_attribute_values(":spent_key", s(presented.key().as_str()))
            .expression_attribute_values(":spent_generation", n(presented.generation()))
            .expression_attribute_values(":auth_time", n(presented.auth_time()))
            .expression_attribute_values(":spent_expires", n(presented.expires()))
            .expression_attribute_values(":now", n(now.timestamp()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await
    }

    /// The successor given before, if this is the token it was given for, to the same client, and soon after; or if
    /// it was this very request that had it written.
    fn again(
        &self,
        presented: &RefreshToken,
        found: &Row,
        ours: &Step,
        agent: Option<&str>,
        now: DateTime<Utc>,
    ) -> Option<Rotation> {
        let (spent, rotated) = found.previous?;
        let same_request = found.token == ours.row.token && rotated == now.timestamp_millis();
        // A clock that runs behind the one that rotated sees a negative age: no reason for grace where there is none.
        let age = u128::try_from(now.timestamp_millis().saturating_sub(rotated)).unwrap_or(0);
        let within_grace = age < self.lifetimes.grace.as_millis();
        let same_client = self.keys.agent_tag(&found.key, presented.session(), agent)? == found.agent[..];
        if ours.spent != spent[..] || !same_client || !(same_request || within_grace) {
            return None;
        }
        let successor = self.keys.successor(presented, found.expires, &found.key)?;
        if self.keys.stored_tag(&successor)? != found.token[..] {
            return None;
        }
        Some(Rotation::Next { token: self.keys.write(&successor)?, session: successor.session_data() })
    }

    /// What spending a token would come to; `None` if its key is gone.
    fn step(&self, presented: &RefreshToken, agent: Option<&str>, now: DateTime<Utc>) -> Option<Step> {
        let expires = (now + self.lifetimes.idle).timestamp();
        let successor = self.keys.successor(presented, expires, &self.keys.ring.current().0)?;
        let spent = self.keys.stored_tag(presented)?;
        let row = self.keys.row(&successor, Some((spent, now)), agent)?;
        let token = self.keys.write(&successor)?;
        Some(Step { spent, row, next: Rotation::Next { token, session: successor.session_data() } })
    }

    /// Deletes a session's row, if there is one.
    pub(crate) async fn delete(&self, user: UserId, session: SessionId) -> Result<(), Unavailable> {
        self.client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(Self::key(user, session)))
            .send()
            .await?;
        Ok(())
    }

    /// The key of a session's row, for the transactions and batches that touch it.
    pub(crate) fn key(user: UserId, session: SessionId) -> crate::items::Item {
        key(user, &sort_key(session))
    }

    /// The live session in a row, if it is one of ours and has not ended.
    pub(crate) fn live(
        &self,
        user: UserId,
        session: SessionId,
        row: &crate::items::Item,
        now: DateTime<Utc>,
    ) -> Option<Session> {
        let row = self.keys.open_row(user, session, row)?;
        (row.expires > now.timestamp()).then(|| row.session_data(session))
    }
}
