//! `given(events).when(command).then(events)`, and the people and times that the tests speak of.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Command, CredentialId, DeviceId, DisplayName, Email, EmailChange, Rejection, SessionId, User, UserEvent,
    VerifiedPassword, Version, decide,
};
use uuid::Uuid;

/// Ada's first day: the time of the first commit, unless a test says otherwise.
pub(crate) fn noon() -> DateTime<Utc> {
    "2026-11-22T12:00:00.250Z".parse().unwrap()
}

/// That many minutes after noon.
pub(crate) fn minute(minutes: i64) -> DateTime<Utc> {
    noon() + TimeDelta::minutes(minutes)
}

/// Thirty days after noon, in whole seconds: when sessions end, unless a test says otherwise.
pub(crate) fn a_month_later() -> DateTime<Utc> {
    "2026-12-22T12:00:00Z".parse().unwrap()
}

pub(crate) fn ada() -> Email {
    Email::parse("ada@example.com").unwrap()
}

pub(crate) fn credential(number: u128) -> CredentialId {
    CredentialId::new(Uuid::from_u128(0x0193_0000_0000_7000_8000_00c0_0000_0000 + number))
}

/// Ada's first password, right at the attempt of that number.
pub(crate) fn password(attempt: u64) -> VerifiedPassword {
    VerifiedPassword { credential: credential(1), attempt, device: None }
}

pub(crate) fn device(number: u128) -> DeviceId {
    DeviceId::new(Uuid::from_u128(0x0193_0000_0000_7000_8000_00de_0000_0000 + number))
}

pub(crate) fn session(number: u128) -> SessionId {
    SessionId::new(Uuid::from_u128(0x0193_0000_0000_7000_8000_0050_0000_0000 + number))
}

pub(crate) fn registered() -> UserEvent {
    UserEvent::UserRegistered {
        email: ada(),
        name: Some(DisplayName::parse("Ada").unwrap()),
        credential: credential(1),
    }
}

/// Session `number`, begun by the attempt of that number.
pub(crate) fn signed_in(number: u32) -> UserEvent {
    signed_in_until(number, a_month_later())
}

pub(crate) fn signed_in_until(number: u32, ends: DateTime<Utc>) -> UserEvent {
    UserEvent::UserSignedIn {
        session: session(number.into()),
        ends,
        password: password(number.into()),
        evicted: None,
        lapsed: vec![],
    }
}

pub(crate) fn renamed(name: Option<&str>) -> UserEvent {
    UserEvent::UserRenamed { name: name.map(|name| DisplayName::parse(name).unwrap()) }
}

/// Another password, credential `number`, after Ada's first was right at the attempt of that number.
pub(crate) fn password_changed(number: u32, ended: impl IntoIterator<Item = u128>) -> UserEvent {
    UserEvent::UserPasswordChanged {
        credential: credential(number.into()),
        password: password(number.into()),
        ended: ended.into_iter().map(session).collect(),
    }
}

/// Asked for with Ada's address and first credential, good until a month later.
pub(crate) fn reset_requested() -> UserEvent {
    UserEvent::UserRequestedPasswordReset { email: ada(), credential: credential(1), ends: a_month_later() }
}

/// Another password, credential `number`, after so many attempts had been counted.
pub(crate) fn password_reset(number: u32, base: u64, ended: impl IntoIterator<Item = u128>) -> UserEvent {
    UserEvent::UserPasswordReset {
        credential: credential(number.into()),
        base,
        ended: ended.into_iter().map(session).collect(),
    }
}

pub(crate) fn disabled(attempt: u64) -> UserEvent {
    UserEvent::UserPasswordDisabled { attempt }
}

pub(crate) fn signed_out(number: u128) -> UserEvent {
    UserEvent::UserSignedOut { session: session(number) }
}

pub(crate) fn ended_session(number: u128) -> UserEvent {
    UserEvent::UserEndedSession { session: session(number) }
}

pub(crate) fn ended_others(ended: impl IntoIterator<Item = u128>) -> UserEvent {
    UserEvent::UserEndedOtherSessions { ended: ended.into_iter().map(session).collect() }
}

pub(crate) fn reused(number: u128) -> UserEvent {
    UserEvent::RefreshTokenReused { session: session(number) }
}

/// Where Ada would rather get her mail.
pub(crate) fn augusta() -> Email {
    Email::parse("augusta@example.com").unwrap()
}

/// A day after noon, in whole seconds: when tokens end, unless a test says otherwise.
pub(crate) fn a_day_later() -> DateTime<Utc> {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

pub(crate) fn verification_requested() -> UserEvent {
    UserEvent::UserRequestedEmailVerification { email: ada(), credential: credential(1), ends: a_day_later() }
}

pub(crate) fn verified() -> UserEvent {
    UserEvent::UserVerifiedEmail { email: ada() }
}

pub(crate) fn change_requested() -> UserEvent {
    UserEvent::UserRequestedEmailChange {
        email: augusta(),
        from: ada(),
        credential: credential(1),
        ends: a_day_later(),
    }
}

/// The change that waits for its token then.
pub(crate) fn change() -> EmailChange {
    EmailChange { from: ada(), to: augusta(), ends: a_day_later() }
}

pub(crate) fn changed() -> UserEvent {
    UserEvent::UserEmailChanged { from: ada(), to: augusta() }
}

pub(crate) fn registered_again() -> UserEvent {
    UserEvent::AddressRegisteredAgain { email: ada() }
}

pub(crate) fn released(ended: impl IntoIterator<Item = u128>) -> UserEvent {
    UserEvent::UserAddressReleased { email: ada(), ended: ended.into_iter().map(session).collect() }
}

pub(crate) fn request_verification() -> Command {
    Command::RequestEmailVerification { email: ada(), ends: a_day_later() }
}

/// Presents the token that was sent to Ada's address while she had credential `number`.
pub(crate) fn verify(number: u128) -> Command {
    Command::VerifyEmail { email: ada(), credential: credential(number) }
}

/// Asks in session 1 for another address.
pub(crate) fn request_change(email: Email) -> Command {
    Command::RequestEmailChange { session: session(1), email, ends: a_day_later() }
}

/// Presents the token that was sent to Ada's other address.
pub(crate) fn confirm_change() -> Command {
    Command::ConfirmEmailChange { change: change(), credential: credential(1) }
}

pub(crate) fn note_registration() -> Command {
    Command::NoteRegistration { email: ada() }
}

pub(crate) fn yield_address() -> Command {
    Command::YieldAddress { email: ada() }
}

pub(crate) fn register() -> Command {
    Command::Register {
        email: ada(),
        name: Some(DisplayName::parse("Ada").unwrap()),
        credential: credential(1),
    }
}

/// Asks for session `number` by the attempt of that number, with Ada's address and her first credential.
pub(crate) fn sign_in(number: u32) -> Command {
    Command::SignIn {
        email: ada(),
        credential: credential(1),
        attempt: number.into(),
        device: None,
        session: session(number.into()),
        ends: a_month_later(),
        verified_only: false,
    }
}

/// Asks in session 1 for another name, if the profile is of one of these versions.
pub(crate) fn rename(name: Option<&str>, replacing: Option<&[u64]>) -> Command {
    rename_in(session(1), name, replacing)
}

pub(crate) fn rename_in(session: SessionId, name: Option<&str>, replacing: Option<&[u64]>) -> Command {
    Command::Rename {
        session,
        name: name.map(|name| DisplayName::parse(name).unwrap()),
        replacing: replacing.map(|versions| versions.iter().map(|version| Version::new(*version)).collect()),
    }
}

/// Asks in session `acting` for credential `number` in place of Ada's first, which was right at the attempt of that
/// number.
pub(crate) fn change_password(acting: u128, number: u32) -> Command {
    Command::ChangePassword {
        session: session(acting),
        verified: password(number.into()),
        credential: credential(number.into()),
    }
}

pub(crate) fn request_reset(email: Email) -> Command {
    Command::RequestPasswordReset { email, ends: a_month_later() }
}

/// Asks for credential `number` in place of this one, after so many attempts were counted.
pub(crate) fn reset_password(replacing: u128, number: u128, base: u64) -> Command {
    Command::ResetPassword {
        email: ada(),
        since: None,
        replacing: credential(replacing),
        credential: credential(number),
        base,
    }
}

pub(crate) fn disable(attempt: u64) -> Command {
    Command::DisablePassword { attempt }
}

pub(crate) fn sign_out(number: u128) -> Command {
    Command::SignOut { session: session(number) }
}

pub(crate) fn end_session(acting: u128, number: u128) -> Command {
    Command::EndSession { acting: session(acting), session: session(number) }
}

pub(crate) fn end_others(acting: u128) -> Command {
    Command::EndOtherSessions { acting: session(acting) }
}

pub(crate) fn end_reused(number: u128) -> Command {
    Command::EndReusedSession { session: session(number) }
}

/// A user with this history: a commit for every event, a minute apart, from noon on.
pub(crate) fn given(events: impl IntoIterator<Item = UserEvent>) -> Given {
    let mut given = Given { user: User::Unregistered, version: Version::NONE, now: noon() };
    for event in events {
        given.version = given.version.next();
        given.user = given.user.evolve(&event, given.now, given.version);
        given.now += TimeDelta::minutes(1);
    }
    given
}

#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) user: User,
    version: Version,
    now: DateTime<Utc>,
}

impl Given {
    /// The command is decided at this time instead of a minute after the last commit.
    pub(crate) fn at(mut self, now: DateTime<Utc>) -> Self {
        self.now = now;
        self
    }

    pub(crate) fn when(self, command: &Command) -> Outcome {
        Outcome(decide(&self.user, command, self.now))
    }

    /// The sessions that the fold knows, oldest first.
    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.user.account().map_or(vec![], |account| account.sessions.iter().map(|live| live.id).collect())
    }
}

#[must_use]
pub(crate) struct Outcome(Result<Vec<UserEvent>, Rejection>);

impl Outcome {
    #[track_caller]
    pub(crate) fn then(self, events: impl IntoIterator<Item = UserEvent>) {
        assert_eq!(self.0, Ok(events.into_iter().collect()));
    }

    #[track_caller]
    pub(crate) fn then_nothing(self) {
        self.then([]);
    }

    #[track_caller]
    pub(crate) fn then_refused(self, rejection: Rejection) {
        assert_eq!(self.0, Err(rejection));
    }
}
