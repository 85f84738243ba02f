//! The operator's commands, on the data of a running server or on what it left.

mod clients;
mod history;
mod keys;
mod parked;
mod rebuild;
mod repair;
mod report;
mod restore;
mod state;
mod unfinished;
mod verify;

pub(crate) use clients::new_client_secret;
pub(crate) use history::history;
pub(crate) use keys::keys;
pub(crate) use parked::parked;
pub(crate) use rebuild::rebuild;
pub(crate) use repair::repair;
pub(crate) use restore::restore;
pub(crate) use state::state;
pub(crate) use verify::verify;

use std::path::PathBuf;

use projector::replay::ReplayError;
use storage::keys::ChangeError;
use storage::{PastError, ReadError};

use crate::place::PlaceError;

/// Why an operator's command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// There is nothing to work on.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// There is no such user.
    #[error("there is no user {0}")]
    NoUser(String),
    /// There is nothing to say of that moment.
    #[error("no state of {0} at that moment")]
    NoState(String, #[source] PastError),
    /// Neither an id nor an address.
    #[error("{0} is neither a user id nor an address")]
    NotAUser(String),
    /// A server takes commands for the data.
    #[error("a server runs on the data in {0}; stop it first, so that nothing is taken meanwhile")]
    ServerRunning(PathBuf),
    /// It has not been said that nobody takes commands for the data.
    #[error("turn the API off first, then say so: --yes-the-api-is-off")]
    ApiPerhapsOn,
    /// The data folder cannot be written.
    #[error("cannot write to the data folder {0}")]
    Folder(PathBuf, #[source] std::io::Error),
    /// A run over the log ended early.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    NoRandomness,
    /// The keys cannot be changed like that.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The key cannot be retired.
    #[error(transparent)]
    Retire(#[from] keys::RetireError),
    /// The dead letters cannot be counted.
    #[error("cannot read {0}")]
    DeadLetters(PathBuf, #[source] std::io::Error),
    /// The result cannot be written.
    #[error("cannot write the result")]
    Output(#[from] std::io::Error),
}
