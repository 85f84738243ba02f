//! What is decided about addresses, and what becomes of them.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

use super::{Account, EmailChange, Rejection, UserEvent};
use crate::values::{CredentialId, Email, SessionId, Version};

/// For so long after a registration, an address that was not verified stays with whoever registered it.
pub const UNVERIFIED_KEPT_FOR: TimeDelta = TimeDelta::hours(24);

impl Account {
    /// Refuses what rests on an address that is not, or no longer, the user's.
    pub(super) fn has_address(&self, email: &Email) -> Result<(), Rejection> {
        if self.email.as_ref() == Some(email) { Ok(()) } else { Err(Rejection::CredentialMismatch) }
    }

    /// Refuses what rests on an address or a verifier that is not, or no longer, the user's.
    pub(super) fn matches(&self, email: &Email, credential: CredentialId) -> Result<(), Rejection> {
        self.has_address(email)?;
        if self.credential == credential { Ok(()) } else { Err(Rejection::CredentialMismatch) }
    }

    /// Refuses what was sent to the user's address before they left it and came back.
    pub(super) fn has_had_address(&self, since: Option<Version>) -> Result<(), Rejection> {
        if self.email_since == since { Ok(()) } else { Err(Rejection::CredentialMismatch) }
    }

    pub(super) fn request_verification(
        &self,
        email: &Email,
        ends: DateTime<Utc>,
    ) -> Result<Vec<UserEvent>, Rejection> {
        self.has_address(email)?;
        let event = UserEvent::UserRequestedEmailVerification {
            email: email.clone(),
            credential: self.credential,
            ends: ends.trunc_subsecs(0),
        };
        Ok(if self.email_verified { vec![] } else { vec![event] })
    }

    pub(super) fn verify(
        &self,
        email: &Email,
        credential: CredentialId,
    ) -> Result<Vec<UserEvent>, Rejection> {
        self.matches(email, credential)?;
        let event = UserEvent::UserVerifiedEmail { email: email.clone() };
        Ok(if self.email_verified { vec![] } else { vec![event] })
    }

    pub(super) fn request_change(
        &self,
        email: &Email,
        ends: DateTime<Utc>,
    ) -> Result<Vec<UserEvent>, Rejection> {
        let from = self.email.as_ref().ok_or(Rejection::CredentialMismatch)?;
        let event = UserEvent::UserRequestedEmailChange {
            email: email.clone(),
            from: from.clone(),
            credential: self.credential,
            ends: ends.trunc_subsecs(0),
        };
        Ok(if email == from { vec![] } else { vec![event] })
    }

    pub(super) fn confirm_change(
        &self,
        change: &EmailChange,
        credential: CredentialId,
    ) -> Result<Vec<UserEvent>, Rejection> {
        if self.email_change.as_ref() != Some(change) {
            return Err(Rejection::CredentialMismatch);
        }
        // It has come about: whoever comes with the token again has what they want.
        if self.matches(&change.to, credential).is_ok() {
            return Ok(vec![]);
        }
        self.matches(&change.from, credential)?;
        Ok(vec![UserEvent::UserEmailChanged { from: change.from.clone(), to: change.to.clone() }])
    }

    pub(super) fn note_registration(&self, email: &Email) -> Result<Vec<UserEvent>, Rejection> {
        self.has_address(email)?;
        Ok(vec![UserEvent::AddressRegisteredAgain { email: email.clone() }])
    }

    pub(super) fn yield_address(
        &self,
        email: &Email,
        now: DateTime<Utc>,
    ) -> Result<Vec<UserEvent>, Rejection> {
        let kept = self.email_verified || now - self.created_at < UNVERIFIED_KEPT_FOR;
        if kept || self.has_address(email).is_err() {
            return Err(Rejection::AddressKept);
        }
        Ok(vec![UserEvent::UserAddressReleased {
            email: email.clone(),
            ended: self.sessions.iter().map(|live| live.id).collect(),
        }])
    }

    /// The user after a commit of this time and version that shows that the address is theirs.
    pub(super) fn verified(self, email: &Email, at: DateTime<Utc>, version: Version) -> Self {
        if self.has_address(email).is_err() {
            return self;
        }
        Self { email_verified: true, updated_at: at, profile_version: version, ..self }
    }

    /// The user after a commit of this time and version that gives them another address.
    pub(super) fn moved(self, from: &Email, to: &Email, at: DateTime<Utc>, version: Version) -> Self {
        if self.has_address(from).is_err() {
            return self;
        }
        Self {
            email: Some(to.clone()),
            email_verified: true,
            email_since: Some(version),
            updated_at: at,
            profile_version: version,
            ..self
        }
    }

    /// The user after a commit of this time and version by which they have no address any more.
    pub(super) fn released(
        mut self,
        email: &Email,
        ended: &[SessionId],
        at: DateTime<Utc>,
        version: Version,
    ) -> Self {
        if self.has_address(email).is_err() {
            return self;
        }
        self.sessions.retain(|live| !ended.contains(&live.id));
        Self { email: None, email_change: None, updated_at: at, profile_version: version, ..self }
    }
}
