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
        Ok(Self { store, passwords, tokens, issuer, clock, origin: None, clients: Clients::default() })
    }

    /// The same service, for these clients too.
    #[must_use]
    pub fn with_clients(self, clients: Clients) -> Self {
        Self { clients, ..self }
    }
}

/// A new id: a UUID of version 7 (RFC 9562, section 5.7), ordered by time.
pub(crate) fn new_id(now: DateTime<Utc>) -> Result<Uuid, Unspecified> {
    let mut random = [0; 10];
    rand::fill(&mut random)?;
    let millis = u64::try_from(now.timestamp_millis()).map_err(|_| Unspecified)?;
    Ok(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}
