//! A registration of an address that its owner has not verified in time: both logs change in one transaction.

use chrono::SubsecRound as _;
use domain::{Command, Email, decide};

use super::append::Outcome;
use super::effects::{Companion, Context, Kind, put_new};
use super::execute::{Appended, ExecuteError, Intent};
use crate::error::Unavailable;
use crate::log::{Commit, Metadata, Recorded, StoredCommit};
use crate::retry::Backoff;
use crate::sessions::Origin;
use crate::store::{Loaded, Store};
use crate::write::Enclosed;

impl Store {
    /// Registers somebody at an address that its owner yields: the end of the one's claim and the beginning of the
    /// other's are one transaction. Whatever else the owner does meanwhile, they do before it, and then it is decided
    /// again whether they yield, or after it, and then they have no address.
    ///
    /// # Errors
    /// [`ExecuteError::Rejected`] with [`domain::Rejection::AddressKept`] if the owner does not yield it, by the end of
    /// their log; [`ExecuteError::Taken`] if it leads to somebody else by now.
    pub async fn register_instead(
        &self,
        newcomer: &mut Loaded,
        owner: &mut Loaded,
        intent: &Intent,
    ) -> Result<Appended, ExecuteError> {
        let Command::Register { email, .. } = &intent.command else {
            return Err(Unavailable::because("an address is yielded to a registration").into());
        };
        let now = intent.at.trunc_subsecs(3);
        let mut backoff = Backoff::within(self.no_new_try_after);
        loop {
            if !owner.fresh {
                self.freshen(owner).await?;
            }
            let companion = self.yielded(owner, email, intent)?;
            let events = decide(&newcomer.snapshot.user, &intent.command, now)?;
            match self.try_once_with(newcomer, intent, events, companion, &mut backoff).await? {
                (Outcome::Appended, snapshot) => {
                    let version = Some(snapshot.head.version);
                    newcomer.snapshot = snapshot.clone();
                    return Ok(Appended { snapshot, version });
                }
                (Outcome::AppendedBefore, tried) => {
                    return self.appended_before(newcomer, tried.head.version).await;
                }
                (Outcome::Taken, _) => return Err(ExecuteError::Taken),
                (Outcome::Conflict, _) => self.freshen(newcomer).await?,
                (Outcome::Stale | Outcome::SessionEnded, _) => owner.fresh = false,
                (Outcome::TooManyMails(wait), _) => return Err(ExecuteError::TooManyMails(wait)),
            }
            if !backoff.wait().await {
                return Err(Unavailable::because("too many commands of one user at once").into());
            }
        }
    }

    /// What the owner's side of it writes: the commit that says so, and the ends of their sessions.
    fn yielded(
        &self,
        owner: &Loaded,
        email: &Email,
        intent: &Intent,
    ) -> Result<Vec<Companion>, ExecuteError> {
        let now = intent.at.trunc_subsecs(3);
        let command = Command::YieldAddress { email: email.clone() };
        let events = decide(&owner.snapshot.user, &command, now)?;
        let context = Context {
            store: self,
            user: owner.user,
            account: owner.snapshot.user.account(),
            command: intent.id,
            key: &owner.key,
            vault: owner.vault.as_ref(),
            enclosed: &Enclosed::Nothing,
            origin: Origin { agent: None, address: None },
            now,
        };
        let mut companions = context.companions(&events)?;
        let meta = || Metadata { command: command.name().to_owned(), ..intent.metadata() };
        let head = owner.snapshot.head;
        let commit = Commit {
            user: owner.user,
            version: head.version.next(),
            command: intent.id,
            at: now,
            events: events.into_iter().map(|event| Recorded { event, meta: meta() }).collect(),
        };
        let stored = StoredCommit::seal(&commit, head.hash, &self.log.keys.deployment, &owner.key)?;
        companions.push(Companion::new(Kind::Other, put_new(&self.log.table, "item", stored.into_item())?));
        Ok(companions)
    }
}
