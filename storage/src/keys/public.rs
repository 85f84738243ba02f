use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{KeyId, Ring, SigningSecret};

/// The public halves of a ring of signing keys, as a JWK Set. [RFC 7517, section 5]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeys {
    /// The keys.
    pub keys: Vec<PublicKey>,
}

/// A P-256 key that verifies ES256, as a JWK. [RFC 7518, section 6.2.1]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    kty: Kty,
    crv: Crv,
    alg: Alg,
    #[serde(rename = "use")]
    purpose: Use,
    /// The id of the key.
    pub kid: KeyId,
    /// The first coordinate of the point, in base64url.
    pub x: String,
    /// The second one.
    pub y: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kty {
    EC,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Crv {
    #[serde(rename = "P-256")]
    P256,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Alg {
    ES256,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Use {
    Sig,
}

impl PublicKeys {
    /// The public halves of these keys.
    pub fn of(signing: &Ring<SigningSecret>) -> Result<Self, aws_lc_rs::error::KeyRejected> {
        let keys = signing.iter().map(|(id, secret)| PublicKey::of(id.clone(), secret));
        Ok(Self { keys: keys.collect::<Result<_, _>>()? })
    }
}

impl PublicKey {
    fn of(kid: KeyId, secret: &SigningSecret) -> Result<Self, aws_lc_rs::error::KeyRejected> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, secret.expose_pkcs8())?;
        // An uncompressed point: 4, then the coordinates, of 32 octets each. [SEC 1, section 2.3.3]
        let point = pair.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
        let text = |coordinate: &[u8]| URL_SAFE_NO_PAD.encode(coordinate);
        Ok(Self {
            kty: Kty::EC,
            crv: Crv::P256,
            alg: Alg::ES256,
            purpose: Use::Sig,
            kid,
            x: text(x),
            y: text(y),
        })
    }
}
