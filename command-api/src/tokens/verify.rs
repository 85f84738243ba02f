use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{SessionId, UserId};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::access::TYPE;
use super::members::Members;

/// The longest token that is looked at, in octets; ours have some 600.
const MAX_OCTETS: usize = 4_096;

/// By how much clocks may differ, in seconds.
const LEEWAY_SECONDS: i64 = 60;

/// Header members that bring or point to a key, or change what the others mean. [RFC 7515, section 4.1; RFC 7797]
const REFUSED_MEMBERS: [&str; 8] = ["jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64"];

/// What a good token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Who bears it.
    pub user: UserId,
    /// The session it belongs to.
    pub session: SessionId,
    /// When the user last proved who they are.
    pub auth_time: DateTime<Utc>,
    /// When the token expires.
    pub expires: DateTime<Utc>,
}

/// What a good token says, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspected {
    /// Who bears it.
    pub bearer: Verified,
    /// The client that it was issued to.
    pub client: String,
    /// Its own id.
    pub id: String,
    /// When it was made.
    pub issued_at: DateTime<Utc>,
}

/// Why a token is not accepted. All of these look alike to its bearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than any token of ours.
    #[error("the token is too long")]
    TooLong,
    /// It is no JWS of two JSON objects with each member once, or a claim is missing or of another type.
    #[error("the token is malformed")]
    Malformed,
    /// Its header brings a key of its own, points to one, or asks for extensions.
    #[error("the token's header has members that are refused")]
    RefusedMember,
    /// It is not signed with ES256.
    #[error("the token is of another algorithm")]
    Algorithm,
    /// It is not an access token.
    #[error("the token is of another type")]
    Type,
    /// It names no key, or one that is not in the ring.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// Its signature is not of the key that it names.
    #[error("the token's signature is wrong")]
    Signature,
    /// It is of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is for another audience, or not for ours alone.
    #[error("the token is for another audience")]
    Audience,
    /// It was good until more than the leeway ago.
    #[error("the token has expired")]
    Expired,
    /// It was made, or becomes good, in more than the leeway from now.
    #[error("the token is not yet valid")]
    NotYetValid,
}

/// What it takes to verify tokens, besides the public keys, which come by `kid`: nothing secret.
pub(super) struct Verifier {
    /// Whose tokens are good.
    pub(super) issuer: String,
    /// For whom they must be.
    pub(super) audience: String,
}

impl Verifier {
    /// Nothing in the token is believed before its signature is verified, with the algorithm of the key and not of the
    /// header. [RFC 8725, section 3.1] The audience is ours alone, as a string: RFC 7519 has lists, too, but no token
    /// of ours carries one.
    pub(super) fn verify(
        &self,
        token: &str,
        keys: &BTreeMap<String, DecodingKey>,
        now: DateTime<Utc>,
    ) -> Result<Verified, TokenError> {
        self.judge(&Self::signed(token, keys)?, now)
    }

    /// As [`Verifier::verify`], with all that a token of ours says.
    pub(super) fn introspect(
        &self,
        token: &str,
        keys: &BTreeMap<String, DecodingKey>,
        now: DateTime<Utc>,
    ) -> Result<Introspected, TokenError> {
        let claims = Self::signed(token, keys)?;
        let bearer = self.judge(&claims, now)?;
        let said = || {
            Some(Introspected {
                bearer,
                client: claims.text("client_id")?.to_owned(),
                id: claims.text("jti")?.to_owned(),
                issued_at: DateTime::from_timestamp(claims.seconds("iat")?, 0)?,
            })
        };
        said().ok_or(TokenError::Malformed)
    }

    /// The claims of a token that we signed.
    fn signed(token: &str, keys: &BTreeMap<String, DecodingKey>) -> Result<Members, TokenError> {
        if token.len() > MAX_OCTETS {
            return Err(TokenError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if claims.contains('.') {
            return Err(TokenError::Malformed);
        }
        let key = named(&Members::decode(header).ok_or(TokenError::Malformed)?, keys)?;
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, Algorithm::ES256) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(TokenError::Signature),
        }
        Members::decode(claims).ok_or(TokenError::Malformed)
    }

    fn judge(&self, claims: &Members, now: DateTime<Utc>) -> Result<Verified, TokenError> {
        if claims.text("iss") != Some(&self.issuer) {
            return Err(TokenError::Issuer);
        }
        if claims.text("aud") != Some(&self.audience) {
            return Err(TokenError::Audience);
        }
        let seconds = |name| claims.seconds(name).ok_or(TokenError::Malformed);
        let (exp, iat, auth_time) = (seconds("exp")?, seconds("iat")?, seconds("auth_time")?);
        let nbf = if claims.has("nbf") { seconds("nbf")? } else { iat };
        if exp <= now.timestamp() - LEEWAY_SECONDS {
            return Err(TokenError::Expired);
        }
        if [iat, nbf, auth_time].iter().any(|time| *time > now.timestamp() + LEEWAY_SECONDS) {
            return Err(TokenError::NotYetValid);
        }
        let verified = || {
            Some(Verified {
                user: claims.text("sub")?.parse().ok()?,
                session: claims.text("sid")?.parse().ok()?,
                auth_time: DateTime::from_timestamp(auth_time, 0)?,
                expires: DateTime::from_timestamp(exp, 0)?,
            })
        };
        verified().ok_or(TokenError::Malformed)
    }
}

/// The key that a header names, if it is a header of an access token of ours and nothing more.
fn named<'a>(
    header: &Members,
    keys: &'a BTreeMap<String, DecodingKey>,
) -> Result<&'a DecodingKey, TokenError> {
    if REFUSED_MEMBERS.iter().any(|name| header.has(name)) {
        return Err(TokenError::RefusedMember);
    }
    if header.text("alg") != Some("ES256") {
        return Err(TokenError::Algorithm);
    }
    if header.text("typ") != Some(TYPE) {
        return Err(TokenError::Type);
    }
    header.text("kid").and_then(|id| keys.get(id)).ok_or(TokenError::UnknownKey)
}
