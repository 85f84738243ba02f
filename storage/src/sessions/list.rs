use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::{SessionId, UserId};
use serde::{Deserialize, Serialize};

use super::{Session, Sessions, sort_key};
use crate::error::Unavailable;
use crate::items::{Item, Wanted, batch_get, octets, text};
use crate::keys::KeyId;
use crate::seal::{Binding, Purpose, open, seal, user_key};

/// So much of a `User-Agent` is kept with a session, in octets: a row stays within one write unit.
const MAX_AGENT: usize = 256;

/// Where a session was begun from: personal, and so sealed in its row.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Origin<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<&'a str>,
}

#[derive(Default, Deserialize)]
struct StoredClient {
    agent: Option<String>,
    address: Option<String>,
}

/// A live session, as its user is shown it.
#[derive(Clone, PartialEq, Eq)]
pub struct ListedSession {
    /// The session.
    pub session: Session,
    /// The `User-Agent` it was begun with, as far as it was kept.
    pub agent: Option<String>,
    /// The network address it was begun from.
    pub address: Option<String>,
    /// When it was last refreshed; `None` if never.
    pub refreshed: Option<DateTime<Utc>>,
    /// When it ends unless it is refreshed; whole seconds.
    pub expires: DateTime<Utc>,
}

/// Without the network address and the `User-Agent`, which are personal.
impl std::fmt::Debug for ListedSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListedSession").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Sessions {
    /// Those of these sessions that are alive, in the same order; read consistently.
    pub async fn alive(
        &self,
        user: UserId,
        sessions: &[SessionId],
        now: DateTime<Utc>,
    ) -> Result<Vec<ListedSession>, Unavailable> {
        let keys = sessions.iter().map(|session| Self::key(user, *session)).collect();
        let wanted = Wanted { table: &self.table, keys, consistent: true };
        let mut found = batch_get(&self.client, vec![wanted]).await?;
        let rows = found.remove(&self.table).unwrap_or_default();
        let rows: HashMap<String, Item> =
            rows.into_iter().filter_map(|row| Some((text(&row, "item").ok()?.to_owned(), row))).collect();
        let listed = sessions.iter().filter_map(|session| {
            let row = rows.get(&sort_key(*session))?;
            self.listed(user, *session, row, now)
        });
        Ok(listed.collect())
    }

    fn listed(
        &self,
        user: UserId,
        session: SessionId,
        item: &Item,
        now: DateTime<Utc>,
    ) -> Option<ListedSession> {
        let row = self.keys.open_row(user, session, item)?;
        if row.expires <= now.timestamp() {
            return None;
        }
        let StoredClient { agent, address } = self.open_client(user, session, item);
        Some(ListedSession {
            session: row.session_data(session),
            agent,
            address,
            refreshed: row.previous.and_then(|(_, rotated)| DateTime::from_timestamp_millis(rotated)),
            expires: DateTime::from_timestamp(row.expires, 0)?,
        })
    }

    /// Seals where a session is begun from, for its row. A seal of its own, bound to the session: the row's is made anew
    /// by every refresh, which knows nothing of the client and reads nothing first.
    pub(crate) fn seal_client(
        &self,
        user: UserId,
        session: SessionId,
        client: &Origin<'_>,
    ) -> Result<Vec<u8>, Unavailable> {
        let agent = client.agent.map(|agent| &agent[..agent.floor_char_boundary(MAX_AGENT)]);
        let plain = serde_json::to_vec(&Origin { agent, ..*client });
        let plain = plain.map_err(|error| Unavailable(Box::new(error)))?;
        let (id, key) = self.keys.ring.current();
        let key = user_key(&key, Purpose::Client, user)?;
        Ok(seal((&id, &key), &self.client_binding(user, &sort_key(session)), &plain)?)
    }

    /// Where a session was begun from; nothing for rows of before this was kept, and for what does not open.
    fn open_client(&self, user: UserId, session: SessionId, item: &Item) -> StoredClient {
        let Ok(sealed) = octets(item, "client") else { return StoredClient::default() };
        let key = |id: &KeyId| user_key(&self.keys.get(id)?, Purpose::Client, user).ok();
        let opened = open(sealed, key, &self.client_binding(user, &sort_key(session)));
        opened.ok().and_then(|plain| serde_json::from_slice(&plain).ok()).unwrap_or_default()
    }

    fn client_binding<'a>(&'a self, user: UserId, item: &'a str) -> Binding<'a> {
        Binding { deployment: &self.keys.deployment, purpose: Purpose::Client, user, item, also: &[] }
    }
}
