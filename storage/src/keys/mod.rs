//! Service keys: one ring of secrets per purpose, kept outside the tables. What a process is not given it cannot
//! open: the parts of [`ServiceKeys`] go to the functions that need them, one by one.

mod changing;
mod file;
mod live;
mod parameters;
mod public;
mod reader;
mod ring;
mod secret;
mod source;

use serde::{Deserialize, Serialize};

pub use changing::{Change, ChangeError, RingName};
pub use file::{KeyFileError, MalformedKeys};
pub use live::{Live, LiveKeys, LiveRing};
pub use parameters::{Made, ParameterStore, RequestFailed};
pub use public::{PublicKey, PublicKeys};
pub use ring::{KeyInRing, KeyState, Ring, RingError};
pub use secret::{KeyId, Secret, SigningSecret};
pub use source::{KeyName, KeySetting, KeySettingError, KeySource, KeysError, MailKeys, ProjectionKeys};

/// Every service key of a deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceKeys {
    /// The name of the deployment: part of whatever is sealed, so that nothing opens in another one.
    pub deployment: String,
    /// Wraps the users' data keys.
    pub wrapping: Ring<Secret>,
    /// Seals the verifiers of passwords.
    pub verifiers: Ring<Secret>,
    /// Seals the documents of the read model.
    pub views: Ring<Secret>,
    /// Turns addresses into identifiers, and idempotency keys into command ids. Cannot rotate.
    pub identifiers: Secret,
    /// Tags refresh tokens and the rows of sessions.
    pub refresh: Ring<Secret>,
    /// Tags one-time tokens, which go out by mail.
    pub one_time: Ring<Secret>,
    /// The secret input of password hashes.
    pub pepper: Ring<Secret>,
    /// Signs access tokens.
    pub signing: Ring<SigningSecret>,
}
