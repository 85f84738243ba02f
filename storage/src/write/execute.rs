use std::fmt;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use domain::{Command, CommandId, Rejection, UserEvent, UserId, Version, decide};

use super::append::Outcome;
use super::effects::{Companion, Context, Enclosed};
use crate::error::{Broken, ReadError, Unavailable};
use crate::log::{Commit, Metadata, Recorded, Snapshot, StoredCommit};
use crate::retry::Backoff;
use crate::sessions::Origin;
use crate::store::{Loaded, Store};

/// A command to be carried out: everything about it that must be the same in every try.
#[derive(Clone)]
pub struct Intent {
    /// What is asked.
    pub command: Command,
    /// The command's id.
    pub id: CommandId,
    /// When it was given. Cut to milliseconds, so that what is folded now is what is folded when it is read again.
    pub at: DateTime<Utc>,
    /// The network address it came from.
    pub address: Option<String>,
    /// The `User-Agent` it came from.
    pub agent: Option<String>,
    /// What it brings along.
    pub enclosed: Enclosed,
}

/// Without the network address and the `User-Agent`, which are personal.
impl fmt::Debug for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intent")
            .field("command", &self.command)
            .field("id", &self.id)
            .field("at", &self.at)
            .field("enclosed", &self.enclosed)
            .finish_non_exhaustive()
    }
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The user with it.
    pub snapshot: Snapshot,
    /// The version of its commit; `None` if there was nothing to do.
    pub version: Option<Version>,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The rules refuse it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The address belongs to somebody.
    #[error("the address is taken")]
    Taken,
    /// The session in which the command was given has ended.
    #[error("the session has ended")]
    SessionEnded,
    /// Too many mails have been sent to somebody who never showed that they read them: 3 within an hour or 10 within a
    /// day, or news of another move within a day. So long until the next.
    #[error("too many mails")]
    TooManyMails(TimeDelta),
    /// Perhaps it was carried out, perhaps not: try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The user's log cannot be read.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl From<ReadError> for ExecuteError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(error) => Self::Unavailable(error),
            ReadError::Broken(error) => Self::Broken(error),
        }
    }
}

impl Store {
    /// Carries a command out: decides, appends, and on a conflict decides again with what came in between. However
    /// often it tries, the command takes effect at most once.
    ///
    /// What appends nothing is final only after the log has been read to its end: an old view refuses nobody. On a
    /// mismatch of credentials `loaded` is left as it was last read, for the caller to look again.
    ///
    /// # Errors
    /// [`ExecuteError`]. No new try starts later than [`crate::NO_NEW_TRY_AFTER`], or what the store was told
    /// instead.
    pub async fn execute(&self, loaded: &mut Loaded, intent: &Intent) -> Result<Appended, ExecuteError> {
        let now = intent.at.trunc_subsecs(3);
        let mut backoff = Backoff::within(self.no_new_try_after);
        let mut guard_failed = false;
        loop {
            if loaded.snapshot.head.version == Version::NONE && !loaded.fresh {
                self.freshen(loaded).await?;
            }
            let events = match decide(&loaded.snapshot.user, &intent.command, now) {
                Ok(events) if !events.is_empty() => events,
                _ if !loaded.fresh => {
                    self.freshen(loaded).await?;
                    continue;
                }
                Ok(_) => {
                    self.end_leftover(loaded.user, &intent.command).await?;
                    return Ok(Appended { snapshot: loaded.snapshot.clone(), version: None });
                }
                Err(rejection) => return Err(rejection.into()),
            };
            match self.try_once(loaded, intent, events, &mut backoff).await? {
                (Outcome::Appended, snapshot) => {
                    let version = Some(snapshot.head.version);
                    loaded.snapshot = snapshot.clone();
                    return Ok(Appended { snapshot, version });
                }
                (Outcome::AppendedBefore, tried) => {
                    return self.appended_before(loaded, tried.head.version).await;
                }
                (Outcome::Taken, _) => return Err(ExecuteError::Taken),
                (Outcome::TooManyMails(wait), _) => return Err(ExecuteError::TooManyMails(wait)),
                (Outcome::SessionEnded, _) if guard_failed => return Err(ExecuteError::SessionEnded),
                (Outcome::Stale, _) if guard_failed => {
                    return Err(Unavailable::because("an item without a commit stands in the way").into());
                }
                (Outcome::SessionEnded | Outcome::Stale, _) => guard_failed = true,
                (Outcome::Conflict, _) => {
                    if !backoff.wait().await {
                        return Err(Unavailable::because("too many commands of one user at once").into());
                    }
                }
            }
            self.freshen(loaded).await?;
        }
    }

    /// Deletes the row of a session that the log says has ended already: somebody put it back. Whoever ends a session
    /// must not be told that it is done while it lives.
    async fn end_leftover(&self, user: UserId, command: &Command) -> Result<(), Unavailable> {
        match command {
            Command::SignOut { session }
            | Command::EndSession { acting: _, session }
            | Command::EndReusedSession { session } => self.sessions.delete(user, *session).await,
            Command::Register { .. }
            | Command::SignIn { .. }
            | Command::Rename { .. }
            | Command::ChangePassword { .. }
            | Command::RequestPasswordReset { .. }
            | Command::ResetPassword { .. }
            | Command::DisablePassword { .. }
            | Command::EndOtherSessions { .. }
            | Command::RequestEmailVerification { .. }
            | Command::VerifyEmail { .. }
            | Command::RequestEmailChange { .. }
            | Command::ConfirmEmailChange { .. }
            | Command::NoteRegistration { .. }
            | Command::YieldAddress { .. } => Ok(()),
        }
    }

    /// The answer to a command that took effect in an earlier request. What that request made (the user's data key,
    /// ids, times) is in the log, and what this one made is void: nothing may be chained to it.
    pub(super) async fn appended_before(
        &self,
        loaded: &mut Loaded,
        version: Version,
    ) -> Result<Appended, ExecuteError> {
        self.freshen(loaded).await?;
        if loaded.snapshot.head.version < version {
            return Err(Unavailable::because("the commit of an earlier try is gone").into());
        }
        Ok(Appended { snapshot: loaded.snapshot.clone(), version: Some(version) })
    }

    async fn try_once(
        &self,
        loaded: &Loaded,
        intent: &Intent,
        events: Vec<UserEvent>,
        backoff: &mut Backoff,
    ) -> Result<(Outcome, Snapshot), ExecuteError> {
        self.try_once_with(loaded, intent, events, Vec::new(), backoff).await
    }

    /// The same, with what else is to be written in the same transaction.
    pub(super) async fn try_once_with(
        &self,
        loaded: &Loaded,
        intent: &Intent,
        events: Vec<UserEvent>,
        also: Vec<Companion>,
        backoff: &mut Backoff,
    ) -> Result<(Outcome, Snapshot), ExecuteError> {
        let at = intent.at.trunc_subsecs(3);
        let context = Context {
            store: self,
            user: loaded.user,
            account: loaded.snapshot.user.account(),
            command: intent.id,
            key: &loaded.key,
            vault: loaded.vault.as_ref(),
            enclosed: &intent.enclosed,
            origin: Origin { agent: intent.agent.as_deref(), address: intent.address.as_deref() },
            now: at,
        };
        let mut companions = context.companions(&events)?;
        companions.extend(also);
        let head = loaded.snapshot.head;
        let commit = Commit {
            user: loaded.user,
            version: head.version.next(),
            command: intent.id,
            at,
            events: events.into_iter().map(|event| Recorded { event, meta: intent.metadata() }).collect(),
        };
        let stored = StoredCommit::seal(&commit, head.hash, &self.log.keys.deployment, &loaded.key)?;
        let outcome = self.append(intent.id, &stored, &companions, backoff).await?;
        let mut snapshot = loaded.snapshot.clone();
        snapshot.follow(&commit, stored.hash());
        Ok((outcome, snapshot))
    }
}

impl Intent {
    pub(super) fn metadata(&self) -> Metadata {
        Metadata {
            command: self.command.name().to_owned(),
            address: self.address.clone(),
            agent: self.agent.clone(),
        }
    }
}
