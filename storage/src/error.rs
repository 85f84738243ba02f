use std::error::Error;

use aws_sdk_dynamodb::error::SdkError;
use domain::Version;

use crate::seal::OpenError;

/// DynamoDB, or something on the way to it, did not do what was asked: try again later. The cause is for operators.
#[derive(Debug, thiserror::Error)]
#[error("the database is not available")]
pub struct Unavailable(#[source] pub(crate) Box<dyn Error + Send + Sync>);

impl Unavailable {
    pub(crate) fn because(reason: &'static str) -> Self {
        Self(reason.into())
    }
}

impl<E: Error + Send + Sync + 'static, R: std::fmt::Debug + Send + Sync + 'static> From<SdkError<E, R>>
    for Unavailable
{
    fn from(error: SdkError<E, R>) -> Self {
        Self(Box::new(error))
    }
}

impl From<aws_lc_rs::error::Unspecified> for Unavailable {
    fn from(error: aws_lc_rs::error::Unspecified) -> Self {
        Self(Box::new(error))
    }
}

/// A user's log cannot be read, and asking again will not help: the user is parked, unless they have been erased.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A commit is missing.
    #[error("commit {expected} is missing, {found} follows")]
    Gap {
        /// The version that should have come.
        expected: Version,
        /// The version that came.
        found: Version,
    },
    /// There are commits and no vault with the key to them.
    #[error("the vault is missing")]
    NoVault,
    /// The vault is a tombstone: nobody will open this log again. No damage, and nothing to be parked for.
    #[error("the user has been erased")]
    Erased,
    /// An attribute of an item is missing or of the wrong type.
    #[error("the attribute {0} is missing or malformed")]
    Attribute(&'static str),
    /// An attribute of a commit is missing or of the wrong type, or an item that is no commit lies in its place.
    #[error("the attribute {1} of commit {0} is missing or malformed")]
    CommitAttribute(Version, &'static str),
    /// The user's data key did not open.
    #[error("the data key does not open")]
    DataKey(#[source] OpenError),
    /// The verifier did not open.
    #[error("the verifier does not open")]
    Verifier(#[source] OpenError),
    /// A commit did not open: this is the first broken link of the chain.
    #[error("commit {0} does not open")]
    Commit(Version, #[source] OpenError),
    /// A commit holds an event that this code does not know, or not in this form.
    #[error("commit {0} holds an unknown event")]
    UnknownEvent(Version),
}

impl Broken {
    /// A word for the kind of damage, for marks, metrics and logs; never data of the user. Marks hold it: a word is
    /// never given another meaning.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Gap { .. } => "gap",
            Self::NoVault => "no-vault",
            Self::Erased => "erased",
            Self::Attribute(_) | Self::CommitAttribute(..) => "attribute",
            Self::DataKey(OpenError::NewerForm(_)) | Self::Commit(_, OpenError::NewerForm(_)) => "newer-form",
            Self::DataKey(OpenError::UnknownKey(_)) => "unknown-key",
            Self::DataKey(OpenError::Form | OpenError::Broken) => "data-key",
            Self::Verifier(_) => "verifier",
            Self::Commit(_, OpenError::Form | OpenError::UnknownKey(_) | OpenError::Broken) => "seal",
            Self::UnknownEvent(_) => "unknown-event",
        }
    }

    /// The first commit that cannot be read, if it is known which.
    pub const fn version(&self) -> Option<Version> {
        match self {
            Self::Gap { expected: version, .. }
            | Self::CommitAttribute(version, _)
            | Self::Commit(version, _)
            | Self::UnknownEvent(version) => Some(*version),
            Self::NoVault | Self::Erased | Self::Attribute(_) | Self::DataKey(_) | Self::Verifier(_) => None,
        }
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Trying again will not help.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl<E: Error + Send + Sync + 'static, R: std::fmt::Debug + Send + Sync + 'static> From<SdkError<E, R>>
    for ReadError
{
    fn from(error: SdkError<E, R>) -> Self {
        Self::Unavailable(error.into())
    }
}
