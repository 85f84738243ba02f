use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use domain::{CredentialId, Email, UserId, Version};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::error::Unavailable;
use crate::keys::{KeyId, LiveRing, Secret};
use crate::seal::{Mac, mac};

/// Octets of the tag over what a token is bound to.
const BOUND: usize = 32;
/// Octets of the readable part: user, end, and the tag over what it is bound to.
const LENGTH: usize = 16 + ENDS + BOUND;
/// Octets of the end: seconds since 1970.
const ENDS: usize = 6;
/// Longer than any token, in octets.
const MAX: usize = 160;

/// What a one-time token is for. Of one purpose it is good for no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneTimePurpose {
    /// To set another password without the current one.
    PasswordReset,
    /// To show that the user's address is theirs.
    EmailVerification,
    /// To show that the address is the user's to which they want to change.
    EmailChange,
}

impl OneTimePurpose {
    const fn name(self) -> &'static str {
        match self {
            Self::PasswordReset => "reset",
            Self::EmailVerification => "verify",
            Self::EmailChange => "confirm",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::PasswordReset, Self::EmailVerification, Self::EmailChange]
            .into_iter()
            .find(|purpose| purpose.name() == name)
    }
}

/// What a token is bound to besides its user and its end. It is good only while the user's log says the same.
#[derive(Debug, Clone, Copy)]
pub enum Bound<'a> {
    /// Of a reset.
    PasswordReset {
        /// The user's address, to which the token goes.
        email: &'a Email,
        /// The user's verifier.
        credential: CredentialId,
        /// The version with which the address became the user's, unless they registered it: one that they left and came
        /// back to is another.
        since: Option<Version>,
    },
    /// Of a verification.
    EmailVerification {
        /// The user's address, to which the token goes.
        email: &'a Email,
        /// The user's verifier.
        credential: CredentialId,
    },
    /// Of a change of address.
    EmailChange {
        /// The user's address.
        from: &'a Email,
        /// The address that is to take its place, to which the token goes.
        to: &'a Email,
        /// The user's verifier.
        credential: CredentialId,
    },
}

impl Bound<'_> {
    /// What a token bound to this is for.
    pub const fn purpose(&self) -> OneTimePurpose {
        match self {
            Self::PasswordReset { .. } => OneTimePurpose::PasswordReset,
            Self::EmailVerification { .. } => OneTimePurpose::EmailVerification,
            Self::EmailChange { .. } => OneTimePurpose::EmailChange,
        }
    }
}

/// What tags one-time tokens.
#[derive(Debug, Clone)]
pub struct OneTimeKeys {
    deployment: String,
    ring: LiveRing<Secret>,
}

/// A genuine one-time token: made by us, for this deployment, and unchanged. Whether it is good still, its end and the
/// user's log tell.
///
/// Written as `key id.purpose.readable part.tag`; the readable part is the user, the end, and a tag over what the token
/// is bound to, which shows nothing of it. The tag at the end is over all of it, so that what we did not make is refused
/// before any table is read.
#[derive(Clone)]
pub struct OneTimeToken {
    purpose: OneTimePurpose,
    user: UserId,
    ends: i64,
    bound: [u8; BOUND],
    key: KeyId,
}

/// Why a text is no one-time token of ours for this purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OneTimeError {
    /// It does not have the form of one.
    #[error("not a one-time token")]
    Form,
    /// The key that it names is not ours, or no longer.
    #[error("made with an unknown key")]
    UnknownKey,
    /// Its tag is not ours.
    #[error("not made by this deployment")]
    Forged,
    /// It is for something else.
    #[error("made for another purpose")]
    OtherPurpose,
}

impl OneTimeToken {
    /// Whose token it is.
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// Whether it is past its end. It is good before the second in which it ends, and not in it.
    pub const fn has_ended(&self, now: DateTime<Utc>) -> bool {
        self.ends <= now.timestamp()
    }

    /// Whether this is its end, in whole seconds.
    pub const fn ends_at(&self, ends: DateTime<Utc>) -> bool {
        self.ends == ends.timestamp()
    }

    fn readable(&self) -> [u8; LENGTH] {
        let mut octets = [0; LENGTH];
        let (user, rest) = octets.split_at_mut(16);
        let (ends, bound) = rest.split_at_mut(ENDS);
        user.copy_from_slice(self.user.as_bytes());
        ends.copy_from_slice(&self.ends.to_be_bytes()[8 - ENDS..]);
        bound.copy_from_slice(&self.bound);
        octets
    }

    fn from_readable(key: KeyId, purpose: OneTimePurpose, octets: &[u8; LENGTH]) -> Option<Self> {
        let (user, rest) = octets.split_first_chunk::<16>()?;
        let (ends, bound) = rest.split_first_chunk::<ENDS>()?;
        Some(Self {
            purpose,
            user: UserId::new(Uuid::from_bytes(*user)),
            ends: ends.iter().fold(0, |sum, octet| (sum << 8) | i64::from(*octet)),
            bound: bound.try_into().ok()?,
            key,
        })
    }
}

/// Shows nothing that would help to make one.
impl fmt::Debug for OneTimeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneTimeToken")
            .field("purpose", &self.purpose)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl OneTimeKeys {
    /// The keys of this deployment.
    pub fn new(deployment: String, ring: impl Into<LiveRing<Secret>>) -> Self {
        Self { deployment, ring: ring.into() }
    }

    /// Makes a token, good before the second `ends`. The same of the same, as long as the ring has the same current key.
    ///
    /// # Errors
    /// [`Unavailable`] if the end lies before 1970, or more than four million years after it.
    pub fn make(
        &self,
        user: UserId,
        bound: &Bound<'_>,
        ends: DateTime<Utc>,
    ) -> Result<Zeroizing<String>, Unavailable> {
        let (id, secret) = &self.ring.current();
        let ends = ends.timestamp();
        if !(0..1 << (8 * ENDS - 1)).contains(&ends) {
            return Err(Unavailable::because("a one-time token ends out of all reason"));
        }
        let Mac(tag) = self.bound_tag((id, secret), user, ends, bound);
        let token = OneTimeToken { purpose: bound.purpose(), user, ends, bound: tag, key: id.clone() };
        let readable = token.readable();
        let Mac(tag) = self.tag((id, secret), token.purpose, &readable);
        Ok(Zeroizing::new(format!(
            "{}.{}.{}.{}",
            id.as_str(),
            token.purpose.name(),
            URL_SAFE_NO_PAD.encode(readable),
            URL_SAFE_NO_PAD.encode(tag)
        )))
    }

    /// Reads a token for this purpose. Nothing is asked of any table: what we did not make does not get further.
    pub fn parse(&self, text: &str, purpose: OneTimePurpose) -> Result<OneTimeToken, OneTimeError> {
        if text.len() > MAX {
            return Err(OneTimeError::Form);
        }
        let mut parts = text.split('.');
        let (Some(id), Some(name), Some(readable), Some(tag), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(OneTimeError::Form);
        };
        let id = KeyId::parse(id).ok_or(OneTimeError::Form)?;
        let found = OneTimePurpose::parse(name).ok_or(OneTimeError::Form)?;
        let readable: [u8; LENGTH] = decoded(readable)?;
        let tag: [u8; 32] = decoded(tag)?;
        let secret = self.ring.get(&id).ok_or(OneTimeError::UnknownKey)?;
        if self.tag((&id, &secret), found, &readable) != tag[..] {
            return Err(OneTimeError::Forged);
        }
        if found != purpose {
            return Err(OneTimeError::OtherPurpose);
        }
        OneTimeToken::from_readable(id, found, &readable).ok_or(OneTimeError::Form)
    }

    /// Whether a token is bound to this. Its end is for [`OneTimeToken::has_ended`] to tell.
    pub fn binds(&self, token: &OneTimeToken, bound: &Bound<'_>) -> bool {
        let Some(secret) = self.ring.get(&token.key) else { return false };
        token.purpose == bound.purpose()
            && self.bound_tag((&token.key, &secret), token.user, token.ends, bound) == token.bound[..]
    }

    fn tag(&self, key: (&KeyId, &Secret), purpose: OneTimePurpose, readable: &[u8]) -> Mac {
        self.mac(key, "one-time token", purpose, &[readable])
    }

    fn bound_tag(&self, key: (&KeyId, &Secret), user: UserId, ends: i64, bound: &Bound<'_>) -> Mac {
        let ends = ends.to_be_bytes();
        let bind = |also: &[&[u8]]| {
            self.mac(
                key,
                "one-time bound",
                bound.purpose(),
                &[&[user.as_bytes().as_slice(), ends.as_slice()], also].concat(),
            )
        };
        match bound {
            Bound::PasswordReset { email, credential, since: Some(since) } => {
                let since = since.number().to_be_bytes();
                bind(&[email.as_str().as_bytes(), credential.as_bytes(), since.as_slice()])
            }
            Bound::PasswordReset { email, credential, since: None }
            | Bound::EmailVerification { email, credential } => {
                bind(&[email.as_str().as_bytes(), credential.as_bytes()])
            }
            Bound::EmailChange { from, to, credential } => {
                bind(&[from.as_str().as_bytes(), credential.as_bytes(), to.as_str().as_bytes()])
            }
        }
    }

    fn mac(
        &self,
        (id, secret): (&KeyId, &Secret),
        label: &str,
        purpose: OneTimePurpose,
        parts: &[&[u8]],
    ) -> Mac {
        let context: &[&[u8]] =
            &[self.deployment.as_bytes(), id.as_str().as_bytes(), purpose.name().as_bytes()];
        mac(secret, label, &[context, parts].concat())
    }
}

/// So many octets, exactly, in the only spelling that they have.
fn decoded<const N: usize>(part: &str) -> Result<[u8; N], OneTimeError> {
    let octets = URL_SAFE_NO_PAD.decode(part).map_err(|_| OneTimeError::Form)?;
    octets.try_into().map_err(|_| OneTimeError::Form)
}
