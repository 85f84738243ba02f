use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use domain::{SessionId, UserId};

use super::{RefreshToken, SessionKeys};
use crate::items::{Item, b, n, number, octets, s, text};
use crate::keys::KeyId;
use crate::seal::Mac;

/// A live session, as a protected request needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The session.
    pub id: SessionId,
    /// When its user signed in; whole seconds. Refreshing does not renew it.
    pub auth_time: DateTime<Utc>,
}

/// The sort key of a session's row.
pub(crate) fn sort_key(session: SessionId) -> String {
    format!("session-{session}")
}

/// The row of a session. All of it is under one seal, so that a row which was made up or patched is none.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The key of the current token and of the seal.
    pub key: KeyId,
    pub generation: u32,
    /// The tag of the current token.
    pub token: [u8; 32],
    /// The tag of the token before, and when it was spent, in milliseconds since 1970.
    pub previous: Option<([u8; 32], i64)>,
    /// The tag of the `User-Agent` that got the current token.
    pub agent: [u8; 32],
    /// Seconds since 1970.
    pub auth_time: i64,
    /// When the session ends unless it is refreshed: seconds since 1970, and the table's TTL.
    pub expires: i64,
    seal: [u8; 32],
}

impl Row {
    pub(super) const UPDATE: &'static str = "SET #key = :key, #generation = :generation, #token = :token, \
        #previous = :previous, #rotated = :rotated, #agent = :agent, #expires = :expires, #seal = :seal";

    pub(super) fn names() -> HashMap<String, String> {
        ["key", "generation", "token", "previous", "rotated", "agent", "expires", "seal"]
            .into_iter()
            .map(|name| (format!("#{name}"), name.to_owned()))
            .collect()
    }

    /// The values of [`Row::UPDATE`].
    pub(super) fn values(&self) -> HashMap<String, AttributeValue> {
        self.changing().into_iter().map(|(name, value)| (format!(":{name}"), value)).collect()
    }

    fn changing(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = vec![
            ("key", s(self.key.as_str())),
            ("generation", n(self.generation)),
            ("token", b(self.token)),
            ("agent", b(self.agent)),
            ("expires", n(self.expires)),
            ("seal", b(self.seal)),
        ];
        if let Some((previous, rotated)) = self.previous {
            attributes.push(("previous", b(previous)));
            attributes.push(("rotated", n(rotated)));
        }
        attributes
    }

    pub(crate) fn into_item(self, user: UserId, session: SessionId) -> Item {
        let mut item: Item =
            self.changing().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        item.insert("user".into(), s(user.to_string()));
        item.insert("item".into(), s(sort_key(session)));
        item.insert("auth_time".into(), n(self.auth_time));
        item
    }

    pub(super) fn session_data(&self, session: SessionId) -> Session {
        Session { id: session, auth_time: DateTime::from_timestamp(self.auth_time, 0).unwrap_or_default() }
    }
}

impl SessionKeys {
    /// The row of a session whose current token this is. `None` if the token's key is gone.
    pub(super) fn row(
        &self,
        token: &RefreshToken,
        spent: Option<(Mac, DateTime<Utc>)>,
        agent: Option<&str>,
    ) -> Option<Row> {
        let Mac(tag) = self.stored_tag(token)?;
        let Mac(agent) = self.agent_tag(token.key(), token.session(), agent)?;
        let mut row = Row {
            key: token.key().clone(),
            generation: token.generation(),
            token: tag,
            previous: spent.map(|(Mac(tag), at)| (tag, at.timestamp_millis())),
            agent,
            auth_time: token.auth_time(),
            expires: token.expires(),
            seal: [0; 32],
        };
        let Mac(seal) = self.row_seal(token.user(), token.session(), &row)?;
        row.seal = seal;
        Some(row)
    }

    /// The row in an item, if its seal is ours.
    pub(super) fn open_row(&self, user: UserId, session: SessionId, item: &Item) -> Option<Row> {
        let fixed = |name| octets(item, name).ok().and_then(|octets| <[u8; 32]>::try_from(octets).ok());
        let previous = match (fixed("previous"), number(item, "rotated")) {
            (Some(tag), Ok(rotated)) => Some((tag, rotated)),
            _ => None,
        };
        let row = Row {
            key: KeyId::parse(text(item, "key").ok()?)?,
            generation: number(item, "generation").ok()?,
            token: fixed("token")?,
            previous,
            agent: fixed("agent")?,
            auth_time: number(item, "auth_time").ok()?,
            expires: number(item, "expires").ok()?,
            seal: fixed("seal")?,
        };
        (self.row_seal(user, session, &row)? == row.seal[..]).then_some(row)
    }

    /// A tag of the client's `User-Agent`, which is nobody's business in the table.
    pub(super) fn agent_tag(&self, key: &KeyId, session: SessionId, agent: Option<&str>) -> Option<Mac> {
        let agent = agent.unwrap_or_default().as_bytes();
        Some(self.mac(&self.get(key)?, "agent", &[session.as_bytes(), agent]))
    }

    fn row_seal(&self, user: UserId, session: SessionId, row: &Row) -> Option<Mac> {
        let (previous, rotated) = row.previous.unwrap_or(([0; 32], i64::MIN));
        let parts: &[&[u8]] = &[
            user.as_bytes(),
            session.as_bytes(),
            row.key.as_str().as_bytes(),
            &row.generation.to_be_bytes(),
            &row.token,
            &previous,
            &rotated.to_be_bytes(),
            &row.agent,
            &row.auth_time.to_be_bytes(),
            &row.expires.to_be_bytes(),
        ];
        Some(self.mac(&self.get(&row.key)?, "session row", parts))
    }
}
