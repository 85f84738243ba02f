use chrono::{DateTime, SubsecRound as _, Utc};

use super::{Account, Command, LiveSession, Rejection, User, UserEvent, VerifiedPassword};
use crate::values::SessionId;

/// The most sessions a user can have; the oldest gives way to the next.
pub const MAX_SESSIONS: usize = 50;

/// What comes of a command for this user at this time: the events to append, none if there is nothing to do, or a
/// refusal.
pub fn decide(user: &User, command: &Command, now: DateTime<Utc>) -> Result<Vec<UserEvent>, Rejection> {
    match (command, user) {
        (Command::Register { email, name, credential }, User::Unregistered) => {
            Ok(vec![UserEvent::UserRegistered {
                email: email.clone(),
                name: name.clone(),
                credential: *credential,
            }])
        }
        (Command::Register { .. }, User::Registered(_)) => Err(Rejection::AlreadyRegistered),

        (
            Command::SignIn { email, credential, attempt, device, session, ends },
            User::Registered(account),
        ) => {
            if account.email != *email || account.credential != *credential {
                return Err(Rejection::CredentialMismatch);
            }
            let (evicted, lapsed) = giving_way(account, now);
            Ok(vec![UserEvent::UserSignedIn {
                session: *session,
                // The log keeps whole seconds: what is folded now must be what is folded from it later.
                ends: ends.trunc_subsecs(0),
                password: VerifiedPassword { credential: *credential, attempt: *attempt, device: *device },
                evicted,
                lapsed,
            }])
        }

        (Command::Rename { session, name, replacing }, User::Registered(account)) => {
            lives(account, *session)?;
            // Before the versions: whoever asks for what is so already, perhaps again after a lost answer, has it.
            if *name == account.name {
                return Ok(vec![]);
            }
            let may_be_changed =
                replacing.as_ref().is_none_or(|versions| versions.contains(&account.profile_version));
            if !may_be_changed {
                return Err(Rejection::ProfileChanged);
            }
            Ok(vec![UserEvent::UserRenamed { name: name.clone() }])
        }

        (Command::ChangePassword { session, verified, credential }, User::Registered(account)) => {
            // Before the credential: whose session has ended learns nothing about passwords.
            let others = others(account, *session)?;
            if account.credential != verified.credential {
                return Err(Rejection::CredentialMismatch);
            }
            Ok(vec![UserEvent::UserPasswordChanged {
                credential: *credential,
                password: *verified,
                ended: others,
            }])
        }

        (Command::SignOut { session }, User::Registered(account)) => {
            Ok(ended(account, *session, UserEvent::UserSignedOut { session: *session }))
        }
        (Command::EndSession { acting, session }, User::Registered(account)) => {
            let is_another = others(account, *acting)?.contains(session);
            let event = UserEvent::UserEndedSession { session: *session };
            Ok(if is_another { vec![event] } else { vec![] })
        }
        (Command::EndOtherSessions { acting }, User::Registered(account)) => {
            let ended = others(account, *acting)?;
            let event = || UserEvent::UserEndedOtherSessions { ended: ended.clone() };
            Ok(if ended.is_empty() { vec![] } else { vec![event()] })
        }
        (Command::EndReusedSession { session }, User::Registered(account)) => {
            Ok(ended(account, *session, UserEvent::RefreshTokenReused { session: *session }))
        }

        (
            Command::SignIn { .. }
            | Command::Rename { .. }
            | Command::ChangePassword { .. }
            | Command::SignOut { .. }
            | Command::EndSession { .. }
            | Command::EndOtherSessions { .. }
            | Command::EndReusedSession { .. },
            User::Unregistered,
        ) => Err(Rejection::NotRegistered),
    }
}

/// The event that ends a session, unless the session has ended already.
fn ended(account: &Account, session: SessionId, event: UserEvent) -> Vec<UserEvent> {
    if account.sessions.iter().any(|live| live.id == session) { vec![event] } else { vec![] }
}

/// Refuses a command that is given in a session which is not, or no longer, one of the user's.
fn lives(account: &Account, acting: SessionId) -> Result<(), Rejection> {
    let known = account.sessions.iter().any(|live| live.id == acting);
    if known { Ok(()) } else { Err(Rejection::SessionEnded) }
}

/// The sessions besides the one in which a command is given, which must be one of the user's.
fn others(account: &Account, acting: SessionId) -> Result<Vec<SessionId>, Rejection> {
    lives(account, acting)?;
    Ok(account.sessions.iter().map(|live| live.id).filter(|id| *id != acting).collect())
}

/// Which sessions make room for a new one: the oldest of those alive when there are too many, and all that are past
/// their end.
fn giving_way(account: &Account, now: DateTime<Utc>) -> (Option<SessionId>, Vec<SessionId>) {
    let (lapsed, alive): (Vec<&LiveSession>, Vec<&LiveSession>) =
        account.sessions.iter().partition(|session| session.ends <= now);
    let evicted = (alive.len() >= MAX_SESSIONS).then(|| alive.first().map(|oldest| oldest.id)).flatten();
    (evicted, lapsed.into_iter().map(|session| session.id).collect())
}
