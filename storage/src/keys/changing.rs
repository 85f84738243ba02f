use std::path::Path;

use aws_lc_rs::error::Unspecified;
use chrono::{DateTime, TimeDelta, Utc};

use super::source::{KeyName, KeySource, KeysError};
use super::{KeyFileError, KeyId, KeyInRing, KeyState, Ring, Secret, ServiceKeys, SigningSecret};

/// How long new keys lie in their rings before they make anything: every process has read them by then.
const LEAD: TimeDelta = TimeDelta::minutes(10);
/// And new signing keys: whoever else verifies tokens has fetched them by then.
const SIGNING_LEAD: TimeDelta = TimeDelta::hours(2);

/// The rings that a deployment's keys are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingName {
    /// Wraps data keys.
    Wrapping,
    /// Seals verifiers.
    Verifiers,
    /// Seals views.
    Views,
    /// Tags refresh tokens.
    Refresh,
    /// Tags one-time tokens.
    OneTime,
    /// The secret input of hashes.
    Pepper,
    /// Signs access tokens.
    Signing,
}

/// What is to become of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// One more key, published ahead of its use.
    Rotate,
    /// One more key, used at once; what was to be the next one is a former one without having been the current one.
    RotateNow,
    /// One key less.
    Retire(KeyId),
}

/// Why a ring stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The keys cannot be read or written.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// There is a key already that waits for its time.
    #[error("the ring {ring} has a next key already, {} from {from} on", id.as_str())]
    NextAlready {
        /// The ring.
        ring: &'static str,
        /// The key that waits.
        id: KeyId,
        /// Until when.
        from: DateTime<Utc>,
    },
    /// There is no such key.
    #[error("the ring {ring} has no key {}", id.as_str())]
    NoSuchKey {
        /// The ring.
        ring: &'static str,
        /// The id that was named.
        id: KeyId,
    },
    /// The key makes new values.
    #[error("the key {} is the current one of the ring {ring}; rotate it first", id.as_str())]
    Current {
        /// The ring.
        ring: &'static str,
        /// The key.
        id: KeyId,
    },
    /// The key waits for its time, which comes before every process has read that it is gone.
    #[error(
        "the key {} of the ring {ring} is used from {from} on by whoever does not hear of it before; rotate --now lets it \
         give way to another",
        id.as_str()
    )]
    SoonInUse {
        /// The ring.
        ring: &'static str,
        /// The key.
        id: KeyId,
        /// Its time.
        from: DateTime<Utc>,
    },
    /// The system has no random numbers.
    #[error("no random source")]
    NoRandomness,
    /// Others kept changing the same ring.
    #[error("others keep changing the ring {0}; look at it, and try again")]
    Contended(&'static str),
}

impl From<Unspecified> for ChangeError {
    fn from(_: Unspecified) -> Self {
        Self::NoRandomness
    }
}

impl From<KeyFileError> for ChangeError {
    fn from(error: KeyFileError) -> Self {
        Self::Keys(error.into())
    }
}

impl RingName {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Wrapping,
        Self::Verifiers,
        Self::Views,
        Self::Refresh,
        Self::OneTime,
        Self::Pepper,
        Self::Signing,
    ];

    /// The name, as an operator writes it.
    pub const fn as_str(self) -> &'static str {
        self.key().as_str()
    }

    pub(super) const fn key(self) -> KeyName {
        match self {
            Self::Wrapping => KeyName::Wrapping,
            Self::Verifiers => KeyName::Verifiers,
            Self::Views => KeyName::Views,
            Self::Refresh => KeyName::Refresh,
            Self::OneTime => KeyName::OneTime,
            Self::Pepper => KeyName::Pepper,
            Self::Signing => KeyName::Signing,
        }
    }

    /// What its keys are for, for a person.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Wrapping => "wraps the data keys in vaults",
            Self::Verifiers => "seals the verifiers in vaults",
            Self::Views => "seals views",
            Self::Refresh => "tags refresh tokens and rows of sessions",
            Self::OneTime => "tags one-time tokens",
            Self::Pepper => "goes into password hashes",
            Self::Signing => "signs access tokens",
        }
    }

    /// How long a new key is published before it is used.
    pub const fn lead(self) -> TimeDelta {
        match self {
            Self::Signing => SIGNING_LEAD,
            Self::Wrapping | Self::Verifiers | Self::Views | Self::Refresh | Self::OneTime | Self::Pepper => {
                LEAD
            }
        }
    }
}

/// A key that can be made.
pub(super) trait Fresh: Sized + Clone {
    fn fresh() -> Result<Self, Unspecified>;
}

impl Fresh for Secret {
    fn fresh() -> Result<Self, Unspecified> {
        Self::random()
    }
}

impl Fresh for SigningSecret {
    fn fresh() -> Result<Self, Unspecified> {
        Self::random()
    }
}

/// A ring as it should be.
pub(super) fn changed<K: Fresh>(
    name: RingName,
    ring: Ring<K>,
    change: &Change,
    now: DateTime<Utc>,
) -> Result<Ring<K>, ChangeError> {
    let keys = ring.keys(now);
    match change {
        Change::Rotate => {
            if let Some((key, from)) =
                keys.iter().filter(|key| key.state == KeyState::Next).find_map(|key| Some((key, key.since?)))
            {
                return Err(ChangeError::NextAlready { ring: name.as_str(), id: key.id.clone(), from });
            }
            Ok(ring.with_next(KeyId::random()?, K::fresh()?, now + name.lead(), now))
        }
        Change::RotateNow => Ok(ring.with_current(KeyId::random()?, K::fresh()?, now)),
        Change::Retire(id) => match keys.iter().find(|key| key.id == *id).map(|key| (key.state, key.since)) {
            None => Err(ChangeError::NoSuchKey { ring: name.as_str(), id: id.clone() }),
            Some((KeyState::Current, _)) => Err(ChangeError::Current { ring: name.as_str(), id: id.clone() }),
            Some((KeyState::Next, Some(from))) if from < now + LEAD => {
                Err(ChangeError::SoonInUse { ring: name.as_str(), id: id.clone(), from })
            }
            Some((KeyState::Next | KeyState::Former, _)) => Ok(ring.without(id, now)),
        },
    }
}

impl ServiceKeys {
    /// The keys of a ring at this time, without the keys.
    pub fn ring(&self, name: RingName, now: DateTime<Utc>) -> Vec<KeyInRing> {
        match name {
            RingName::Wrapping => self.wrapping.keys(now),
            RingName::Verifiers => self.verifiers.keys(now),
            RingName::Views => self.views.keys(now),
            RingName::Refresh => self.refresh.keys(now),
            RingName::OneTime => self.one_time.keys(now),
            RingName::Pepper => self.pepper.keys(now),
            RingName::Signing => self.signing.keys(now),
        }
    }

    fn change(mut self, name: RingName, change: &Change, now: DateTime<Utc>) -> Result<Self, ChangeError> {
        match name {
            RingName::Wrapping => self.wrapping = changed(name, self.wrapping, change, now)?,
            RingName::Verifiers => self.verifiers = changed(name, self.verifiers, change, now)?,
            RingName::Views => self.views = changed(name, self.views, change, now)?,
            RingName::Refresh => self.refresh = changed(name, self.refresh, change, now)?,
            RingName::OneTime => self.one_time = changed(name, self.one_time, change, now)?,
            RingName::Pepper => self.pepper = changed(name, self.pepper, change, now)?,
            RingName::Signing => self.signing = changed(name, self.signing, change, now)?,
        }
        Ok(self)
    }
}

impl KeySource {
    /// Every secret key, as it is now.
    pub async fn whole(&self) -> Result<ServiceKeys, KeysError> {
        let parts = self.read(&KeyName::SECRET).await?;
        let missing = |name: KeyName| KeysError::Missing(vec![name.as_str().to_owned()]);
        Ok(ServiceKeys {
            deployment: parts.deployment.ok_or_else(|| missing(KeyName::Deployment))?,
            wrapping: parts.wrapping.ok_or_else(|| missing(KeyName::Wrapping))?,
            verifiers: parts.verifiers.ok_or_else(|| missing(KeyName::Verifiers))?,
            views: parts.views.ok_or_else(|| missing(KeyName::Views))?,
            identifiers: parts.identifiers.ok_or_else(|| missing(KeyName::Identifiers))?,
            refresh: parts.refresh.ok_or_else(|| missing(KeyName::Refresh))?,
            one_time: parts.one_time.ok_or_else(|| missing(KeyName::OneTime))?,
            pepper: parts.pepper.ok_or_else(|| missing(KeyName::Pepper))?,
            signing: parts.signing.ok_or_else(|| missing(KeyName::Signing))?,
        })
    }

    /// Whether the public keys are those of the keys that sign, where they are kept by themselves. They are not while
    /// somebody changes these, nor after one who died doing so.
    pub async fn publishes_what_signs(&self) -> Result<bool, KeysError> {
        match self {
            // They follow from the one file, which is replaced in one step.
            Self::File(_) => Ok(true),
            Self::Parameters(store) => store.publishes_what_signs().await,
        }
    }

    /// Changes a ring for everybody who reads it; the ring as it is then. Two who do that at once both succeed, or one of
    /// them is refused for what the other did.
    pub async fn change(
        &self,
        name: RingName,
        change: &Change,
        now: DateTime<Utc>,
    ) -> Result<Vec<KeyInRing>, ChangeError> {
        match self {
            Self::File(path) => change_file(path, name, change, now),
            Self::Parameters(store) => match name {
                RingName::Signing => store.change_signing(change, now).await,
                RingName::Wrapping
                | RingName::Verifiers
                | RingName::Views
                | RingName::Refresh
                | RingName::OneTime
                | RingName::Pepper => {
                    store.change_ring::<Secret>(name, change, now).await.map(|ring| ring.keys(now))
                }
            },
        }
    }
}

fn change_file(
    path: &Path,
    name: RingName,
    change: &Change,
    now: DateTime<Utc>,
) -> Result<Vec<KeyInRing>, ChangeError> {
    let keys = ServiceKeys::replace(path, |keys| keys.change(name, change, now))?;
    Ok(keys.ring(name, now))
}
