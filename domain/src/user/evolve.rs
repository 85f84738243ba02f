use chrono::{DateTime, Utc};

use super::{Account, EmailChange, LiveSession, User, UserEvent};
use crate::values::{CredentialId, DisplayName, Email, SessionId, Version};

impl User {
    /// The user after one more event, which happened at `at` (as the log keeps it, in whole milliseconds) in the
    /// commit numbered `version`.
    ///
    /// Total, and without judgement: an event is a fact. One that does not fit changes nothing.
    #[must_use]
    pub fn evolve(self, event: &UserEvent, at: DateTime<Utc>, version: Version) -> Self {
        match (self, event) {
            (Self::Unregistered, UserEvent::UserRegistered { email, name, credential }) => {
                Self::Registered(registered(email, name.as_ref(), *credential, (at, version)))
            }
            (
                Self::Registered(mut account),
                UserEvent::UserSignedIn { session, ends, password, evicted, lapsed },
            ) => {
                account.last_success = account.last_success.max(password.attempt);
                account.sessions.retain(|live| Some(live.id) != *evicted && !lapsed.contains(&live.id));
                account.sessions.push(LiveSession { id: *session, ends: *ends });
                Self::Registered(account)
            }
            (Self::Registered(account), UserEvent::UserRenamed { name }) => Self::Registered(Account {
                name: name.clone(),
                updated_at: at,
                profile_version: version,
                ..account
            }),
            (
                Self::Registered(mut account),
                UserEvent::UserPasswordChanged { credential, password, ended },
            ) => {
                account.credential = *credential;
                account.email_change = None;
                account.last_success = account.last_success.max(password.attempt);
                Self::Registered(without(account, ended))
            }
            (Self::Registered(mut account), UserEvent::UserPasswordReset { credential, base, ended }) => {
                account.credential = *credential;
                account.last_success = account.last_success.max(*base);
                account.password_disabled = false;
                account.email_change = None;
                if !account.email_verified {
                    account.email_verified = true;
                    account.updated_at = at;
                    account.profile_version = version;
                }
                Self::Registered(without(account, ended))
            }
            (Self::Registered(account), UserEvent::UserPasswordDisabled { attempt: _ }) => {
                Self::Registered(Account { password_disabled: true, ..account })
            }
            (
                Self::Registered(account),
                UserEvent::UserSignedOut { session }
                | UserEvent::UserEndedSession { session }
                | UserEvent::RefreshTokenReused { session },
            ) => Self::Registered(without(account, &[*session])),
            (Self::Registered(account), UserEvent::UserEndedOtherSessions { ended }) => {
                Self::Registered(without(account, ended))
            }
            (Self::Registered(account), UserEvent::UserVerifiedEmail { email }) => {
                Self::Registered(account.verified(email, at, version))
            }
            (
                Self::Registered(account),
                UserEvent::UserRequestedEmailChange { email, from, credential: _, ends },
            ) => {
                let change = EmailChange { from: from.clone(), to: email.clone(), ends: *ends };
                Self::Registered(Account { email_change: Some(change), ..account })
            }
            (Self::Registered(account), UserEvent::UserEmailChanged { from, to }) => {
                Self::Registered(account.moved(from, to, at, version))
            }
            (Self::Registered(account), UserEvent::UserAddressReleased { email, ended }) => {
                Self::Registered(account.released(email, ended, at, version))
            }
            (
                user @ Self::Registered(_),
                UserEvent::UserRegistered { .. }
                | UserEvent::UserRequestedPasswordReset { .. }
                | UserEvent::UserRequestedEmailVerification { .. }
                | UserEvent::AddressRegisteredAgain { .. },
            )
            | (
                user @ Self::Unregistered,
                UserEvent::UserSignedIn { .. }
                | UserEvent::UserRenamed { .. }
                | UserEvent::UserPasswordChanged { .. }
                | UserEvent::UserRequestedPasswordReset { .. }
                | UserEvent::UserPasswordReset { .. }
                | UserEvent::UserPasswordDisabled { .. }
                | UserEvent::UserSignedOut { .. }
                | UserEvent::UserEndedSession { .. }
                | UserEvent::UserEndedOtherSessions { .. }
                | UserEvent::RefreshTokenReused { .. }
                | UserEvent::UserRequestedEmailVerification { .. }
                | UserEvent::UserVerifiedEmail { .. }
                | UserEvent::UserRequestedEmailChange { .. }
                | UserEvent::UserEmailChanged { .. }
                | UserEvent::AddressRegisteredAgain { .. }
                | UserEvent::UserAddressReleased { .. },
            ) => user,
        }
    }
}

fn registered(
    email: &Email,
    name: Option<&DisplayName>,
    credential: CredentialId,
    (at, version): (DateTime<Utc>, Version),
) -> Account {
    Account {
        email: Some(email.clone()),
        email_verified: false,
        email_change: None,
        name: name.cloned(),
        credential,
        sessions: Vec::new(),
        last_success: 0,
        password_disabled: false,
        created_at: at,
        updated_at: at,
        profile_version: version,
    }
}

fn without(mut account: Account, ended: &[SessionId]) -> Account {
    account.sessions.retain(|live| !ended.contains(&live.id));
    account
}
