use chrono::{DateTime, Utc};

use super::VerifiedPassword;
use crate::values::{CredentialId, DeviceId, DisplayName, Email, SessionId, Version};

/// What is asked of a user. Ids and times are made once, by the caller, before the first try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Begin the user's log.
    Register {
        /// The address to take.
        email: Email,
        /// What the user wants to be called.
        name: Option<DisplayName>,
        /// The verifier that goes into the vault with this command.
        credential: CredentialId,
    },
    /// Begin a session; the password has been verified.
    SignIn {
        /// The address by which the user was found.
        email: Email,
        /// The verifier that was satisfied.
        credential: CredentialId,
        /// The number of this attempt in the count of guesses.
        attempt: u64,
        /// The device in whose count that is; `None` if it is the user's.
        device: Option<DeviceId>,
        /// The session to begin.
        session: SessionId,
        /// When the session ends at the latest; the event has it in whole seconds.
        ends: DateTime<Utc>,
    },
    /// Call the user otherwise.
    Rename {
        /// The session in which it is asked for.
        session: SessionId,
        /// What to call them; `None` for by no name.
        name: Option<DisplayName>,
        /// The versions of the profile that may be changed; `None` if any may.
        replacing: Option<Vec<Version>>,
    },
    /// Take another password; the current one has been verified.
    ChangePassword {
        /// The session in which it is asked for, the only one that goes on.
        session: SessionId,
        /// The verifier that was satisfied, and by which attempt.
        verified: VerifiedPassword,
        /// The verifier that goes into the vault with this command.
        credential: CredentialId,
    },
    /// End a session.
    SignOut {
        /// The session to end.
        session: SessionId,
    },
    /// End another session than the one in which it is asked for.
    EndSession {
        /// The session in which it is asked for.
        acting: SessionId,
        /// The session to end.
        session: SessionId,
    },
    /// End all sessions but the one in which it is asked for.
    EndOtherSessions {
        /// The session in which it is asked for.
        acting: SessionId,
    },
    /// End a session because a spent refresh token of it was presented.
    EndReusedSession {
        /// The session to end.
        session: SessionId,
    },
}

impl Command {
    /// The name of the command, as the log's metadata records it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Register { .. } => "Register",
            Self::SignIn { .. } => "SignIn",
            Self::Rename { .. } => "Rename",
            Self::ChangePassword { .. } => "ChangePassword",
            Self::SignOut { .. } => "SignOut",
            Self::EndSession { .. } => "EndSession",
            Self::EndOtherSessions { .. } => "EndOtherSessions",
            Self::EndReusedSession { .. } => "EndReusedSession",
        }
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The user's log has begun already.
    #[error("the user is registered already")]
    AlreadyRegistered,
    /// The user's log has not begun.
    #[error("the user is not registered")]
    NotRegistered,
    /// The password was checked against a verifier, or found by an address, that is no longer the user's.
    #[error("the credential that was verified is not the user's")]
    CredentialMismatch,
    /// The session in which the command was given has ended.
    #[error("the session has ended")]
    SessionEnded,
    /// The profile is of another version than those that may be changed.
    #[error("the profile has changed")]
    ProfileChanged,
}
