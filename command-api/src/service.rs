use std::fmt;
use std::str::FromStr;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use chrono::{DateTime, Utc};
use storage::Store;
use storage::keys::LiveKeys;
use uuid::{Builder, Uuid};

use crate::clients::Clients;
use crate::clock::Clock;
use crate::http::OriginSecret;
use crate::passwords::PasswordHasher;
use crate::tokens::{AccessTokens, SigningError};

/// The `client_id` of tokens that were issued to a password: Annals' own sign-in is the client.
const CLIENT_ID: &str = "annals";

/// What every route works with. Made once, at start.
pub struct Service {
    /// The tables.
    pub store: Store,
    /// The password hasher.
    pub passwords: PasswordHasher,
    /// Access tokens.
    pub tokens: AccessTokens,
    /// The URL of this service, as tokens name it: scheme and authority, without a slash behind.
    pub issuer: String,
    /// The time.
    pub clock: Clock,
    /// What requests prove with that they came through the edge; `None` if there is no edge.
    pub origin: Option<OriginSecret>,
    /// The OAuth clients.
    pub clients: Clients,
    /// Whether only those may sign in who have shown that their address is theirs.
    pub verification: Verification,
}

/// Whether users must show that their address is theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verification {
    /// They may, and sign in meanwhile.
    #[default]
    Optional,
    /// Nobody signs in before, a registration does not tell whether the address is taken, and who has not shown it after
    /// 24 hours yields the address to whoever registers it.
    Required,
}

impl Verification {
    const fn name(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that says neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be optional or required")]
pub struct VerificationError;

impl FromStr for Verification {
    type Err = VerificationError;

    fn from_str(text: &str) -> Result<Self, VerificationError> {
        [Self::Optional, Self::Required]
            .into_iter()
            .find(|verification| verification.name() == text)
            .ok_or(VerificationError)
    }
}

impl Service {
    /// A service at this URL, which is also the audience of its tokens.
    pub fn new(
        store: Store,
        passwords: PasswordHasher,
        keys: impl Into<LiveKeys>,
        issuer: String,
        clock: Clock,
    ) -> Result<Self, SigningError> {
        let tokens =
            AccessTokens::new(keys.into().signing, issuer.clone(), issuer.clone(), CLIENT_ID.to_owned())?;
        let (clients, verification) = (Clients::default(), Verification::default());
        Ok(Self { store, passwords, tokens, issuer, clock, origin: None, clients, verification })
    }

    /// The same service, for these clients too.
    #[must_use]
    pub fn with_clients(self, clients: Clients) -> Self {
        Self { clients, ..self }
    }

    /// The same service, where addresses have to be verified, or not.
    #[must_use]
    pub fn with_verification(self, verification: Verification) -> Self {
        Self { verification, ..self }
    }
}

/// A new id: a UUID of version 7 (RFC 9562, section 5.7), ordered by time.
pub(crate) fn new_id(now: DateTime<Utc>) -> Result<Uuid, Unspecified> {
    let mut random = [0; 10];
    rand::fill(&mut random)?;
    let millis = u64::try_from(now.timestamp_millis()).map_err(|_| Unspecified)?;
    Ok(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}
