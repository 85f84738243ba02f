use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::upcast;
use crate::values::{CredentialId, DeviceId, DisplayName, Email, SessionId};

/// What happened to a user, one variant per intent.
///
/// Names and fields are a storage contract: the log keeps them for ever. A variant or field is never given another
/// meaning; what changes gets a new name. `tests/golden/` holds every form ever written.
///
/// New code reads old events: a field that is added is optional, and left out where it is not needed; a form that
/// changes more than that is read by a function of `upcast.rs`, which says how to go about it. Old code refuses new
/// events: one with a field it does not know is as unreadable as one with a name it does not know, because to fold it
/// without that field, after a roll-back, would be to decide and store something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum UserEvent {
    /// Somebody registered with an address and a password.
    UserRegistered {
        /// The address taken, not yet verified.
        email: Email,
        /// What the user wants to be called, if they said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<DisplayName>,
        /// The verifier put into the vault.
        credential: CredentialId,
    },
    /// A verified password began a session.
    #[serde(deserialize_with = "upcast::user_signed_in")]
    UserSignedIn {
        /// The session begun.
        session: SessionId,
        /// When it ends at the latest, whatever is refreshed; whole seconds.
        #[serde(with = "chrono::serde::ts_seconds")]
        ends: DateTime<Utc>,
        /// The proof it rests on.
        password: VerifiedPassword,
        /// The session that gave way, when there were too many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evicted: Option<SessionId>,
        /// Sessions that had reached their end unnoticed and are forgotten here.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lapsed: Vec<SessionId>,
    },
    /// The user wants to be called otherwise.
    UserRenamed {
        /// What from now on; absent if by no name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<DisplayName>,
    },
    /// The user, who knew the password, took another one; every other session was ended.
    UserPasswordChanged {
        /// The verifier put into the vault, in place of the one before.
        credential: CredentialId,
        /// The proof it rests on: of the password before.
        password: VerifiedPassword,
        /// The sessions ended: all but the one in which it was asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ended: Vec<SessionId>,
    },
    /// Somebody who gave the user's address asked for a mail with which the password can be reset.
    UserRequestedPasswordReset {
        /// The address to which the mail goes.
        email: Email,
        /// The verifier that the token in it lets replace, and no other.
        credential: CredentialId,
        /// Until when the token is good; whole seconds.
        #[serde(with = "chrono::serde::ts_seconds")]
        ends: DateTime<Utc>,
    },
    /// Whoever reads the user's mail took another password, which shows that the address is theirs; every session was
    /// ended.
    UserPasswordReset {
        /// The verifier put into the vault, in place of the one before.
        credential: CredentialId,
        /// The number of the last attempt counted before: it and those before it no longer count.
        base: u64,
        /// The sessions ended: all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ended: Vec<SessionId>,
    },
    /// Too many attempts failed, one after the other: no password is right until it is reset.
    UserPasswordDisabled {
        /// The number of the last attempt that was counted.
        attempt: u64,
    },
    /// The user ended a session.
    UserSignedOut {
        /// The session ended.
        session: SessionId,
    },
    /// The user ended a session from another one.
    UserEndedSession {
        /// The session ended.
        session: SessionId,
    },
    /// The user ended all sessions but the one in which it was asked for.
    UserEndedOtherSessions {
        /// The sessions ended, at least one.
        ended: Vec<SessionId>,
    },
    /// A refresh token that had already been spent came back: somebody has a copy. The session was ended.
    RefreshTokenReused {
        /// The session ended.
        session: SessionId,
    },
    /// Somebody asked for a token to be sent to the user's address, by which the user shows that it is theirs.
    UserRequestedEmailVerification {
        /// The address.
        email: Email,
        /// The verifier in the vault: the token is void as soon as there is another one.
        credential: CredentialId,
        /// Until when the token is good; whole seconds.
        #[serde(with = "chrono::serde::ts_seconds")]
        ends: DateTime<Utc>,
    },
    /// The user showed that the address is theirs.
    UserVerifiedEmail {
        /// The address.
        email: Email,
    },
    /// The user asked for a token to be sent to another address, which becomes theirs if the token comes back. It takes
    /// the place of the one that was asked for before.
    UserRequestedEmailChange {
        /// The other address.
        email: Email,
        /// The user's address.
        from: Email,
        /// The verifier in the vault: the token is void as soon as there is another one.
        credential: CredentialId,
        /// Until when the token is good; whole seconds.
        #[serde(with = "chrono::serde::ts_seconds")]
        ends: DateTime<Utc>,
    },
    /// The user, who had shown that it is theirs, took another address.
    UserEmailChanged {
        /// The address before, which is free.
        from: Email,
        /// The address taken, verified.
        to: Email,
    },
    /// Somebody tried to register the user's address.
    AddressRegisteredAgain {
        /// The address.
        email: Email,
    },
    /// Somebody else registered the address, which the user had not verified in time. The user has none any more, and
    /// so no way to sign in.
    UserAddressReleased {
        /// The address, which is somebody else's.
        email: Email,
        /// The sessions ended: all that there were.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ended: Vec<SessionId>,
    },
}

/// A password was looked at and was right: what every event that rests on one records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifiedPassword {
    /// The verifier that was satisfied.
    pub credential: CredentialId,
    /// The number of the attempt, in the user's count of guesses or in the device's: what came before it no longer
    /// counts there.
    pub attempt: u64,
    /// The device whose count that is, if it was known; the user's own count stays as it was then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
}

impl UserEvent {
    /// The stored name of the event.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UserRegistered { .. } => "UserRegistered",
            Self::UserSignedIn { .. } => "UserSignedIn",
            Self::UserRenamed { .. } => "UserRenamed",
            Self::UserPasswordChanged { .. } => "UserPasswordChanged",
            Self::UserRequestedPasswordReset { .. } => "UserRequestedPasswordReset",
            Self::UserPasswordReset { .. } => "UserPasswordReset",
            Self::UserPasswordDisabled { .. } => "UserPasswordDisabled",
            Self::UserSignedOut { .. } => "UserSignedOut",
            Self::UserEndedSession { .. } => "UserEndedSession",
            Self::UserEndedOtherSessions { .. } => "UserEndedOtherSessions",
            Self::RefreshTokenReused { .. } => "RefreshTokenReused",
            Self::UserRequestedEmailVerification { .. } => "UserRequestedEmailVerification",
            Self::UserVerifiedEmail { .. } => "UserVerifiedEmail",
            Self::UserRequestedEmailChange { .. } => "UserRequestedEmailChange",
            Self::UserEmailChanged { .. } => "UserEmailChanged",
            Self::AddressRegisteredAgain { .. } => "AddressRegisteredAgain",
            Self::UserAddressReleased { .. } => "UserAddressReleased",
        }
    }
}
