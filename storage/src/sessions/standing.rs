use chrono::{DateTime, Utc};
use domain::{SessionId, UserId};

use super::{RefreshToken, Row, Sessions};
use crate::error::Unavailable;
use crate::items::{Wanted, batch_get};

impl RefreshToken {
    /// When it stops being good, unless it is spent before; whole seconds.
    pub fn good_until(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.expires(), 0).unwrap_or_default()
    }

    /// When its user signed in; whole seconds.
    pub fn signed_in_at(&self) -> DateTime<Utc> {
        self.session_data().auth_time
    }
}

impl Sessions {
    /// Whether a session is alive: has been begun, has not ended, and was refreshed in time. Read consistently.
    pub async fn lives(
        &self,
        user: UserId,
        session: SessionId,
        now: DateTime<Utc>,
    ) -> Result<bool, Unavailable> {
        Ok(self.living_row(user, session, now).await?.is_some())
    }

    /// Whether this is the token that its session goes on with: not spent, and the session alive. Read consistently.
    pub async fn goes_on_with(&self, token: &RefreshToken, now: DateTime<Utc>) -> Result<bool, Unavailable> {
        let row = self.living_row(token.user(), token.session(), now).await?;
        let tag = self.keys.stored_tag(token);
        Ok(row.zip(tag).is_some_and(|(row, tag)| tag == row.token[..]))
    }

    async fn living_row(
        &self,
        user: UserId,
        session: SessionId,
        now: DateTime<Utc>,
    ) -> Result<Option<Row>, Unavailable> {
        let keys = vec![Self::key(user, session)];
        let wanted = Wanted { table: &self.table, keys, consistent: true };
        let mut found = batch_get(&self.client, vec![wanted]).await?;
        let row = found.remove(&self.table).and_then(|mut rows| rows.pop());
        let row = row.and_then(|row| self.keys.open_row(user, session, &row));
        Ok(row.filter(|row| row.expires > now.timestamp()))
    }
}
