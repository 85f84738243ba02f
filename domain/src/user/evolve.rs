use chrono::{DateTime, Utc};

use super::{Account, LiveSession, User, UserEvent, VerifiedPassword};
use crate::values::{SessionId, Version};

impl User {
    /// The user after one more event, which happened at `at` (as the log keeps it, in whole milliseconds) in the
    /// commit numbered `version`.
    ///
    /// Total, and without judgement: an event is a fact. One that does not fit changes nothing.
    #[must_use]
    pub fn evolve(self, event: &UserEvent, at: DateTime<Utc>, version: Version) -> Self {
        match (self, event) {
            (Self::Unregistered, UserEvent::UserRegistered { email, name, credential }) => {
                Self::Registered(Account {
                    email: email.clone(),
                    email_verified: false,
                    name: name.clone(),
                    credential: *credential,
                    sessions: Vec::new(),
                    last_success: 0,
                    created_at: at,
                    updated_at: at,
                    profile_version: version,
                })
            }
            (
                Self::Registered(mut account),
                UserEvent::UserSignedIn { session, ends, password, evicted, lapsed },
            ) => {
                move_base(&mut account, password);
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
                move_base(&mut account, password);
                Self::Registered(without(account, ended))
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
            (user @ Self::Registered(_), UserEvent::UserRegistered { .. })
            | (
                user @ Self::Unregistered,
                UserEvent::UserSignedIn { .. }
                | UserEvent::UserRenamed { .. }
                | UserEvent::UserPasswordChanged { .. }
                | UserEvent::UserSignedOut { .. }
                | UserEvent::UserEndedSession { .. }
                | UserEvent::UserEndedOtherSessions { .. }
                | UserEvent::RefreshTokenReused { .. },
            ) => user,
        }
    }
}

/// What came before an attempt that succeeded no longer counts, unless it was counted apart, at a device.
fn move_base(account: &mut Account, password: &VerifiedPassword) {
    if password.device.is_none() {
        account.last_success = account.last_success.max(password.attempt);
    }
}

fn without(mut account: Account, ended: &[SessionId]) -> Account {
    account.sessions.retain(|live| !ended.contains(&live.id));
    account
}
