use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::values::{CredentialId, DisplayName, Email, SessionId, Version};

/// The number of the folding code. It goes up whenever [`User::evolve`] or the form of [`User`] changes, so that
/// documents of another number are neither used nor overwritten by older code. `tests/golden/` holds its documents.
pub const FOLD: u32 = 2;

/// What a user's events add up to: the state that decisions rest on and the document of the read model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[expect(clippy::large_enum_variant, reason = "whoever is looked at is registered, with hardly an exception")]
pub enum User {
    /// No event yet.
    #[default]
    Unregistered,
    /// Registered, and able to sign in, unless the address was yielded to somebody else.
    Registered(Account),
}

/// A registered user.
///
/// Documents of one fold number have one form, so one with a field too many is refused, not read in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The address the user signs in with; `None` once it was yielded to somebody else.
    #[serde(deserialize_with = "Option::deserialize")]
    pub email: Option<Email>,
    /// Whether the user has shown that the address is theirs.
    pub email_verified: bool,
    /// The last change of address that was asked for, whether it waits for its token or has come about. It is forgotten
    /// with the next password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_change: Option<EmailChange>,
    /// The version with which the address last became another; `None` if it is the one that was registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_since: Option<Version>,
    /// What the user wants to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
    /// The verifier in the vault.
    pub credential: CredentialId,
    /// The sessions begun and not ended, oldest first; some may have reached their end by now.
    #[serde(with = "packed_sessions", default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<LiveSession>,
    /// The number of the last attempt in the user's own count that succeeded, or of the last before a reset, from which
    /// consecutive failures are counted.
    pub last_success: u64,
    /// Whether too many attempts have failed: no password is right until it is reset.
    #[serde(default, skip_serializing_if = "is_false")]
    pub password_disabled: bool,
    /// When the user registered.
    pub created_at: DateTime<Utc>,
    /// When the profile last changed.
    pub updated_at: DateTime<Utc>,
    /// The version at which the profile last changed.
    pub profile_version: Version,
}

/// A change of address that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailChange {
    /// The address that the user had when it was asked for.
    pub from: Email,
    /// The other address, which the token was sent to.
    pub to: Email,
    /// Until when the token is good; whole seconds.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub ends: DateTime<Utc>,
}

/// A session as the log knows it. That it has not been refreshed for too long only its row in the session table tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveSession {
    /// The session.
    pub id: SessionId,
    /// When it ends at the latest; whole seconds.
    pub ends: DateTime<Utc>,
}

impl User {
    /// The registered user, if there is one.
    pub const fn account(&self) -> Option<&Account> {
        match self {
            Self::Unregistered => None,
            Self::Registered(account) => Some(account),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Fifty sessions as one string of 30 characters each: half of what a list of objects takes, which is what keeps a
/// view within two write units.
mod packed_sessions {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use chrono::DateTime;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
    use uuid::Uuid;

    use super::LiveSession;
    use crate::values::SessionId;

    const ID: usize = 16;
    /// Seconds since 1970, signed, in six octets: more than chrono's times need.
    const ENDS: usize = 6;

    pub(super) fn serialize<S: Serializer>(
        sessions: &[LiveSession],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut packed = Vec::with_capacity(sessions.len() * (ID + ENDS));
        for session in sessions {
            packed.extend_from_slice(session.id.as_bytes());
            packed.extend_from_slice(&session.ends.timestamp().to_be_bytes()[8 - ENDS..]);
        }
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(packed))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<LiveSession>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let packed = URL_SAFE_NO_PAD.decode(text).map_err(D::Error::custom)?;
        let (records, rest) = packed.as_chunks::<{ ID + ENDS }>();
        if !rest.is_empty() {
            return Err(D::Error::custom("sessions are cut off"));
        }
        records
            .iter()
            .map(|record| {
                let (id, ends) = record.split_at(ID);
                let id = Uuid::from_slice(id).map_err(D::Error::custom)?;
                let sign = if ends.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
                let seconds = ends.iter().fold(sign, |sum, octet| (sum << 8) | i64::from(*octet));
                let ends = DateTime::from_timestamp(seconds, 0)
                    .ok_or_else(|| D::Error::custom("a session ends beyond time"))?;
                Ok(LiveSession { id: SessionId::new(id), ends })
            })
            .collect()
    }
}
