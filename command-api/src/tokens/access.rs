use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{SessionId, UserId};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;
use storage::keys::{KeyId, LiveRing, Ring, SigningSecret};
use uuid::Uuid;

use super::verify::{Introspected, TokenError, Verified, Verifier};

/// The media type of an access token, as its header says it. [RFC 9068, section 2.1]
pub(super) const TYPE: &str = "at+jwt";

/// How long an access token is good, in seconds: the `expires_in` of an answer.
pub const LIFETIME_SECONDS: i64 = 900;

/// How long a key is published after another one took its place: processes that have not read the ring again sign with it
/// for five minutes, and their tokens are good for [`LIFETIME_SECONDS`] and the leeway of whoever verifies them.
const PUBLISHED_FOR: TimeDelta = TimeDelta::minutes(21);

/// Why tokens cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A key in the ring is no P-256 key pair.
    #[error("the signing key {} is not a P-256 key pair", .0.as_str())]
    Key(KeyId, #[source] jsonwebtoken::errors::Error),
    /// A token could not be signed.
    #[error("the token cannot be signed")]
    Token(#[source] jsonwebtoken::errors::Error),
}

/// What an access token says about its bearer.
#[derive(Debug, Clone, Copy)]
pub struct AccessClaims {
    /// Who bears it.
    pub user: UserId,
    /// The session it belongs to, and ends with.
    pub session: SessionId,
    /// When the user last proved who they are; refreshing does not renew it.
    pub auth_time: DateTime<Utc>,
    /// When the token is made.
    pub issued_at: DateTime<Utc>,
    /// The token's own id, never used twice.
    pub token: Uuid,
}

/// Issues and verifies access tokens.
pub struct AccessTokens {
    signing: LiveRing<SigningSecret>,
    prepared: ArcSwap<Prepared>,
    client_id: String,
    verifier: Verifier,
}

/// The keys of a ring as they are used.
struct Prepared {
    /// What they were made of.
    ring: Arc<Ring<SigningSecret>>,
    keys: BTreeMap<String, DecodingKey>,
    /// The public keys, each with the time until which it is published.
    jwks: Vec<(Jwk, Option<DateTime<Utc>>)>,
}

/// The claims as they stand in the token. [RFC 9068, section 2.2]
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: UserId,
    aud: &'a str,
    exp: i64,
    iat: i64,
    jti: Uuid,
    client_id: &'a str,
    sid: SessionId,
    auth_time: i64,
}

impl AccessTokens {
    /// Tokens of this issuer for this audience and client: signed with the current key of the ring, verified with any.
    pub fn new(
        signing: impl Into<LiveRing<SigningSecret>>,
        issuer: String,
        audience: String,
        client_id: String,
    ) -> Result<Self, SigningError> {
        let signing = signing.into();
        let prepared = ArcSwap::from_pointee(Prepared::of(signing.load())?);
        Ok(Self { signing, prepared, client_id, verifier: Verifier { issuer, audience } })
    }

    /// The keys of the ring as it is now. Those that were prepared stay if it holds one that cannot be used.
    fn prepared(&self) -> Arc<Prepared> {
        let ring = self.signing.load();
        let prepared = self.prepared.load_full();
        if Arc::ptr_eq(&prepared.ring, &ring) {
            return prepared;
        }
        match Prepared::of(ring) {
            Ok(anew) => {
                let anew = Arc::new(anew);
                self.prepared.store(Arc::clone(&anew));
                anew
            }
            Err(error) => {
                tracing::error!(%error, "the signing keys could not be prepared; the old ones stay");
                prepared
            }
        }
    }

    /// A new token for the client of these tokens, good for [`LIFETIME_SECONDS`].
    pub fn issue(&self, claims: &AccessClaims) -> Result<String, SigningError> {
        self.issue_to(&self.client_id, claims)
    }

    /// A new token for this client, good for [`LIFETIME_SECONDS`].
    pub fn issue_to(&self, client: &str, claims: &AccessClaims) -> Result<String, SigningError> {
        let issued_at = claims.issued_at.timestamp();
        let claims = Claims {
            iss: &self.verifier.issuer,
            sub: claims.user,
            aud: &self.verifier.audience,
            exp: issued_at + LIFETIME_SECONDS,
            iat: issued_at,
            jti: claims.token,
            client_id: client,
            sid: claims.session,
            auth_time: claims.auth_time.timestamp(),
        };
        let (id, secret) = self.signing.current();
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(id.as_str().to_owned());
        let key = EncodingKey::from_ec_der(secret.expose_pkcs8());
        jsonwebtoken::encode(&header, &claims, &key).map_err(SigningError::Token)
    }

    /// Who bears a token, if it is one of ours and good now. Whether its session has ended, only the session's row
    /// tells.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Verified, TokenError> {
        match self.verifier.verify(token, &self.prepared().keys, now) {
            // Its key may have been made since the ring was read.
            Err(TokenError::UnknownKey) if self.signing.again() => {
                self.verifier.verify(token, &self.prepared().keys, now)
            }
            verified => verified,
        }
    }

    /// What a token says of itself, if it is one of ours and good now, for whoever asks about it.
    pub fn introspect(&self, token: &str, now: DateTime<Utc>) -> Result<Introspected, TokenError> {
        match self.verifier.introspect(token, &self.prepared().keys, now) {
            Err(TokenError::UnknownKey) if self.signing.again() => {
                self.verifier.introspect(token, &self.prepared().keys, now)
            }
            introspected => introspected,
        }
    }

    /// The public keys of the ring as a JWK Set: the one that signs or will sign next, and those whose tokens may still be
    /// good at this time. [RFC 7517]
    pub fn jwks(&self, now: DateTime<Utc>) -> JwkSet {
        let prepared = self.prepared();
        let published = prepared.jwks.iter().filter(|(_, until)| until.is_none_or(|until| now < until));
        JwkSet { keys: published.map(|(jwk, _)| jwk.clone()).collect() }
    }
}

impl Prepared {
    fn of(ring: Arc<Ring<SigningSecret>>) -> Result<Self, SigningError> {
        let mut keys = BTreeMap::new();
        let mut jwks = Vec::new();
        for (id, secret) in ring.iter() {
            let unusable = |error| SigningError::Key(id.clone(), error);
            let jwk = public(id, secret).map_err(unusable)?;
            keys.insert(id.as_str().to_owned(), DecodingKey::from_jwk(&jwk).map_err(unusable)?);
            jwks.push((jwk, ring.until(id).map(|until| until + PUBLISHED_FOR)));
        }
        Ok(Self { ring, keys, jwks })
    }
}

/// The public half of a signing key.
fn public(id: &KeyId, secret: &SigningSecret) -> jsonwebtoken::errors::Result<Jwk> {
    let key = EncodingKey::from_ec_der(secret.expose_pkcs8());
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
    jwk.common.key_id = Some(id.as_str().to_owned());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(jwk)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use serde_json::{Value, json};
    use storage::keys::{KeyId, Ring, SigningSecret};

    use super::super::forgeries::{AUDIENCE, CLIENT, ISSUER, SESSION, TOKEN, USER, at, claims, tokens};

    fn ring(id: &str) -> Ring<SigningSecret> {
        Ring::of(KeyId::parse(id).unwrap(), SigningSecret::random().unwrap())
    }

    #[test]
    fn a_token_says_what_rfc_9068_asks_for_and_the_published_key_verifies_it() {
        let tokens = tokens(&ring("k1"));
        let token = tokens.issue(&claims(1_000)).unwrap();
        let published: JwkSet =
            serde_json::from_value(serde_json::to_value(tokens.jwks(at(1_000))).unwrap()).unwrap();
        let key = DecodingKey::from_jwk(published.find("k1").unwrap()).unwrap();
        let mut rules = Validation::new(Algorithm::ES256);
        rules.validate_exp = false;
        rules.set_audience(&[AUDIENCE]);
        rules.set_issuer(&[ISSUER]);
        let read = jsonwebtoken::decode::<Value>(&token, &key, &rules).unwrap();
        assert_eq!(
            serde_json::to_value(read.header).unwrap(),
            json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k1" })
        );
        assert_eq!(
            read.claims,
            json!({
                "iss": ISSUER, "sub": USER, "aud": AUDIENCE, "exp": 1_900, "iat": 1_000, "jti": TOKEN,
                "client_id": CLIENT, "sid": SESSION, "auth_time": 400,
            })
        );
    }

    #[test]
    fn a_token_tells_who_bears_it() {
        let tokens = tokens(&ring("k1"));
        let verified = tokens.verify(&tokens.issue(&claims(1_000)).unwrap(), at(1_001)).unwrap();
        assert_eq!(verified.user.to_string(), USER);
        assert_eq!(verified.session.to_string(), SESSION);
        assert_eq!((verified.auth_time, verified.expires), (at(400), at(1_900)));
    }

    #[test]
    fn the_published_keys_are_public_keys() {
        let rotated = ring("k1").rotated(KeyId::parse("k2").unwrap(), SigningSecret::random().unwrap());
        let published = serde_json::to_value(tokens(&rotated).jwks(at(1_000))).unwrap();
        let keys = published["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 2);
        for (key, kid) in keys.iter().zip(["k2", "k1"]) {
            let mut key = key.as_object().unwrap().clone();
            for coordinate in ["x", "y"] {
                let value = key.remove(coordinate).unwrap();
                assert_eq!(value.as_str().unwrap().len(), 43, "32 octets in base64");
            }
            let rest = json!({ "kid": kid, "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig" });
            assert_eq!(Value::from(key), rest, "and nothing else, `d` least of all");
        }
    }

    #[test]
    fn the_next_key_is_published_before_it_signs_and_the_last_one_until_its_tokens_are_gone() {
        let minutes = |minutes: i64| at(minutes * 60);
        let secret = SigningSecret::random().unwrap();
        let ring = ring("k1").with_next(KeyId::parse("k2").unwrap(), secret, minutes(120), minutes(0));
        let tokens = tokens(&ring);
        let published = |now| -> Vec<_> {
            tokens.jwks(minutes(now)).keys.into_iter().filter_map(|key| key.common.key_id).collect()
        };
        assert_eq!(published(0), ["k1", "k2"]);
        assert_eq!(published(140), ["k1", "k2"]);
        assert_eq!(published(141), ["k2"]);
    }

    #[test]
    fn tokens_of_the_former_key_are_good_after_a_rotation() {
        let before = ring("k1");
        let old = tokens(&before).issue(&claims(1_000)).unwrap();
        let after = tokens(&before.rotated(KeyId::parse("k2").unwrap(), SigningSecret::random().unwrap()));
        assert!(after.verify(&old, at(1_001)).is_ok());
        let new = after.issue(&claims(1_000)).unwrap();
        assert!(after.verify(&new, at(1_001)).is_ok());
        assert_eq!(jsonwebtoken::decode_header(&new).unwrap().kid.as_deref(), Some("k2"));
    }
}
