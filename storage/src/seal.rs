//! Sealing: AES-256-GCM under a key of one purpose and one user, bound to the place where the value belongs. What
//! was moved, copied or made up does not open.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hkdf, hmac};
use domain::UserId;

use crate::keys::{KeyId, Secret};

/// The form of everything sealed by this code: its first octet, and part of what it is bound to. It goes up whenever
/// sealed values, or the items around them, are made in a way that this code would misread.
const FORMAT: u8 = 1;

/// What a sealed value is for. A value of one purpose does not open as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Checkpoint,
    Client,
    Commit,
    DataKey,
    Verifier,
    View,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Client => "client",
            Self::Commit => "commit",
            Self::DataKey => "data-key",
            Self::Verifier => "verifier",
            Self::View => "view",
        }
    }
}

/// The place to which a sealed value belongs. All of it is authenticated and none of it stored with the value.
pub(crate) struct Binding<'a> {
    pub deployment: &'a str,
    pub purpose: Purpose,
    pub user: UserId,
    /// The sort key of the item, or its like.
    pub item: &'a str,
    /// What else the purpose binds.
    pub also: &'a [&'a [u8]],
}

impl Binding<'_> {
    fn additional_data(&self, key: &KeyId) -> Vec<u8> {
        let mut data = vec![FORMAT];
        for part in [
            self.deployment.as_bytes(),
            self.purpose.name().as_bytes(),
            self.user.as_bytes(),
            self.item.as_bytes(),
            key.as_str().as_bytes(),
        ]
        .iter()
        .chain(self.also)
        {
            push(&mut data, part);
        }
        data
    }
}

/// Why a sealed value did not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not in the form of a sealed value.
    #[error("not a sealed value")]
    Form,
    /// It says that it is in a form of this number, which newer code makes.
    #[error("sealed in the newer form {0}")]
    NewerForm(u8),
    /// The key that it names is not in the ring.
    #[error("sealed with the unknown key {}", .0.as_str())]
    UnknownKey(KeyId),
    /// It was changed, moved from elsewhere, or made up.
    #[error("the seal is broken")]
    Broken,
}

/// Seals `plain` with the key, which it names: form, length of the key's id, the id, nonce, ciphertext, tag.
pub(crate) fn seal(
    (id, key): (&KeyId, &Secret),
    binding: &Binding<'_>,
    plain: &[u8],
) -> Result<Vec<u8>, Unspecified> {
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.expose())?;
    let mut body = plain.to_vec();
    let nonce = cipher.seal_in_place_append_tag(Aad::from(binding.additional_data(id)), &mut body)?;
    let id = id.as_str().as_bytes();
    let mut sealed = Vec::with_capacity(2 + id.len() + NONCE_LEN + body.len());
    sealed.push(FORMAT);
    sealed.push(u8::try_from(id.len()).map_err(|_| Unspecified)?);
    sealed.extend_from_slice(id);
    sealed.extend_from_slice(nonce.as_ref());
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

/// Opens what [`seal`] made, with the key that it names and no other.
pub(crate) fn open(
    sealed: &[u8],
    key: impl FnOnce(&KeyId) -> Option<Secret>,
    binding: &Binding<'_>,
) -> Result<Vec<u8>, OpenError> {
    let (id_length, rest) = match sealed {
        [FORMAT, id_length, rest @ ..] => (id_length, rest),
        [newer, ..] if *newer > FORMAT => return Err(OpenError::NewerForm(*newer)),
        _ => return Err(OpenError::Form),
    };
    let (id, rest) = rest.split_at_checked(usize::from(*id_length)).ok_or(OpenError::Form)?;
    let id = str::from_utf8(id).ok().and_then(KeyId::parse).ok_or(OpenError::Form)?;
    let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Form)?;
    let secret = key(&id).ok_or_else(|| OpenError::UnknownKey(id.clone()))?;
    let cipher =
        RandomizedNonceKey::new(&AES_256_GCM, secret.expose()).map_err(|Unspecified| OpenError::Broken)?;
    let mut body = body.to_vec();
    let length = cipher
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(binding.additional_data(&id)),
            &mut body,
        )
        .map_err(|Unspecified| OpenError::Broken)?
        .len();
    body.truncate(length);
    Ok(body)
}

/// The id of the key that a sealed value names; `None` if it is none of this form.
pub(crate) fn key_of(sealed: &[u8]) -> Option<KeyId> {
    let [FORMAT, length, rest @ ..] = sealed else { return None };
    KeyId::parse(str::from_utf8(rest.get(..usize::from(*length))?).ok()?)
}

/// The key of one user and purpose under a service key, so that the random nonces of one key stay few however many
/// users there are.
pub(crate) fn user_key(service_key: &Secret, purpose: Purpose, user: UserId) -> Result<Secret, Unspecified> {
    let mut key = [0_u8; 32];
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, service_key.expose())
        .expand(&[b"annals ", purpose.name().as_bytes(), b" ", user.as_bytes()], hkdf::HKDF_SHA256)?
        .fill(&mut key)?;
    Ok(Secret::new(key))
}

/// HMAC-SHA-256 over parts that cannot run into one another.
pub(crate) fn mac(key: &Secret, label: &str, parts: &[&[u8]]) -> Mac {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    let mut data = Vec::new();
    push(&mut data, label.as_bytes());
    for part in parts {
        push(&mut data, part);
    }
    let mut octets = [0_u8; 32];
    octets.copy_from_slice(hmac::sign(&key, &data).as_ref());
    Mac(octets)
}

/// A keyed tag of 32 octets. Compared in constant time.
#[derive(Clone, Copy)]
pub(crate) struct Mac(pub(crate) [u8; 32]);

impl PartialEq<[u8]> for Mac {
    fn eq(&self, other: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, other).is_ok()
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac(…)")
    }
}

/// Appends a part behind its length, so that no two lists of parts read the same.
pub(crate) fn push(data: &mut Vec<u8>, part: &[u8]) {
    data.extend_from_slice(&length(part));
    data.extend_from_slice(part);
}

/// The length of a part, as it stands before it.
pub(crate) const fn length(part: &[u8]) -> [u8; 8] {
    (part.len() as u64).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use domain::UserId;
    use uuid::Uuid;

    use super::{Binding, OpenError, Purpose, open, seal};
    use crate::keys::{KeyId, Secret};

    const ADA: UserId = UserId::new(Uuid::from_u128(1));
    const BOB: UserId = UserId::new(Uuid::from_u128(2));

    fn at_home() -> Binding<'static> {
        Binding { deployment: "d", purpose: Purpose::Commit, user: ADA, item: "i", also: &[b"a", b"b"] }
    }

    #[test]
    fn what_was_sealed_opens_in_its_place_and_nowhere_else() {
        let (id, key) = (KeyId::parse("k1").unwrap(), Secret::random().unwrap());
        let sealed = seal((&id, &key), &at_home(), b"secret").unwrap();
        let opened = |binding: Binding<'_>| open(&sealed, |_| Some(key.clone()), &binding);
        assert_eq!(opened(at_home()).unwrap(), b"secret");
        for elsewhere in [
            Binding { deployment: "e", ..at_home() },
            Binding { purpose: Purpose::View, ..at_home() },
            Binding { user: BOB, ..at_home() },
            Binding { item: "j", ..at_home() },
            Binding { also: &[b"a"], ..at_home() },
            Binding { also: &[b"ab", b""], ..at_home() },
        ] {
            assert_eq!(opened(elsewhere), Err(OpenError::Broken));
        }
    }

    #[test]
    fn every_octet_of_a_sealed_value_counts() {
        let (id, key) = (KeyId::parse("k1").unwrap(), Secret::random().unwrap());
        let sealed = seal((&id, &key), &at_home(), b"secret").unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(open(&changed, |_| Some(key.clone()), &at_home()).is_err(), "octet {index} may change");
            assert!(open(&sealed[..index], |_| Some(key.clone()), &at_home()).is_err());
        }
    }

    #[test]
    fn a_newer_form_is_told_from_what_is_none() {
        let (id, key) = (KeyId::parse("k1").unwrap(), Secret::random().unwrap());
        let mut sealed = seal((&id, &key), &at_home(), b"secret").unwrap();
        sealed[0] = 2;
        assert_eq!(open(&sealed, |_| Some(key.clone()), &at_home()), Err(OpenError::NewerForm(2)));
        sealed[0] = 0;
        assert_eq!(open(&sealed, |_| Some(key.clone()), &at_home()), Err(OpenError::Form));
        assert_eq!(open(&[], |_| Some(key.clone()), &at_home()), Err(OpenError::Form));
    }

    #[test]
    fn only_the_key_that_is_named_is_tried() {
        let (id, key) = (KeyId::parse("k1").unwrap(), Secret::random().unwrap());
        let sealed = seal((&id, &key), &at_home(), b"secret").unwrap();
        assert_eq!(open(&sealed, |_| None, &at_home()), Err(OpenError::UnknownKey(id)));
        let other = Secret::random().unwrap();
        assert_eq!(open(&sealed, |_| Some(other), &at_home()), Err(OpenError::Broken));
    }
}
