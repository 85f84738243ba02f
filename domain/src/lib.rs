//! The rules of Annals, and nothing else.
//!
//! A command is decided against a user, which is the fold of that user's events, and yields new events:
//! [`decide`] and [`User::evolve`]. Both are pure. What a decision needs from outside (ids, times, the result of
//! a password check) is part of the [`Command`] or an argument.
//!
//! Invariant: no clock, no randomness, no environment and no I/O in this crate; `clippy.toml` bans them.

pub mod user;
pub mod values;

pub use user::{
    Account, Command, EmailChange, FOLD, LiveSession, MAX_SESSIONS, MOST_FAILURES, Rejection,
    UNVERIFIED_KEPT_FOR, User, UserEvent, VerifiedPassword, decide,
};
pub use values::{
    CommandId, CredentialId, DeviceId, DisplayName, Email, Fault, NewPassword, PresentedPassword, SessionId,
    UserId, Version,
};
