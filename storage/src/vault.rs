//! The vault: a user's secrets, one item beside the user's commits. Destroying it makes the commits unreadable.

use aws_lc_rs::digest;
use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, Update};
use chrono::{DateTime, SecondsFormat, Utc};
use domain::{CredentialId, UserId};
use zeroize::Zeroizing;

use crate::error::{Broken, ReadError, Unavailable};
use crate::items::{Item, b, octets, s, text};
use crate::keys::{KeyId, LiveRing, Secret};
use crate::log::key;
use crate::seal::{Binding, Purpose, key_of, open, seal, user_key};

/// The vault's sort key: behind every commit, so that one Query returns both.
pub(crate) const SORT_KEY: &str = "vault";

/// The attribute that makes a vault a tombstone: when the user was erased, in RFC 3339.
const ERASED: &str = "erased";

/// Whether an item with this sort key is a vault.
pub fn is_vault(sort_key: &str) -> bool {
    sort_key == SORT_KEY
}

/// What wraps data keys.
#[derive(Debug, Clone)]
pub struct WrappingKeys {
    pub(crate) deployment: String,
    pub(crate) ring: LiveRing<Secret>,
}

/// What seals verifiers.
#[derive(Debug, Clone)]
pub struct VerifierKeys {
    deployment: String,
    ring: LiveRing<Secret>,
}

/// A user's vault, as it lies in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vault {
    user: UserId,
    data_key: Vec<u8>,
    /// The id of the verifier, which the user's log names, too.
    pub credential: CredentialId,
    verifier: Vec<u8>,
}

/// One attribute of a vault under another service key.
pub(crate) struct Anew {
    pub attribute: &'static str,
    /// What it was made of, and takes the place of.
    pub read: Vec<u8>,
    pub value: Vec<u8>,
}

/// The key that seals a user's commits. Its id follows from it.
#[derive(Debug, Clone)]
pub struct DataKey {
    id: KeyId,
    key: Secret,
}

impl DataKey {
    /// A new key for a new user.
    pub fn random() -> Result<Self, Unavailable> {
        Self::of(Secret::random()?).ok_or_else(|| Unavailable::because("no id for a data key"))
    }

    fn of(key: Secret) -> Option<Self> {
        let mut labelled = Zeroizing::new(b"annals data key id".to_vec());
        labelled.extend_from_slice(key.expose());
        let hash = digest::digest(&digest::SHA256, &labelled);
        let octets = hash.as_ref().first_chunk::<4>()?;
        let id = KeyId::parse(&format!("{:08x}", u32::from_be_bytes(*octets)))?;
        Some(Self { id, key })
    }

    pub(crate) const fn current(&self) -> (&KeyId, &Secret) {
        (&self.id, &self.key)
    }

    pub(crate) fn get(&self, id: &KeyId) -> Option<Secret> {
        (self.id == *id).then(|| self.key.clone())
    }
}

impl WrappingKeys {
    /// The keys of this deployment.
    pub fn new(deployment: String, ring: impl Into<LiveRing<Secret>>) -> Self {
        Self { deployment, ring: ring.into() }
    }

    const fn binding(&self, user: UserId) -> Binding<'_> {
        Binding {
            deployment: self.deployment.as_str(),
            purpose: Purpose::DataKey,
            user,
            item: SORT_KEY,
            also: &[],
        }
    }

    fn wrap(&self, user: UserId, key: &DataKey) -> Result<Vec<u8>, Unavailable> {
        let (id, wrapping) = self.ring.current();
        let wrapping = user_key(&wrapping, Purpose::DataKey, user)?;
        Ok(seal((&id, &wrapping), &self.binding(user), key.key.expose())?)
    }

    /// Opens the data key in a vault.
    pub(crate) fn unwrap(&self, vault: &Vault) -> Result<DataKey, Broken> {
        let wrapping = |id: &KeyId| user_key(&self.ring.get(id)?, Purpose::DataKey, vault.user).ok();
        let plain = open(&vault.data_key, wrapping, &self.binding(vault.user)).map_err(Broken::DataKey)?;
        let plain = Zeroizing::new(plain);
        let key = <[u8; 32]>::try_from(plain.as_slice()).map_err(|_| Broken::Attribute("data_key"))?;
        DataKey::of(Secret::new(key)).ok_or(Broken::Attribute("data_key"))
    }
}

impl VerifierKeys {
    /// The keys of this deployment.
    pub fn new(deployment: String, ring: impl Into<LiveRing<Secret>>) -> Self {
        Self { deployment, ring: ring.into() }
    }

    fn seal(&self, user: UserId, credential: CredentialId, phc: &str) -> Result<Vec<u8>, Unavailable> {
        let (id, key) = self.ring.current();
        let key = user_key(&key, Purpose::Verifier, user)?;
        let also: &[&[u8]] = &[credential.as_bytes()];
        Ok(seal((&id, &key), &self.binding(user, also), phc.as_bytes())?)
    }

    /// Opens the verifier of a vault, a PHC string.
    pub fn open(&self, vault: &Vault) -> Result<Zeroizing<String>, Broken> {
        let key = |id: &KeyId| user_key(&self.ring.get(id)?, Purpose::Verifier, vault.user).ok();
        let also: &[&[u8]] = &[vault.credential.as_bytes()];
        let plain = open(&vault.verifier, key, &self.binding(vault.user, also)).map_err(Broken::Verifier)?;
        String::from_utf8(plain).map(Zeroizing::new).map_err(|_| Broken::Attribute("verifier"))
    }

    const fn binding<'a>(&'a self, user: UserId, also: &'a [&'a [u8]]) -> Binding<'a> {
        Binding {
            deployment: self.deployment.as_str(),
            purpose: Purpose::Verifier,
            user,
            item: SORT_KEY,
            also,
        }
    }
}

impl Vault {
    /// A vault for a new user.
    pub(crate) fn new(
        user: UserId,
        wrapping: &WrappingKeys,
        key: &DataKey,
        verifiers: &VerifierKeys,
        (credential, phc): (CredentialId, &str),
    ) -> Result<Self, Unavailable> {
        Ok(Self {
            user,
            data_key: wrapping.wrap(user, key)?,
            credential,
            verifier: verifiers.seal(user, credential, phc)?,
        })
    }

    /// Replaces the verifier where it lies, on condition that it is the one read here. Nothing else of the vault is
    /// written: the data key beside it may be wrapped anew at the same time.
    pub(crate) fn replace_verifier(
        &self,
        table: &str,
        verifiers: &VerifierKeys,
        (credential, phc): (CredentialId, &str),
    ) -> Result<Update, Unavailable> {
        Update::builder()
            .table_name(table)
            .set_key(Some(key(self.user, SORT_KEY)))
            .update_expression("SET #verifier = :verifier, #credential = :credential")
            .condition_expression("#verifier = :verifier_read AND #credential = :credential_read")
            .expression_attribute_names("#verifier", "verifier")
            .expression_attribute_names("#credential", "credential")
            .expression_attribute_values(":verifier", b(verifiers.seal(self.user, credential, phc)?))
            .expression_attribute_values(":credential", s(credential.to_string()))
            .expression_attribute_values(":verifier_read", b(self.verifier.clone()))
            .expression_attribute_values(":credential_read", s(self.credential.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| Unavailable(Box::new(error)))
    }

    /// Whose it is.
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// The id of the key that wraps its data key; `None` if that is not to be seen.
    pub fn wrapped_with(&self) -> Option<KeyId> {
        key_of(&self.data_key)
    }

    /// The id of the key that seals its verifier; `None` if that is not to be seen.
    pub fn sealed_with(&self) -> Option<KeyId> {
        key_of(&self.verifier)
    }

    /// The data key wrapped with the current key, as a change of the attribute; `None` if it is so already.
    pub(crate) fn wrapped_anew(&self, wrapping: &WrappingKeys) -> Result<Option<Anew>, ReadError> {
        if self.wrapped_with() == Some(wrapping.ring.current().0) {
            return Ok(None);
        }
        let wrapped = wrapping.wrap(self.user, &wrapping.unwrap(self)?)?;
        Ok(Some(Anew { attribute: "data_key", read: self.data_key.clone(), value: wrapped }))
    }

    /// The verifier sealed with the current key, as a change of the attribute; `None` if it is so already.
    pub(crate) fn sealed_anew(&self, verifiers: &VerifierKeys) -> Result<Option<Anew>, ReadError> {
        if self.sealed_with() == Some(verifiers.ring.current().0) {
            return Ok(None);
        }
        let sealed = verifiers.seal(self.user, self.credential, &verifiers.open(self)?)?;
        Ok(Some(Anew { attribute: "verifier", read: self.verifier.clone(), value: sealed }))
    }

    pub(crate) fn into_item(self) -> Item {
        Item::from([
            ("user".into(), s(self.user.to_string())),
            ("item".into(), s(SORT_KEY)),
            ("data_key".into(), b(self.data_key)),
            ("credential".into(), s(self.credential.to_string())),
            ("verifier".into(), b(self.verifier)),
        ])
    }

    /// What is left of a vault whose keys are gone for good.
    pub(crate) fn tombstone(user: UserId, at: DateTime<Utc>) -> Item {
        Item::from([
            ("user".into(), s(user.to_string())),
            ("item".into(), s(SORT_KEY)),
            (ERASED.into(), s(at.to_rfc3339_opts(SecondsFormat::Millis, true))),
        ])
    }

    pub(crate) fn from_item(item: &Item) -> Result<Self, Broken> {
        if item.contains_key(ERASED) {
            return Err(Broken::Erased);
        }
        Ok(Self {
            user: text(item, "user")?.parse().map_err(|_| Broken::Attribute("user"))?,
            data_key: octets(item, "data_key")?.to_vec(),
            credential: text(item, "credential")?.parse().map_err(|_| Broken::Attribute("credential"))?,
            verifier: octets(item, "verifier")?.to_vec(),
        })
    }
}
