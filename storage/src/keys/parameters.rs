use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::Config;
use aws_sdk_ssm::config::retry::RetryConfig;
use aws_sdk_ssm::config::timeout::TimeoutConfig;
use aws_sdk_ssm::error::SdkError;
use aws_sdk_ssm::operation::put_parameter::PutParameterError;
use aws_sdk_ssm::types::{ParameterTier, ParameterType};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::client::CONNECT_TIMEOUT;

use super::changing::{Change, ChangeError, Fresh, RingName, changed};
use super::source::{KeyName, KeysError, Parts};
use super::{KeyFileError, KeyInRing, PublicKeys, Ring, ServiceKeys, SigningSecret};

/// The most names one `GetParameters` takes.
const BATCH: usize = 10;
/// How often a ring is written again that somebody else changes at the same time.
const TRIES: usize = 8;

/// The Parameter Store, below one path.
#[derive(Clone)]
pub struct ParameterStore {
    config: Config,
    client: Client,
    prefix: String,
}

/// The Parameter Store did not do what was asked. The cause is for operators.
#[derive(Debug, thiserror::Error)]
#[error("the Parameter Store does not answer as it should")]
pub struct RequestFailed(#[source] Box<dyn Error + Send + Sync>);

impl<E: Error + Send + Sync + 'static, R: fmt::Debug + Send + Sync + 'static> From<SdkError<E, R>>
    for RequestFailed
{
    fn from(error: SdkError<E, R>) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Debug for ParameterStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParameterStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// What lies in a parameter.
struct Stored {
    value: Zeroizing<String>,
    version: i64,
}

/// What came of making parameters: their names.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Those that are new.
    pub made: Vec<String>,
    /// Those that were there, and are as they were.
    pub kept: Vec<String>,
    /// That of the public keys, if it was there and was not that of the keys that sign.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mended: Vec<String>,
}

impl Made {
    fn note(&mut self, name: String, new: bool) {
        if new { &mut self.made } else { &mut self.kept }.push(name);
    }
}

fn text(value: &impl Serialize) -> Result<Zeroizing<String>, KeysError> {
    serde_json::to_string(value).map(Zeroizing::new).map_err(|_| KeysError::Unwritable)
}

fn public(signing: &Ring<SigningSecret>) -> Result<PublicKeys, KeysError> {
    PublicKeys::of(signing).map_err(|_| KeysError::File(KeyFileError::NoPublicKey))
}

impl ParameterStore {
    /// The parameters whose names begin with `prefix`.
    ///
    /// Many processes start and read at once. The store lets few through a second and tells the others, who try again
    /// after a time left to chance: the SDK's standard back-off.
    pub fn new(aws: &SdkConfig, prefix: String) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(Duration::from_secs(2))
            .operation_timeout(Duration::from_secs(8))
            .build();
        let config = aws_sdk_ssm::config::Builder::from(aws)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(6))
            .build();
        Self { client: Client::from_conf(config.clone()), config, prefix }
    }

    /// The parameters of these names, in as few requests as possible; those that are not there are left out.
    async fn get(&self, names: &[&str]) -> Result<BTreeMap<String, Stored>, KeysError> {
        let mut found = BTreeMap::new();
        for batch in names.chunks(BATCH) {
            let names = batch.iter().map(|name| format!("{}{name}", self.prefix)).collect();
            let request = self.client.get_parameters().set_names(Some(names)).with_decryption(true);
            let answer = request.send().await.map_err(|error| self.failed(error))?;
            for parameter in answer.parameters.unwrap_or_default() {
                let version = parameter.version();
                let name = parameter.name.as_deref().and_then(|name| name.strip_prefix(&self.prefix));
                if let (Some(name), Some(value)) = (name.map(str::to_owned), parameter.value) {
                    found.insert(name, Stored { value: Zeroizing::new(value), version });
                }
            }
        }
        Ok(found)
    }

    /// Makes every parameter that is not there, and changes no secret that is. Who was killed on the way is followed by who
    /// makes the rest; of two at once each makes some. Public keys that are not those of the keys that sign are written
    /// anew.
    pub async fn make(&self, keys: &ServiceKeys) -> Result<Made, ChangeError> {
        let mut made = Made::default();
        for name in KeyName::SECRET {
            let value = match name {
                KeyName::Deployment => text(&keys.deployment),
                KeyName::Wrapping => text(&keys.wrapping),
                KeyName::Verifiers => text(&keys.verifiers),
                KeyName::Views => text(&keys.views),
                KeyName::Identifiers => text(&keys.identifiers),
                KeyName::Refresh => text(&keys.refresh),
                KeyName::OneTime => text(&keys.one_time),
                KeyName::Pepper => text(&keys.pepper),
                KeyName::Signing => text(&keys.signing),
                KeyName::Public => continue,
            };
            let put = self.put(name, &value?, false).await?;
            made.note(self.name(name.as_str()), put.is_some());
        }
        // By what is there, which may be somebody else's.
        let parts = self.read(&[KeyName::Signing]).await?;
        let signing = parts.signing.ok_or_else(|| KeysError::Missing(vec![self.name("signing")]))?;
        let public = text(&public(&signing)?)?;
        let new = self.put(KeyName::Public, &public, false).await?.is_some();
        let name = self.name(KeyName::Public.as_str());
        if !new && self.mend().await? {
            made.mended.push(name);
        } else {
            made.note(name, new);
        }
        Ok(made)
    }

    /// Whether the public keys are those of the keys that sign. They are not while these are being changed.
    pub(super) async fn publishes_what_signs(&self) -> Result<bool, KeysError> {
        let (signing, published) = (KeyName::Signing.as_str(), KeyName::Public.as_str());
        let found = self.get(&[signing, published]).await?;
        let ring = found.get(signing).ok_or_else(|| KeysError::Missing(vec![self.name(signing)]))?;
        let fitting = public(&self.parsed(KeyName::Signing, &ring.value)?)?;
        // What cannot be read is not theirs either.
        let there = found.get(published).and_then(|stored| serde_json::from_str(&stored.value).ok());
        Ok(there == Some(fitting))
    }

    /// Publishes the keys that sign, if others are published: whoever changed them last may have died between the two
    /// writings. Whether it had to be.
    async fn mend(&self) -> Result<bool, ChangeError> {
        let fits = self.publishes_what_signs().await?;
        if !fits {
            self.publish().await?;
        }
        Ok(!fits)
    }

    /// Writes a parameter, and returns its version; `None` if there is one that may not be overwritten.
    async fn put(&self, name: KeyName, value: &str, overwrite: bool) -> Result<Option<i64>, KeysError> {
        let kind = match name {
            KeyName::Public => ParameterType::String,
            _ => ParameterType::SecureString,
        };
        let request = self
            .client
            .put_parameter()
            .name(self.name(name.as_str()))
            .value(value)
            .r#type(kind)
            // A ring of many keys may outgrow the 4 KB of the standard tier, which costs nothing.
            .tier(ParameterTier::IntelligentTiering)
            .overwrite(overwrite);
        match request.send().await {
            Ok(put) => Ok(Some(put.version())),
            Err(error)
                if error.as_service_error().is_some_and(PutParameterError::is_parameter_already_exists) =>
            {
                Ok(None)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Changes a ring. A parameter has no conditional write; but it has versions, so that who has written over what he
    /// had not read finds out, and puts the keys of it into his.
    pub(super) async fn change_ring<K: Fresh + Serialize + DeserializeOwned>(
        &self,
        name: RingName,
        change: &Change,
        now: DateTime<Utc>,
    ) -> Result<Ring<K>, ChangeError> {
        let read = self.stored(name.as_str()).await?;
        let ring = self.parsed(name.key(), &read.value)?;
        let ring = changed(name, ring, change, now)?;
        self.replace(name, ring, read.version, change).await
    }

    /// The same for signing keys. The public halves of new ones come before, those of retired ones go after. Where the ring
    /// stays as it is, for it had been changed before, what is published is made to fit it.
    pub(super) async fn change_signing(
        &self,
        change: &Change,
        now: DateTime<Utc>,
    ) -> Result<Vec<KeyInRing>, ChangeError> {
        let name = RingName::Signing;
        let read = self.stored(name.as_str()).await?;
        let ring: Ring<SigningSecret> = self.parsed(name.key(), &read.value)?;
        let ring = match changed(name, ring, change, now) {
            Ok(ring) => ring,
            Err(refused) => {
                self.mend().await?;
                return Err(refused);
            }
        };
        if !matches!(change, Change::Retire(_)) {
            self.put(KeyName::Public, &text(&public(&ring)?)?, true).await?;
        }
        self.replace(name, ring, read.version, change).await?;
        Ok(self.publish().await?.keys(now))
    }

    /// Puts the public halves of the signing keys that lie there. Who is overtaken meanwhile would put older ones over
    /// newer ones, and so looks again.
    async fn publish(&self) -> Result<Ring<SigningSecret>, ChangeError> {
        let name = RingName::Signing;
        for _ in 0..TRIES {
            let read = self.stored(name.as_str()).await?;
            let ring = self.parsed(name.key(), &read.value)?;
            self.put(KeyName::Public, &text(&public(&ring)?)?, true).await?;
            if self.stored(name.as_str()).await?.version == read.version {
                return Ok(ring);
            }
        }
        Err(ChangeError::Contended(name.as_str()))
    }

    async fn replace<K: Fresh + Serialize + DeserializeOwned>(
        &self,
        name: RingName,
        mut ring: Ring<K>,
        mut version: i64,
        change: &Change,
    ) -> Result<Ring<K>, ChangeError> {
        let retired = match change {
            Change::Retire(id) => Some(id),
            Change::Rotate | Change::RotateNow => None,
        };
        for _ in 0..TRIES {
            let put = self.put(name.key(), &text(&ring)?, true).await?;
            let written = put.ok_or(ChangeError::Contended(name.as_str()))?;
            if written == version + 1 {
                return Ok(ring);
            }
            let lost = self.stored(&format!("{}:{}", name.as_str(), written - 1)).await?;
            ring = ring.with_those_of(&self.parsed(name.key(), &lost.value)?, retired);
            version = written;
        }
        Err(ChangeError::Contended(name.as_str()))
    }

    async fn stored(&self, name: &str) -> Result<Stored, KeysError> {
        let found = self.get(&[name]).await?.into_values().next();
        found.ok_or_else(|| KeysError::Missing(vec![self.name(name)]))
    }

    pub(super) async fn read(&self, names: &[KeyName]) -> Result<Parts, KeysError> {
        let asked: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let found = self.get(&asked).await?;
        let missing: Vec<String> =
            asked.iter().filter(|name| !found.contains_key(**name)).map(|name| self.name(name)).collect();
        if !missing.is_empty() {
            return Err(KeysError::Missing(missing));
        }
        let mut parts = Parts::default();
        for name in names {
            let Some(Stored { value, version: _ }) = found.get(name.as_str()) else { continue };
            match name {
                KeyName::Deployment => parts.deployment = Some(self.parsed(*name, value)?),
                KeyName::Wrapping => parts.wrapping = Some(self.parsed(*name, value)?),
                KeyName::Verifiers => parts.verifiers = Some(self.parsed(*name, value)?),
                KeyName::Views => parts.views = Some(self.parsed(*name, value)?),
                KeyName::Identifiers => parts.identifiers = Some(self.parsed(*name, value)?),
                KeyName::Refresh => parts.refresh = Some(self.parsed(*name, value)?),
                KeyName::OneTime => parts.one_time = Some(self.parsed(*name, value)?),
                KeyName::Pepper => parts.pepper = Some(self.parsed(*name, value)?),
                KeyName::Signing => parts.signing = Some(self.parsed(*name, value)?),
                KeyName::Public => parts.public = Some(self.parsed(*name, value)?),
            }
        }
        Ok(parts)
    }

    /// Reads on a thread of its own, over a connection of its own: that of the process may need the thread that waits.
    pub(super) fn read_blocking(&self, names: &[KeyName]) -> Result<Parts, KeysError> {
        let read = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(KeysError::Thread)?.block_on(async {
                let mut config = self.config.to_builder();
                config.set_http_client(None);
                let client = Client::from_conf(config.build());
                Self { client, ..self.clone() }.read(names).await
            })
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("keys".to_owned()).spawn_scoped(scope, read);
            let panicked = || KeysError::Thread(std::io::Error::other("it broke"));
            thread.map_err(KeysError::Thread)?.join().map_err(|_| panicked())?
        })
    }

    fn parsed<T: DeserializeOwned>(&self, name: KeyName, text: &str) -> Result<T, KeysError> {
        serde_json::from_str(text)
            .map_err(|error| KeysError::Malformed(self.name(name.as_str()), error.into()))
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn failed(&self, error: impl Into<RequestFailed>) -> KeysError {
        KeysError::Request(self.prefix.clone(), error.into())
    }
}
