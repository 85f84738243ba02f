use chrono::{DateTime, SubsecRound as _, Utc};

use super::{Account, Command, LiveSession, Rejection, User, UserEvent, VerifiedPassword};
use crate::values::{CredentialId, DisplayName, SessionId, Version};

/// The most sessions a user can have; the oldest gives way to the next.
pub const MAX_SESSIONS: usize = 50;
/// So many consecutive attempts may fail; with the last of them the password is disabled. [ASVS 5.0, 6.3.1; NIST SP
/// 800-63B-4, section 3.2.2]
pub const MOST_FAILURES: u64 = 100;

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
            Command::SignIn { email, credential, attempt, device, session, ends, verified_only },
            User::Registered(account),
        ) => {
            if account.password_disabled {
                return Err(Rejection::PasswordDisabled);
            }
            account.matches(email, *credential)?;
            if *verified_only && !account.email_verified {
                return Err(Rejection::EmailNotVerified);
            }
            let password = VerifiedPassword { credential: *credential, attempt: *attempt, device: *device };
            Ok(vec![signed_in(account, (*session, *ends), password, now)])
        }

        (Command::Rename { session, name, replacing }, User::Registered(account)) => {
            lives(account, *session)?;
            rename(account, name.as_ref(), replacing.as_deref())
        }
        (Command::ChangePassword { session, verified, credential }, User::Registered(account)) => {
            change_password(account, *session, *verified, *credential)
        }

        (Command::RequestPasswordReset { email, ends }, User::Registered(account)) => {
            account.has_address(email)?;
            Ok(vec![UserEvent::UserRequestedPasswordReset {
                email: email.clone(),
                credential: account.credential,
                ends: ends.trunc_subsecs(0),
            }])
        }
        (Command::ResetPassword { email, since, replacing, credential, base }, User::Registered(account)) => {
            account.matches(email, *replacing)?;
            account.has_had_address(*since)?;
            Ok(vec![UserEvent::UserPasswordReset {
                credential: *credential,
                base: *base,
                ended: account.sessions.iter().map(|live| live.id).collect(),
            }])
        }
        (Command::DisablePassword { attempt }, User::Registered(account)) => Ok(disable(account, *attempt)),

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

        (Command::RequestEmailVerification { email, ends }, User::Registered(account)) => {
            account.request_verification(email, *ends)
        }
        (Command::VerifyEmail { email, credential }, User::Registered(account)) => {
            account.verify(email, *credential)
        }
        (Command::RequestEmailChange { session, email, ends }, User::Registered(account)) => {
            lives(account, *session)?;
            account.request_change(email, *ends)
        }
        (Command::ConfirmEmailChange { change, credential }, User::Registered(account)) => {
            account.confirm_change(change, *credential)
        }
        (Command::NoteRegistration { email }, User::Registered(account)) => account.note_registration(email),
        (Command::YieldAddress { email }, User::Registered(account)) => account.yield_address(email, now),

        (
            Command::SignIn { .. }
            | Command::Rename { .. }
            | Command::ChangePassword { .. }
            | Command::RequestPasswordReset { .. }
            | Command::ResetPassword { .. }
            | Command::DisablePassword { .. }
            | Command::SignOut { .. }
            | Command::EndSession { .. }
            | Command::EndOtherSessions { .. }
            | Command::EndReusedSession { .. }
            | Command::RequestEmailVerification { .. }
            | Command::VerifyEmail { .. }
            | Command::RequestEmailChange { .. }
            | Command::ConfirmEmailChange { .. }
            | Command::NoteRegistration { .. }
            | Command::YieldAddress { .. },
            User::Unregistered,
        ) => Err(Rejection::NotRegistered),
    }
}

/// The event that begins a session.
fn signed_in(
    account: &Account,
    (session, ends): (SessionId, DateTime<Utc>),
    password: VerifiedPassword,
    now: DateTime<Utc>,
) -> UserEvent {
    let (evicted, lapsed) = giving_way(account, now);
    // The log keeps whole seconds: what is folded now must be what is folded from it later.
    UserEvent::UserSignedIn { session, ends: ends.trunc_subsecs(0), password, evicted, lapsed }
}

fn disable(account: &Account, attempt: u64) -> Vec<UserEvent> {
    // Attempts before the last success, or the last reset, do not count.
    let failed = attempt.saturating_sub(account.last_success) >= MOST_FAILURES;
    let event = UserEvent::UserPasswordDisabled { attempt };
    if failed && !account.password_disabled { vec![event] } else { vec![] }
}

fn rename(
    account: &Account,
    name: Option<&DisplayName>,
    replacing: Option<&[Version]>,
) -> Result<Vec<UserEvent>, Rejection> {
    // Before the versions: whoever asks for what is so already, perhaps again after a lost answer, has it.
    if name == account.name.as_ref() {
        return Ok(vec![]);
    }
    if replacing.is_some_and(|versions| !versions.contains(&account.profile_version)) {
        return Err(Rejection::ProfileChanged);
    }
    Ok(vec![UserEvent::UserRenamed { name: name.cloned() }])
}

fn change_password(
    account: &Account,
    session: SessionId,
    verified: VerifiedPassword,
    credential: CredentialId,
) -> Result<Vec<UserEvent>, Rejection> {
    // Before the credential: whose session has ended learns nothing about passwords.
    let others = others(account, session)?;
    if account.password_disabled {
        return Err(Rejection::PasswordDisabled);
    }
    if account.credential != verified.credential {
        return Err(Rejection::CredentialMismatch);
    }
    Ok(vec![UserEvent::UserPasswordChanged { credential, password: verified, ended: others }])
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
