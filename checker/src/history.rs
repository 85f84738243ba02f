use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use domain::{CredentialId, SessionId, UserId, Version};

/// What a client asks of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// To register this address with this client's password. Without an idempotency key, each request is a
    /// registration of its own.
    Register {
        /// The address, by its number.
        address: usize,
        /// The password, by its number.
        password: usize,
        /// The idempotency key.
        key: Option<String>,
    },
    /// To sign in.
    SignIn {
        /// The address, by its number.
        address: usize,
        /// The password, by its number.
        password: usize,
        /// The token of a device, this one or another.
        device: Option<Device>,
    },
    /// New tokens for a refresh token.
    Refresh(Token),
    /// To end the session of an access token.
    SignOut(Access),
    /// The profile, as of at least this version if one is named.
    ReadProfile(Access, Option<u64>),
    /// To be called otherwise.
    Rename {
        /// In which session.
        access: Access,
        /// By which name; `None` for by none.
        name: Option<String>,
        /// The header `If-Match`.
        if_match: Option<String>,
    },
    /// Another password.
    ChangePassword {
        /// In which session.
        access: Access,
        /// What is said to be the current password, by its number.
        current: usize,
        /// The new password, by its number, or [`GUESSABLE`].
        new: usize,
    },
    /// A mail with which the password can be reset.
    Forget {
        /// The address, by its number.
        address: usize,
    },
    /// Another password, by a token from a mail.
    Reset {
        /// The token.
        token: Mailed,
        /// The new password, by its number, or [`GUESSABLE`].
        new: usize,
    },
    /// A mail to another address, which is to be the user's.
    AskForAddress {
        /// In which session.
        access: Access,
        /// The other address, by its number.
        address: usize,
    },
    /// To have an address taken for the user's, by a token from a mail.
    Verify {
        /// The token.
        token: Mailed,
        /// The address that it is to take the place of, by its number; `None` if it is the user's.
        from: Option<usize>,
    },
    /// The list of sessions.
    ListSessions(Access),
    /// To end a session: the one that asks, another, or one of somebody else.
    EndSession {
        /// In which session.
        access: Access,
        /// Which is to end.
        session: SessionId,
    },
    /// To end all other sessions.
    EndOtherSessions(Access),
    /// To revoke a refresh token, as OAuth has it.
    Revoke(Token),
    /// What an access token is worth, as OAuth has it.
    Introspect(Access),
    /// A page of one's own history, of what is before this version.
    LookBack(Access, Option<u64>),
}

/// So many commits a page of a history has.
pub const PAGE: usize = 5;

/// The number of a password that nobody may take.
pub const GUESSABLE: usize = 2_000_000;

/// A refresh token as a client has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its session.
    pub session: SessionId,
    /// Its place in the line of its session's tokens, from 0.
    pub generation: u64,
    /// Itself.
    pub text: String,
    /// Whether it is as the service gave it.
    pub genuine: bool,
}

/// A one-time token as it stands in a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailed {
    /// Whose it is.
    pub user: UserId,
    /// The address it went to, by its number.
    pub address: usize,
    /// The credential it lets replace, or that must be there still.
    pub credential: CredentialId,
    /// Since when the user has had the address, where it lets them set a password: who leaves an address and comes back
    /// cannot use what was sent there before.
    pub since: Option<Version>,
    /// When it is no longer good.
    pub ends: DateTime<Utc>,
    /// Itself.
    pub text: String,
    /// Whether it is as it stood in the mail.
    pub genuine: bool,
}

/// An access token as a client has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Its session.
    pub session: SessionId,
    /// Itself.
    pub text: String,
    /// When it expires.
    pub expires: DateTime<Utc>,
}

/// The token of a device as a client has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Whose device it is.
    pub user: UserId,
    /// The request that signed in on it first: by that it is told from others.
    pub first: usize,
    /// The request that brought the token.
    pub given: usize,
    /// Itself.
    pub text: String,
    /// Whether it is as the service gave it.
    pub genuine: bool,
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing, or that it is not known: the command may have been carried out, may yet be, or neither.
    Unknown,
    /// 201.
    Registered {
        /// The new user.
        user: UserId,
        /// The version of the log.
        version: u64,
    },
    /// 200 to a sign-in.
    SignedIn {
        /// Who.
        user: UserId,
        /// The version of the log.
        version: u64,
        /// The first refresh token.
        token: Token,
        /// The access token.
        access: Access,
        /// The token of the device.
        device: Device,
    },
    /// 200 to a refresh.
    Refreshed(Token, Access),
    /// 202.
    Accepted,
    /// 204.
    Done,
    /// 200 to a question for the profile, or to a change of it.
    Profile(Profile),
    /// 200 to a question for the sessions.
    Sessions(Vec<Listed>),
    /// 200 to a question for the history: version, kind and cause of each event, and where the next page begins.
    Events(Vec<Shown>, Option<u64>),
    /// 200 to a question for what a token is worth.
    Worth(bool),
    /// 401: the sign-in of the session is too long ago.
    SignInTooOld,
    /// 422: the current password is another.
    WrongPassword,
    /// 422: the new password is easy to guess.
    Guessable,
    /// 429: too many mails would go to an address that nobody has shown to be theirs.
    TooManyMails,
    /// A refusal, by its status.
    Refused(u16),
    /// An answer that the service must never give.
    Absurd(String),
}

/// A profile as it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Whose.
    pub user: String,
    /// The version of the log that it shows.
    pub version: u64,
    /// The entity tag.
    pub etag: String,
    /// The address.
    pub email: String,
    /// The name.
    pub name: Option<String>,
    /// When the profile last changed.
    pub updated_at: String,
}

/// A session as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The session.
    pub session: SessionId,
    /// Whether it is said to be the one that asks.
    pub current: bool,
    /// The `User-Agent` it began with.
    pub agent: Option<String>,
    /// The request that began it, by the network address shown.
    pub request: Option<usize>,
    /// When it began.
    pub signed_in_at: String,
}

/// An event as it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its version.
    pub version: u64,
    /// What it is called.
    pub kind: String,
    /// The request that caused it, by the network address shown.
    pub request: Option<usize>,
    /// When it happened.
    pub at: String,
}

/// One request and what came of it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number, which is also the network address it came from: the log records it with what it caused.
    pub request: usize,
    /// Who sent it.
    pub client: usize,
    /// Its `User-Agent`.
    pub agent: String,
    /// What was asked.
    pub command: Command,
    /// What the clock of whoever served it showed when it came.
    pub now: DateTime<Utc>,
    /// When it was sent, in the order of all that was sent and answered.
    pub invoked: u64,
    /// When its answer came, in the same order; never, if none came or it told nothing: effects may still come.
    pub completed: u64,
    /// The answer.
    pub answer: Answer,
}

/// All requests in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<(Vec<Entry>, u64)>);

impl Command {
    /// The session in which it is asked, for what is asked with an access token.
    pub const fn acting(&self) -> Option<&Access> {
        match self {
            Self::SignOut(access)
            | Self::ReadProfile(access, _)
            | Self::Rename { access, .. }
            | Self::ChangePassword { access, .. }
            | Self::AskForAddress { access, .. }
            | Self::ListSessions(access)
            | Self::EndSession { access, .. }
            | Self::LookBack(access, _)
            | Self::EndOtherSessions(access) => Some(access),
            Self::Register { .. }
            | Self::SignIn { .. }
            | Self::Refresh(_)
            | Self::Forget { .. }
            | Self::Reset { .. }
            | Self::Verify { .. }
            | Self::Revoke(_)
            | Self::Introspect(_) => None,
        }
    }

    /// The device on which somebody signs in as this user, if its token is as good as it should be.
    pub fn known_device(&self, user: UserId) -> Option<&Device> {
        match self {
            Self::SignIn { device, .. } => {
                device.as_ref().filter(|device| device.genuine && device.user == user)
            }
            _ => None,
        }
    }

    /// The name that a registration gives to its user: by it the log tells whose registration it was.
    pub fn name(key: Option<&str>, request: usize) -> String {
        key.map_or_else(|| format!("r{request}"), str::to_owned)
    }
}

impl Answer {
    /// Whether it says that nothing was done.
    pub const fn refuses(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::SignInTooOld
                | Self::WrongPassword
                | Self::Guessable
                | Self::TooManyMails
        )
    }
}

impl Entry {
    /// Whether its answer had come when the other was sent.
    pub const fn precedes(&self, other: &Self) -> bool {
        self.completed < other.invoked
    }

    /// Whether it had been sent when the other's answer came: it may have changed that answer.
    pub const fn may_affect(&self, other: &Self) -> bool {
        self.invoked < other.completed
    }

    /// The name a registration gives.
    pub fn registered_name(&self) -> Option<String> {
        match &self.command {
            Command::Register { key, .. } => Some(Command::name(key.as_deref(), self.request)),
            _ => None,
        }
    }
}

impl History {
    /// Notes that a request is sent; its number.
    pub(crate) fn begin(&self, client: usize, agent: &str, command: &Command, now: DateTime<Utc>) -> usize {
        let mut notes = self.notes();
        let (entries, time) = &mut *notes;
        let (request, invoked) = (entries.len(), *time);
        *time += 1;
        entries.push(Entry {
            request,
            client,
            agent: agent.to_owned(),
            command: command.clone(),
            now,
            invoked,
            completed: u64::MAX,
            answer: Answer::Unknown,
        });
        request
    }

    /// Notes the answer to a request.
    pub(crate) fn complete(&self, request: usize, answer: &Answer) {
        let mut notes = self.notes();
        let (entries, time) = &mut *notes;
        if *answer != Answer::Unknown
            && let Some(entry) = entries.get_mut(request)
        {
            entry.completed = *time;
            entry.answer = answer.clone();
        }
        *time += 1;
    }

    /// Everything so far.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.notes().0.clone()
    }

    fn notes(&self) -> MutexGuard<'_, (Vec<Entry>, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last eight characters tell sessions apart.
fn short(id: &impl ToString) -> String {
    let text = id.to_string();
    text.get(text.len().saturating_sub(8)..).unwrap_or_default().to_owned()
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, client, agent, command, now, invoked, completed, answer } = self;
        let until = if *completed == u64::MAX { "…".to_owned() } else { completed.to_string() };
        write!(
            f,
            "#{request:<3} c{client} {invoked:>4}–{until:<4} {} [{agent}] ",
            now.format("%H:%M:%S%.3f")
        )?;
        match command {
            Command::Register { address, password, key } => {
                write!(f, "register a{address} p{password} {}", key.as_deref().unwrap_or("-"))
            }
            Command::SignIn { address, password, device } => {
                write!(f, "sign in a{address} p{password}")?;
                device.as_ref().map_or(Ok(()), |Device { first, given, genuine, .. }| {
                    let forged = if *genuine { "" } else { " forged" };
                    write!(f, " on d{first} of #{given}{forged}")
                })
            }
            Command::Refresh(Token { session, generation, genuine, .. }) => {
                let forged = if *genuine { "" } else { " forged" };
                write!(f, "refresh {} g{generation}{forged}", short(session))
            }
            Command::SignOut(access) => write!(f, "sign out {}", short(&access.session)),
            Command::ReadProfile(access, at_least) => {
                write!(f, "read {} at least {at_least:?}", short(&access.session))
            }
            Command::Rename { access, name, if_match } => {
                write!(f, "rename {} to {name:?} if {if_match:?}", short(&access.session))
            }
            Command::ChangePassword { access, current, new } => {
                write!(f, "change password {} p{current} to p{new}", short(&access.session))
            }
            Command::Forget { address } => write!(f, "forget a{address}"),
            Command::Reset { token: Mailed { address, credential, genuine, .. }, new } => {
                let forged = if *genuine { "" } else { " forged" };
                write!(f, "reset a{address} {} to p{new}{forged}", short(credential))
            }
            Command::AskForAddress { access, address } => {
                write!(f, "ask for a{address} {}", short(&access.session))
            }
            Command::Verify { token: Mailed { user, address, genuine, .. }, from } => {
                let forged = if *genuine { "" } else { " forged" };
                write!(f, "verify a{address} of {} from {from:?}{forged}", short(user))
            }
            Command::ListSessions(access) => write!(f, "list {}", short(&access.session)),
            Command::EndSession { access, session } => {
                write!(f, "end {} by {}", short(session), short(&access.session))
            }
            Command::EndOtherSessions(access) => write!(f, "end all but {}", short(&access.session)),
            Command::Revoke(Token { session, generation, genuine, .. }) => {
                let forged = if *genuine { "" } else { " forged" };
                write!(f, "revoke {} g{generation}{forged}", short(session))
            }
            Command::Introspect(access) => write!(f, "introspect {}", short(&access.session)),
            Command::LookBack(access, before) => {
                write!(f, "look back {} before {before:?}", short(&access.session))
            }
        }?;
        f.write_str(" → ")?;
        match answer {
            Answer::Unknown => f.write_str("?"),
            Answer::Registered { user, version } => write!(f, "user {} v{version}", short(user)),
            Answer::SignedIn { user, version, token, .. } => {
                write!(f, "session {} of {} v{version}", short(&token.session), short(user))
            }
            Answer::Refreshed(token, _) => write!(f, "g{}", token.generation),
            Answer::Accepted => f.write_str("accepted"),
            Answer::Done => f.write_str("done"),
            Answer::Sessions(sessions) => {
                let listed: Vec<String> = sessions.iter().map(|listed| short(&listed.session)).collect();
                write!(f, "[{}]", listed.join(" "))
            }
            Answer::Events(shown, next) => {
                let shown: Vec<String> =
                    shown.iter().map(|shown| format!("v{} {}", shown.version, shown.kind)).collect();
                write!(f, "[{}] next {next:?}", shown.join(", "))
            }
            Answer::Worth(active) => write!(f, "active: {active}"),
            Answer::SignInTooOld => f.write_str("sign-in too old"),
            Answer::WrongPassword => f.write_str("wrong password"),
            Answer::Guessable => f.write_str("guessable"),
            Answer::TooManyMails => f.write_str("too many mails"),
            Answer::Profile(profile) => write!(f, "v{} {:?}", profile.version, profile.name),
            Answer::Refused(status) => write!(f, "{status}"),
            Answer::Absurd(text) => write!(f, "ABSURD {text}"),
        }
    }
}
