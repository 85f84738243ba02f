use std::fmt;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The name of a key within its ring: 1 to 16 lower-case letters and digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// The longest id, in octets.
    pub(crate) const MAX: usize = 16;

    /// Takes an id, if it has the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let of_the_alphabet = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        ((1..=Self::MAX).contains(&text.len()) && of_the_alphabet).then(|| Self(text.to_owned()))
    }

    /// A new random id of eight characters.
    pub(crate) fn random() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut octets = [0_u8; 4];
        rand::fill(&mut octets)?;
        Ok(Self(format!("{:08x}", u32::from_be_bytes(octets))))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom("a key id is 1 to 16 lower-case letters and digits"))
    }
}

/// 256 random bits.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new secret from the system's random source.
    pub fn random() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut octets = [0_u8; 32];
        rand::fill(&mut octets)?;
        Ok(Self(octets))
    }

    /// The secret with these octets.
    pub const fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// Its octets.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A P-256 key pair as PKCS #8 (RFC 5958) DER.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SigningSecret(Vec<u8>);

impl SigningSecret {
    /// A new key pair from the system's random source.
    pub fn random() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        Ok(Self(pair.to_pkcs8v1()?.as_ref().to_vec()))
    }

    /// The DER of the key pair.
    pub fn expose_pkcs8(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(self.0)))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let octets = base64_octets(deserializer)?;
        let octets = octets.as_slice().try_into().map_err(|_| D::Error::custom("a secret has 32 octets"))?;
        Ok(Self(octets))
    }
}

impl Serialize for SigningSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for SigningSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let der = base64_octets(deserializer)?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
            .map_err(|_| D::Error::custom("a signing key is a P-256 key pair in PKCS #8"))?;
        Ok(Self(der.to_vec()))
    }
}

/// Errors never quote the text: serde's own would.
fn base64_octets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<Vec<u8>>, D::Error> {
    let text = Zeroizing::new(String::deserialize(deserializer)?);
    STANDARD
        .decode(text.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| D::Error::custom("a secret is written in base64"))
}
