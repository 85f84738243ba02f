use std::path::PathBuf;
use std::sync::Arc;

use aws_config::SdkConfig;
use chrono::{DateTime, Utc};

use super::live::{Live, LiveKeys, LiveRing};
use super::parameters::{ParameterStore, RequestFailed};
use super::public::PublicKeys;
use super::reader::Reader;
use super::{KeyFileError, MalformedKeys, Ring, Secret, ServiceKeys, SigningSecret};
use crate::vault::WrappingKeys;
use crate::views::ViewKeys;

/// The setting with the path of a file of keys.
const FILE: &str = "ANNALS_KEYS_FILE";
/// The setting with the path of parameters, below which each key is one.
const PREFIX: &str = "ANNALS_KEYS_PREFIX";

/// Where a process is told that its keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySetting {
    /// In this file.
    File(PathBuf),
    /// In the Parameter Store, below this path, which ends with a slash.
    Prefix(String),
}

/// Why it is not known where the keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySettingError {
    /// Neither setting is set.
    #[error("not set: {FILE} or {PREFIX}")]
    Missing,
    /// Both are.
    #[error("set only one of {FILE} and {PREFIX}")]
    Both,
    /// The path of the parameters is none.
    #[error("{PREFIX} must be a path such as /annals/STACK/keys/")]
    Prefix,
}

impl KeySetting {
    /// The setting that `lookup` finds: exactly one of `ANNALS_KEYS_FILE` and `ANNALS_KEYS_PREFIX`.
    pub fn from_settings(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, KeySettingError> {
        let setting = |name| lookup(name).filter(|value| !value.is_empty());
        match (setting(FILE), setting(PREFIX)) {
            (Some(path), None) => Ok(Self::File(path.into())),
            (None, Some(prefix)) => Self::prefix(&prefix).ok_or(KeySettingError::Prefix),
            (None, None) => Err(KeySettingError::Missing),
            (Some(_), Some(_)) => Err(KeySettingError::Both),
        }
    }

    /// The parameters below this path, if it is one: segments of letters, digits and `.-_`, each behind a slash.
    pub fn prefix(text: &str) -> Option<Self> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let whole =
            path.strip_prefix('/')?.split('/').all(|part| !part.is_empty() && part.chars().all(allowed));
        whole.then(|| Self::Prefix(format!("{path}/")))
    }

    /// The name of the setting that says so.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::File(_) => FILE,
            Self::Prefix(_) => PREFIX,
        }
    }

    /// The place itself, reached with this region and these credentials.
    pub fn source(&self, aws: &SdkConfig) -> KeySource {
        match self {
            Self::File(path) => KeySource::File(path.clone()),
            Self::Prefix(prefix) => KeySource::Parameters(Box::new(ParameterStore::new(aws, prefix.clone()))),
        }
    }
}

/// Where the service keys of a deployment are.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// In a file, which only its owner can read.
    File(PathBuf),
    /// In the Parameter Store of AWS Systems Manager.
    Parameters(Box<ParameterStore>),
}

/// Why service keys cannot be used. No value is ever quoted.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The Parameter Store did not answer as it should.
    #[error("the service keys below {0} cannot be used")]
    Request(String, #[source] RequestFailed),
    /// Keys are not there.
    #[error("there is no parameter {}", .0.join(", "))]
    Missing(Vec<String>),
    /// A parameter is not a key, or not a ring of keys.
    #[error("the parameter {0} is malformed: {1}")]
    Malformed(String, MalformedKeys),
    /// A key cannot be written as text.
    #[error("a key cannot be written")]
    Unwritable,
    /// What never changes has changed.
    #[error("{0} has changed, which cannot be")]
    Changed(&'static str),
    /// The system does not let a thread begin.
    #[error("no thread to read the keys")]
    Thread(#[source] std::io::Error),
}

/// One of the values that service keys are made of: the name of its parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyName {
    /// The name of the deployment.
    Deployment,
    /// Wraps data keys.
    Wrapping,
    /// Seals verifiers.
    Verifiers,
    /// Seals views.
    Views,
    /// Turns addresses into identifiers.
    Identifiers,
    /// Tags refresh tokens.
    Refresh,
    /// Tags one-time tokens.
    OneTime,
    /// The secret input of hashes.
    Pepper,
    /// Signs access tokens.
    Signing,
    /// The public halves of what signs access tokens.
    Public,
}

impl KeyName {
    /// All that is secret: what a deployment begins with.
    pub(super) const SECRET: [Self; 9] = [
        Self::Deployment,
        Self::Wrapping,
        Self::Verifiers,
        Self::Views,
        Self::Identifiers,
        Self::Refresh,
        Self::OneTime,
        Self::Pepper,
        Self::Signing,
    ];

    /// The name, as it stands in the name of the parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Wrapping => "wrapping",
            Self::Verifiers => "verifiers",
            Self::Views => "views",
            Self::Identifiers => "identifiers",
            Self::Refresh => "refresh",
            Self::OneTime => "one-time",
            Self::Pepper => "pepper",
            Self::Signing => "signing",
            Self::Public => "public",
        }
    }
}

/// What was read: the values that were asked for.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) deployment: Option<String>,
    pub(super) wrapping: Option<Ring<Secret>>,
    pub(super) verifiers: Option<Ring<Secret>>,
    pub(super) views: Option<Ring<Secret>>,
    pub(super) identifiers: Option<Secret>,
    pub(super) refresh: Option<Ring<Secret>>,
    pub(super) one_time: Option<Ring<Secret>>,
    pub(super) pepper: Option<Ring<Secret>>,
    pub(super) signing: Option<Ring<SigningSecret>>,
    pub(super) public: Option<PublicKeys>,
}

impl Parts {
    fn of(keys: ServiceKeys, names: &[KeyName]) -> Result<Self, KeyFileError> {
        fn asked<T>(names: &[KeyName], name: KeyName, value: T) -> Option<T> {
            names.contains(&name).then_some(value)
        }
        let public = names.contains(&KeyName::Public).then(|| PublicKeys::of(&keys.signing));
        Ok(Self {
            deployment: asked(names, KeyName::Deployment, keys.deployment),
            wrapping: asked(names, KeyName::Wrapping, keys.wrapping),
            verifiers: asked(names, KeyName::Verifiers, keys.verifiers),
            views: asked(names, KeyName::Views, keys.views),
            identifiers: asked(names, KeyName::Identifiers, keys.identifiers),
            refresh: asked(names, KeyName::Refresh, keys.refresh),
            one_time: asked(names, KeyName::OneTime, keys.one_time),
            pepper: asked(names, KeyName::Pepper, keys.pepper),
            signing: asked(names, KeyName::Signing, keys.signing),
            public: public.transpose().map_err(|_| KeyFileError::NoPublicKey)?,
        })
    }
}

/// What the projection needs of the keys, and nothing else.
#[derive(Debug, Clone)]
pub struct ProjectionKeys {
    /// Opens commits.
    pub wrapping: WrappingKeys,
    /// Seals and opens views.
    pub views: ViewKeys,
}

/// What sending mail needs of the keys, and nothing else.
#[derive(Debug, Clone)]
pub struct MailKeys {
    /// The name of the deployment.
    pub deployment: String,
    /// Opens commits.
    pub wrapping: WrappingKeys,
    /// Tags one-time tokens.
    pub one_time: LiveRing<Secret>,
}

impl KeySource {
    /// Reads every secret key, now and whenever it is time, by this clock.
    pub async fn open(
        self,
        now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
    ) -> Result<LiveKeys, KeysError> {
        let reader = Reader::open(self, &KeyName::SECRET, Arc::new(now)).await?;
        let slots = &reader.slots;
        Ok(LiveKeys {
            deployment: reader.deployment().ok_or_else(|| missing(KeyName::Deployment))?,
            wrapping: reader.live(slots.wrapping.as_ref(), KeyName::Wrapping)?,
            verifiers: reader.live(slots.verifiers.as_ref(), KeyName::Verifiers)?,
            views: reader.live(slots.views.as_ref(), KeyName::Views)?,
            identifiers: reader.identifiers().ok_or_else(|| missing(KeyName::Identifiers))?,
            refresh: reader.live(slots.refresh.as_ref(), KeyName::Refresh)?,
            one_time: reader.live(slots.one_time.as_ref(), KeyName::OneTime)?,
            pepper: reader.live(slots.pepper.as_ref(), KeyName::Pepper)?,
            signing: reader.live(slots.signing.as_ref(), KeyName::Signing)?,
        })
    }

    /// Reads what the projection needs.
    pub async fn open_for_projection(
        self,
        now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
    ) -> Result<ProjectionKeys, KeysError> {
        const NAMES: [KeyName; 3] = [KeyName::Deployment, KeyName::Wrapping, KeyName::Views];
        let reader = Reader::open(self, &NAMES, Arc::new(now)).await?;
        let deployment = reader.deployment().ok_or_else(|| missing(KeyName::Deployment))?;
        let wrapping = reader.live(reader.slots.wrapping.as_ref(), KeyName::Wrapping)?;
        let views = reader.live(reader.slots.views.as_ref(), KeyName::Views)?;
        Ok(ProjectionKeys {
            wrapping: WrappingKeys::new(deployment.clone(), wrapping),
            views: ViewKeys::new(deployment, views),
        })
    }

    /// Reads what sending mail needs.
    pub async fn open_for_mail(
        self,
        now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
    ) -> Result<MailKeys, KeysError> {
        const NAMES: [KeyName; 3] = [KeyName::Deployment, KeyName::Wrapping, KeyName::OneTime];
        let reader = Reader::open(self, &NAMES, Arc::new(now)).await?;
        let deployment = reader.deployment().ok_or_else(|| missing(KeyName::Deployment))?;
        let wrapping = reader.live(reader.slots.wrapping.as_ref(), KeyName::Wrapping)?;
        Ok(MailKeys {
            wrapping: WrappingKeys::new(deployment.clone(), wrapping),
            one_time: reader.live(reader.slots.one_time.as_ref(), KeyName::OneTime)?,
            deployment,
        })
    }

    /// Reads the public halves of the signing keys, and nothing secret.
    pub async fn open_public(
        self,
        now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
    ) -> Result<Live<PublicKeys>, KeysError> {
        let reader = Reader::open(self, &[KeyName::Public], Arc::new(now)).await?;
        reader.live(reader.slots.public.as_ref(), KeyName::Public)
    }

    pub(super) async fn read(&self, names: &[KeyName]) -> Result<Parts, KeysError> {
        match self {
            Self::File(path) => Ok(Parts::of(ServiceKeys::open(path)?, names)?),
            Self::Parameters(store) => store.read(names).await,
        }
    }

    /// The same, on a thread of its own, where asynchronous waiting is not possible.
    pub(super) fn read_blocking(&self, names: &[KeyName]) -> Result<Parts, KeysError> {
        match self {
            Self::File(path) => Ok(Parts::of(ServiceKeys::open(path)?, names)?),
            Self::Parameters(store) => store.read_blocking(names),
        }
    }
}

fn missing(name: KeyName) -> KeysError {
    KeysError::Missing(vec![name.as_str().to_owned()])
}
