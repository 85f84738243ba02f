use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use jsonwebtoken::DecodingKey;
use storage::keys::{KeyId, Live, PublicKeys};

use super::SigningError;
use super::verify::{TokenError, Verified, Verifier};

/// Verifies access tokens with public keys only, exactly as [`super::AccessTokens`] does: what stands before the API
/// needs no secret.
pub struct PublicTokens {
    public: Live<PublicKeys>,
    prepared: ArcSwap<Prepared>,
    verifier: Verifier,
}

/// The keys as they are used.
struct Prepared {
    /// What they were made of.
    public: Arc<PublicKeys>,
    keys: BTreeMap<String, DecodingKey>,
}

impl PublicTokens {
    /// Tokens of this issuer for this audience, signed with any of these keys.
    pub fn new(
        public: impl Into<Live<PublicKeys>>,
        issuer: String,
        audience: String,
    ) -> Result<Self, SigningError> {
        let public = public.into();
        let prepared = ArcSwap::from_pointee(Prepared::of(public.load())?);
        Ok(Self { public, prepared, verifier: Verifier { issuer, audience } })
    }

    /// Has the keys read again if they are old: to be called whenever an invocation begins.
    pub async fn refresh_keys(&self) {
        self.public.refresh().await;
    }

    /// Who bears a token, if it is one of ours and good now. Whether its session has ended is not known here.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Verified, TokenError> {
        match self.verifier.verify(token, &self.prepared().keys, now) {
            // Its key may have been made since the keys were read.
            Err(TokenError::UnknownKey) if self.public.again() => {
                self.verifier.verify(token, &self.prepared().keys, now)
            }
            verified => verified,
        }
    }

    /// The keys as they are now. Those that were prepared stay if there is one among them that cannot be used.
    fn prepared(&self) -> Arc<Prepared> {
        let public = self.public.load();
        let prepared = self.prepared.load_full();
        if Arc::ptr_eq(&prepared.public, &public) {
            return prepared;
        }
        match Prepared::of(public) {
            Ok(anew) => {
                let anew = Arc::new(anew);
                self.prepared.store(Arc::clone(&anew));
                anew
            }
            Err(error) => {
                tracing::error!(%error, "the public keys could not be prepared; the old ones stay");
                prepared
            }
        }
    }
}

impl Prepared {
    fn of(public: Arc<PublicKeys>) -> Result<Self, SigningError> {
        let key = |kid: &KeyId, x: &str, y: &str| {
            let key = DecodingKey::from_ec_components(x, y);
            key.map(|key| (kid.as_str().to_owned(), key))
                .map_err(|error| SigningError::Key(kid.clone(), error))
        };
        let keys = public.keys.iter().map(|public| key(&public.kid, &public.x, &public.y));
        Ok(Self { keys: keys.collect::<Result<_, _>>()?, public })
    }
}

#[cfg(test)]
mod tests {
    use storage::keys::{KeyId, PublicKeys, Ring, SigningSecret};

    use super::super::forgeries::{AUDIENCE, ISSUER, at, claims, tokens};
    use super::super::verify::TokenError;
    use super::PublicTokens;

    #[test]
    fn the_public_keys_alone_verify_what_was_signed_and_nothing_else() {
        let ring = |id| Ring::of(KeyId::parse(id).unwrap(), SigningSecret::random().unwrap());
        let ours = ring("k1").rotated(KeyId::parse("k2").unwrap(), SigningSecret::random().unwrap());
        let text = serde_json::to_string(&PublicKeys::of(&ours).unwrap()).unwrap();
        let published: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&text).unwrap();
        assert_eq!(published, tokens(&ours).jwks(at(1_000)), "the same set as the one that is published");
        let public: PublicKeys = serde_json::from_str(&text).unwrap();
        let public = PublicTokens::new(public, ISSUER.to_owned(), AUDIENCE.to_owned()).unwrap();
        let token = tokens(&ours).issue(&claims(1_000)).unwrap();
        assert_eq!(public.verify(&token, at(1_001)), tokens(&ours).verify(&token, at(1_001)));
        assert!(public.verify(&token, at(1_001)).is_ok());
        assert_eq!(public.verify(&token, at(1_961)), Err(TokenError::Expired));
        let forged = tokens(&ring("k2")).issue(&claims(1_000)).unwrap();
        assert_eq!(public.verify(&forged, at(1_001)), Err(TokenError::Signature));
        let foreign = tokens(&ring("k3")).issue(&claims(1_000)).unwrap();
        assert_eq!(public.verify(&foreign, at(1_001)), Err(TokenError::UnknownKey));
    }
}
