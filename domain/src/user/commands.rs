use chrono::{DateTime, Utc};

use super::{EmailChange, VerifiedPassword};
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
        /// Whether only those may sign in who have shown that the address is theirs.
        verified_only: bool,
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
    /// Send a mail with which the password can be reset.
    RequestPasswordReset {
        /// The address by which the user was found, and to which the mail goes.
        email: Email,
        /// Until when the token in the mail is good; the event has it in whole seconds.
        ends: DateTime<Utc>,
    },
    /// Take another password; a token from a mail has been shown instead of the current one.
    ResetPassword {
        /// The address to which the token went.
        email: Email,
        /// Since which version the user had it then; `None` if since the registration.
        since: Option<Version>,
        /// The verifier that the user had when the token was made.
        replacing: CredentialId,
        /// The verifier that goes into the vault with this command.
        credential: CredentialId,
        /// The number of the last attempt that was counted: those up to it no longer count.
        base: u64,
    },
    /// Let no password of the user be right until it is reset: too many attempts have failed.
    DisablePassword {
        /// The number of the last attempt that was counted.
        attempt: u64,
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
    /// Send the user a token by which they show that the address is theirs.
    RequestEmailVerification {
        /// The address by which the user was found.
        email: Email,
        /// Until when the token is good; the event has it in whole seconds.
        ends: DateTime<Utc>,
    },
    /// Take it as shown that the address is the user's: a token that was sent there came back.
    VerifyEmail {
        /// The address that the token was sent to.
        email: Email,
        /// The verifier that the user had then.
        credential: CredentialId,
    },
    /// Send a token to another address, which becomes the user's if the token comes back.
    RequestEmailChange {
        /// The session in which it is asked for.
        session: SessionId,
        /// The other address.
        email: Email,
        /// Until when the token is good; the event has it in whole seconds.
        ends: DateTime<Utc>,
    },
    /// Take another address: the token that was sent there came back.
    ConfirmEmailChange {
        /// The change that the token was made for.
        change: EmailChange,
        /// The verifier that the user had when it was asked for.
        credential: CredentialId,
    },
    /// Tell the user that somebody tried to register their address.
    NoteRegistration {
        /// The address.
        email: Email,
    },
    /// Yield the address to somebody who registers it.
    YieldAddress {
        /// The address.
        email: Email,
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
            Self::RequestPasswordReset { .. } => "RequestPasswordReset",
            Self::ResetPassword { .. } => "ResetPassword",
            Self::DisablePassword { .. } => "DisablePassword",
            Self::SignOut { .. } => "SignOut",
            Self::EndSession { .. } => "EndSession",
            Self::EndOtherSessions { .. } => "EndOtherSessions",
            Self::EndReusedSession { .. } => "EndReusedSession",
            Self::RequestEmailVerification { .. } => "RequestEmailVerification",
            Self::VerifyEmail { .. } => "VerifyEmail",
            Self::RequestEmailChange { .. } => "RequestEmailChange",
            Self::ConfirmEmailChange { .. } => "ConfirmEmailChange",
            Self::NoteRegistration { .. } => "NoteRegistration",
            Self::YieldAddress { .. } => "YieldAddress",
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
    /// The password was checked against a verifier, or found by an address, that is no longer the user's; or a token
    /// was made for one, or for a change of address that nobody asks for any more.
    #[error("the credential that was verified is not the user's")]
    CredentialMismatch,
    /// Too many attempts have failed: no password is right until it is reset.
    #[error("the password is disabled")]
    PasswordDisabled,
    /// The user has not shown that the address is theirs.
    #[error("the address is not verified")]
    EmailNotVerified,
    /// The address is verified, or not registered for long enough to be yielded, or not the user's.
    #[error("the address is not yielded")]
    AddressKept,
    /// The session in which the command was given has ended.
    #[error("the session has ended")]
    SessionEnded,
    /// The profile is of another version than those that may be changed.
    #[error("the profile has changed")]
    ProfileChanged,
}
