//! The only crate that knows DynamoDB: log, identifiers, views, sessions, and the sealing of all of it.
//!
//! Invariants: nothing here knows HTTP or Lambda; nothing in a table is personal or secret in clear; nobody updates
//! or deletes a commit; what is refused rests on consistent reads; identifiers and vaults are written in the
//! transaction of a commit, and otherwise only by what a restore needs (`restore.rs`), and vaults when their keys rotate
//! (`rewrap.rs`).

mod checkpoints;
mod client;
mod environment;
mod error;
mod identifiers;
mod items;
pub mod keys;
mod log;
pub mod one_time;
mod parameter;
mod parking;
mod restore;
mod retry;
mod rewrap;
mod seal;
mod sessions;
mod store;
pub mod tables;
mod usage;
mod vault;
mod views;
mod write;

pub use checkpoints::{Checkpoints, ReplayPart};
pub use client::{client, warm};
pub use environment::environment;
pub use error::{Broken, ReadError, Unavailable};
pub use identifiers::{Identifier, IdentifierCursor, IdentifierKey, IdentifierPage, Identifiers};
pub use log::{
    Commit, CommitHash, EventLog, Head, LogScan, Metadata, Moment, Past, PastError, Recorded, ScanPosition,
    Scanned, Segment, Snapshot, version_of,
};
pub use parameter::parameter;
pub use parking::Parked;
pub use restore::{Cleared, ClearedUpTo, Clearing};
pub use retry::NO_NEW_TRY_AFTER;
pub use rewrap::{KeyUsers, Rewrapped, VaultCursor, VaultPage};
pub use seal::OpenError;
pub use sessions::{
    Claimed, ClientId, CountError, Counted, Guessed, Guesses, KnownDevice, Lifetimes, ListedSession,
    MailClaim, MailClaims, NewSession, RefreshToken, Rotation, Session, SessionKeys, Sessions, TokenError,
};
pub use store::{Loaded, Store};
pub use usage::{Usage, counted, usage_of};
pub use vault::{DataKey, Vault, VerifierKeys, WrappingKeys, is_vault};
pub use views::{Put, Replacing, StoredView, TornView, View, ViewCursor, ViewKeys, ViewPage, Views};
pub use write::{Appended, Enclosed, ExecuteError, Intent, Pretended};
