use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use domain::{SessionId, UserId};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::row::Session;
use super::{ClientId, SessionKeys};
use crate::keys::{KeyId, Secret};
use crate::seal::{Mac, mac};

/// Octets of the readable part: user, session, generation, sign-in, absolute end, idle end, secret. Behind them stands
/// the client, unless it is Annals' own sign-in.
const LENGTH: usize = 16 + 16 + 4 + 3 * 6 + 32;
/// Longer than any token, in octets.
const MAX: usize = 256;

/// A genuine refresh token: made by us, for this deployment, and unchanged. Whether it is spent, the session's row
/// tells.
///
/// Written as `key id.readable part.tag`. The readable part carries the session's times, so that spending a token
/// needs nothing to be read first.
#[derive(Clone)]
pub struct RefreshToken {
    user: UserId,
    session: SessionId,
    generation: u32,
    auth_time: i64,
    ends: i64,
    expires: i64,
    secret: Secret,
    client: ClientId,
    key: KeyId,
}

/// Why a text is no refresh token of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not have the form of one.
    #[error("not a refresh token")]
    Form,
    /// The key that it names is not ours, or no longer.
    #[error("made with an unknown key")]
    UnknownKey,
    /// Its tag is not ours.
    #[error("not made by this deployment")]
    Forged,
}

impl RefreshToken {
    /// The first token of a session; `None` if a time is before 1970 or out of all reason.
    #[expect(clippy::too_many_arguments, reason = "what a token consists of")]
    pub(super) fn first(
        key: KeyId,
        user: UserId,
        session: SessionId,
        auth_time: DateTime<Utc>,
        ends: DateTime<Utc>,
        expires: DateTime<Utc>,
        secret: &Secret,
        client: &ClientId,
    ) -> Option<Self> {
        let in_range = |time: DateTime<Utc>| {
            let seconds = time.timestamp();
            (0..1 << 47).contains(&seconds).then_some(seconds)
        };
        let ends = in_range(ends)?;
        Some(Self {
            user,
            session,
            generation: 0,
            auth_time: in_range(auth_time)?,
            ends,
            expires: in_range(expires)?.min(ends),
            secret: secret.clone(),
            client: client.clone(),
            key,
        })
    }

    /// Whose session it belongs to.
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// The session it belongs to.
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// The client that it was issued to.
    pub const fn client(&self) -> &ClientId {
        &self.client
    }

    /// The id of the key it was made with.
    pub(super) const fn key(&self) -> &KeyId {
        &self.key
    }

    pub(super) const fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) const fn expires(&self) -> i64 {
        self.expires
    }

    pub(super) const fn auth_time(&self) -> i64 {
        self.auth_time
    }

    pub(super) fn ends(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.ends, 0).unwrap_or_default()
    }

    pub(super) fn session_data(&self) -> Session {
        Session {
            id: self.session,
            auth_time: DateTime::from_timestamp(self.auth_time, 0).unwrap_or_default(),
        }
    }

    fn readable(&self) -> Zeroizing<Vec<u8>> {
        let mut octets = Zeroizing::new(Vec::with_capacity(LENGTH));
        octets.extend_from_slice(self.user.as_bytes());
        octets.extend_from_slice(self.session.as_bytes());
        octets.extend_from_slice(&self.generation.to_be_bytes());
        for seconds in [self.auth_time, self.ends, self.expires] {
            octets.extend_from_slice(&seconds.to_be_bytes()[2..]);
        }
        octets.extend_from_slice(self.secret.expose());
        if !self.client.is_own() {
            octets.extend_from_slice(self.client.as_str().as_bytes());
        }
        octets
    }

    fn from_readable(key: KeyId, octets: &[u8]) -> Option<Self> {
        let (octets, client) = octets.split_first_chunk::<LENGTH>()?;
        let client = match client {
            [] => ClientId::own(),
            id => str::from_utf8(id).ok().and_then(ClientId::parse).filter(|id| !id.is_own())?,
        };
        let (user, rest) = octets.split_first_chunk::<16>()?;
        let (session, rest) = rest.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        let (times, secret) = rest.split_at_checked(18)?;
        let mut seconds = times
            .chunks_exact(6)
            .map(|six| six.iter().fold(0_i64, |sum, octet| (sum << 8) | i64::from(*octet)));
        Some(Self {
            user: UserId::new(Uuid::from_bytes(*user)),
            session: SessionId::new(Uuid::from_bytes(*session)),
            generation: u32::from_be_bytes(*generation),
            auth_time: seconds.next()?,
            ends: seconds.next()?,
            expires: seconds.next()?,
            secret: Secret::new(secret.try_into().ok()?),
            client,
            key,
        })
    }
}

impl SessionKeys {
    /// Writes a token; `None` if its key is gone.
    pub(super) fn write(&self, token: &RefreshToken) -> Option<String> {
        let readable = token.readable();
        let id = token.key.as_str();
        let Mac(tag) = self.mac(&self.get(&token.key)?, "refresh token", &[id.as_bytes(), &readable]);
        Some(format!("{id}.{}.{}", URL_SAFE_NO_PAD.encode(&readable), URL_SAFE_NO_PAD.encode(tag)))
    }

    pub(super) fn parse(&self, text: &str) -> Result<RefreshToken, TokenError> {
        if text.len() > MAX {
            return Err(TokenError::Form);
        }
        let mut parts = text.split('.');
        let (Some(id), Some(readable), Some(tag), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Form);
        };
        let id = KeyId::parse(id).ok_or(TokenError::Form)?;
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map(Zeroizing::new).map_err(|_| TokenError::Form);
        let (readable, tag) = (decode(readable)?, decode(tag)?);
        let secret = self.get(&id).ok_or(TokenError::UnknownKey)?;
        if self.mac(&secret, "refresh token", &[id.as_str().as_bytes(), &readable]) != tag[..] {
            return Err(TokenError::Forged);
        }
        RefreshToken::from_readable(id, &readable).ok_or(TokenError::Form)
    }

    /// The token that follows a presented one, made with the key of this id. `None` when a key is gone.
    pub(super) fn successor(
        &self,
        presented: &RefreshToken,
        expires: i64,
        made_with: &KeyId,
    ) -> Option<RefreshToken> {
        let Mac(secret) = self.mac(&self.get(&presented.key)?, "successor", &[&presented.readable()]);
        Some(RefreshToken {
            generation: presented.generation.checked_add(1)?,
            expires: expires.min(presented.ends),
            secret: Secret::new(secret),
            key: made_with.clone(),
            ..presented.clone()
        })
    }

    /// What the table keeps of a token: a tag over all of it, by which it is recognised and from which it cannot be
    /// made. `None` if its key is gone.
    pub(super) fn stored_tag(&self, token: &RefreshToken) -> Option<Mac> {
        let parts: &[&[u8]] = &[token.key.as_str().as_bytes(), &token.readable()];
        Some(self.mac(&self.get(&token.key)?, "stored token", parts))
    }

    pub(super) fn mac(&self, key: &Secret, label: &str, parts: &[&[u8]]) -> Mac {
        let deployment: &[&[u8]] = &[self.deployment.as_bytes()];
        mac(key, label, &[deployment, parts].concat())
    }
}
