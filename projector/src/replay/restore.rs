use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use domain::{Email, UserId, Version};
use futures::future::ready;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use storage::{
    Broken, Cleared, Clearing, Identifier, Identifiers, Put, ReadError, Scanned, Sessions, Snapshot,
    Unavailable,
};

use super::checkpoint::{Counts, Outcome};
use super::verify::LISTED;
use super::{AT_ONCE, Covered, Pass, Phase, RebuildReport, Replay, ReplayError, patiently};
use crate::ReadModel;

/// How often an identifier that keeps changing is looked at again. Nobody should be changing any.
const TRIES: usize = 4;

/// What a restore did, or what it would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// What was read of the log.
    #[serde(flatten)]
    pub covered: Covered,
    /// Views deleted.
    pub views_deleted: u64,
    /// Sessions and counts of guesses deleted.
    pub sessions_deleted: u64,
    /// What was done with log and identifiers.
    #[serde(flatten)]
    pub mended: Mended,
    /// The views made anew, and the verification of it all; `None` if it was only looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<RebuildReport>,
}

/// What a restore mends before views can be made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Mended {
    /// Users with a first commit, no second, and no vault: registrations of which the rest is not there. They are
    /// erased, as nobody can read the commit any more.
    pub users_buried: u64,
    /// Vaults without a commit, which were deleted: registrations of which the rest is not there.
    pub vaults_deleted: u64,
    /// Addresses that led to nobody and lead to their user now.
    pub identifiers_made: u64,
    /// Addresses that led to a user who does not have them, and lead to the one who does now.
    pub identifiers_corrected: u64,
    /// Addresses that led to a user who does not have them, and that nobody has: they are free.
    pub identifiers_freed: u64,
    /// Addresses that two users have, or that lead to a user whose log cannot be read: left as they are.
    pub contested_total: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contested: Vec<Contested>,
}

/// An address of a user that leads to another, and nobody can tell whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contested {
    /// Who has it by their log.
    pub user: UserId,
    /// To whom it leads: they have it, too, or their log cannot be read. `None` if to nobody.
    pub found: Option<UserId>,
}

impl RestoreReport {
    /// Whether all is well: the views are made, and everything agrees.
    pub fn holds(&self) -> bool {
        self.mended.contested_total == 0
            && self.rebuilt.as_ref().is_some_and(|rebuilt| rebuilt.verified.holds())
    }
}

impl Replay {
    /// Makes one deployment again of tables that were brought back as of different moments. The log, as it was brought
    /// back, is the truth: views and sessions go; half registrations are mended; identifiers are made to agree with
    /// the log; views are made from it; and all is verified. A user whose log cannot be read is parked and reported.
    ///
    /// No command may be taken meanwhile. Each step can be repeated: a restore that was killed is run again, and one
    /// run twice changes nothing but the views, which are made once more.
    pub async fn restore(
        &self,
        identifiers: &Identifiers,
        sessions: &Sessions,
        now: DateTime<Utc>,
    ) -> Result<RestoreReport, ReplayError> {
        let mut report = self.before_rebuild(identifiers, sessions, Some(now)).await?;
        report.rebuilt = Some(Box::pin(self.rebuild(identifiers, now)).await?);
        Ok(report)
    }

    /// Says what a restore would find to do before it makes the views, and writes nothing.
    pub async fn restore_dry_run(
        &self,
        identifiers: &Identifiers,
        sessions: &Sessions,
    ) -> Result<RestoreReport, ReplayError> {
        self.before_rebuild(identifiers, sessions, None).await
    }

    /// Makes sure that there is a log, unless nobody has ever registered: without one, a restore would take away
    /// everything else.
    ///
    /// # Errors
    /// [`ReplayError::LogEmpty`]; [`ReplayError::Unavailable`].
    pub async fn log_is_there(&self, identifiers: &Identifiers) -> Result<(), ReplayError> {
        if !patiently(|| self.model.log.is_empty()).await? {
            return Ok(());
        }
        let views = patiently(|| self.model.views.clear(Clearing::Count, None)).await?;
        let addresses = patiently(|| identifiers.page(None)).await?;
        if views.items == 0 && addresses.entries.is_empty() && addresses.malformed == 0 {
            return Ok(());
        }
        Err(ReplayError::LogEmpty)
    }

    async fn before_rebuild(
        &self,
        identifiers: &Identifiers,
        sessions: &Sessions,
        mending: Option<DateTime<Utc>>,
    ) -> Result<RestoreReport, ReplayError> {
        self.log_is_there(identifiers).await?;
        let clearing = if mending.is_some() { Clearing::Delete } else { Clearing::Count };
        let (mut views_deleted, mut sessions_deleted) = (0, 0);
        let mut from = None;
        loop {
            let Cleared { items, next } =
                patiently(|| self.model.views.clear(clearing, from.clone())).await?;
            views_deleted += items;
            from = match next {
                Some(next) => Some(next),
                None => break,
            };
        }
        let mut from = None;
        loop {
            let Cleared { items, next } = patiently(|| sessions.clear(clearing, from.clone())).await?;
            sessions_deleted += items;
            from = match next {
                Some(next) => Some(next),
                None => break,
            };
        }
        let pass = Arc::new(Mend {
            model: self.model.clone(),
            identifiers: identifiers.clone(),
            mending,
            mended: Mutex::default(),
        });
        let Counts { covered, .. } = self.over_log(Phase::Mend, None, &pass).await?;
        pass.every_identifier().await?;
        let mended = std::mem::take(&mut *pass.mended.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(RestoreReport { covered, views_deleted, sessions_deleted, mended, rebuilt: None })
    }
}

struct Mend {
    model: ReadModel,
    identifiers: Identifiers,
    /// At what time it mends; `None` if it only looks.
    mending: Option<DateTime<Utc>>,
    mended: Mutex<Mended>,
}

/// What is wrong with the identifier of an address that a user has by their log.
enum Claim {
    /// It leads to nobody.
    Free,
    /// It leads to this user, who does not have it.
    Of(UserId),
    /// It leads to this user, or to nobody who can be named, and it cannot be told whose it is.
    Contested(Option<UserId>),
}

impl Pass for Mend {
    async fn page(&self, users: Vec<Scanned>) -> Result<Vec<Outcome>, Unavailable> {
        let mut addressed = Vec::new();
        for Scanned { user, outcome, events: _ } in users {
            match outcome {
                Ok(snapshot) if snapshot.head.version == Version::NONE => {
                    patiently(|| self.half_registration(user)).await?;
                }
                Ok(snapshot) => addressed.extend(self.address_of(&snapshot).map(|address| (user, address))),
                Err(Broken::NoVault) => patiently(|| self.bury(user)).await?,
                // Erased: nothing is left to mend. Otherwise broken: the rebuild parks them.
                Err(_) => {}
            }
        }
        let all: Vec<_> = addressed.iter().map(|(_, (identifier, _))| identifier.clone()).collect();
        let owners = patiently(|| self.identifiers.find_all(&all)).await?;
        stream::iter(addressed)
            .filter(|(user, (identifier, _))| ready(owners.get(identifier) != Some(user)))
            .map(|(user, (identifier, email))| async move {
                patiently(|| self.lead_home(user, &identifier, &email)).await
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(Vec::new())
    }
}

impl Mend {
    fn count(&self, count: impl FnOnce(&mut Mended)) {
        count(&mut self.mended.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn address_of(&self, snapshot: &Snapshot) -> Option<(Identifier, Email)> {
        let email = snapshot.user.account()?.email.as_ref()?;
        Some((self.identifiers.key.email(email), email.clone()))
    }

    /// A vault without a commit goes.
    async fn half_registration(&self, user: UserId) -> Result<(), Unavailable> {
        if self.model.log.is_vault_alone(user).await?
            && (self.mending.is_none() || self.model.log.delete_lone_vault(user).await? == Put::Written)
        {
            tracing::warn!(%user, "a vault without a commit: deleted");
            self.count(|mended| mended.vaults_deleted += 1);
        }
        Ok(())
    }

    /// A first commit without a vault is as good as that of somebody erased.
    async fn bury(&self, user: UserId) -> Result<(), Unavailable> {
        if !self.model.log.is_registration_at_most(user).await? {
            return Ok(());
        }
        let buried = match self.mending {
            Some(now) => self.model.log.bury(user, now).await? == Put::Written,
            None => true,
        };
        if buried {
            tracing::warn!(%user, "a registration without a vault: the user is erased");
            self.count(|mended| mended.users_buried += 1);
        }
        Ok(())
    }

    /// Makes the address of a user lead to them, unless somebody else may have it by right.
    async fn lead_home(
        &self,
        user: UserId,
        identifier: &Identifier,
        email: &Email,
    ) -> Result<(), Unavailable> {
        for _ in 0..TRIES {
            let instead_of = match self.claim(user, identifier).await? {
                None => return Ok(()),
                Some(Claim::Contested(found)) => {
                    self.contest(user, found);
                    return Ok(());
                }
                Some(Claim::Free) => None,
                Some(Claim::Of(other)) => Some(other),
            };
            if self.mending.is_some() {
                let taken_by = match self.model.log.address_taken_by(user).await {
                    Ok(taken_by) => taken_by,
                    Err(ReadError::Unavailable(error)) => return Err(error),
                    Err(ReadError::Broken(_)) => None,
                };
                let Some(command) = taken_by else { return Ok(()) };
                if self.identifiers.lead_to(email, (user, command), instead_of).await? == Put::Lost {
                    continue;
                }
            }
            self.count(|mended| match instead_of {
                None => mended.identifiers_made += 1,
                Some(_) => mended.identifiers_corrected += 1,
            });
            return Ok(());
        }
        self.contest(user, None);
        Ok(())
    }

    /// What stands between a user and their address; `None` if nothing does.
    async fn claim(&self, user: UserId, identifier: &Identifier) -> Result<Option<Claim>, Unavailable> {
        let other = match self.identifiers.find(identifier).await {
            Ok(Some(found)) if found == user => return Ok(None),
            Ok(Some(other)) => other,
            Ok(None) => return Ok(Some(Claim::Free)),
            Err(ReadError::Broken(_)) => return Ok(Some(Claim::Contested(None))),
            Err(ReadError::Unavailable(error)) => return Err(error),
        };
        Ok(Some(match self.has_it(other, identifier).await? {
            Some(false) => Claim::Of(other),
            Some(true) | None => Claim::Contested(Some(other)),
        }))
    }

    /// Whether a user has this address by their log; `None` if that cannot be read.
    async fn has_it(&self, user: UserId, identifier: &Identifier) -> Result<Option<bool>, Unavailable> {
        Ok(match self.model.log.fold(user).await?.outcome {
            Ok(snapshot) => {
                Some(self.address_of(&snapshot).is_some_and(|(address, _)| address == *identifier))
            }
            Err(Broken::Erased) => Some(false),
            Err(Broken::NoVault) if self.model.log.is_registration_at_most(user).await? => Some(false),
            Err(_) => None,
        })
    }

    fn contest(&self, user: UserId, found: Option<UserId>) {
        self.count(|mended| {
            mended.contested_total += 1;
            if mended.contested.len() < LISTED {
                mended.contested.push(Contested { user, found });
            }
        });
    }

    /// Sets every address free that leads to a user who does not have it. Where a log cannot be read, that cannot be
    /// told, and the address stays taken.
    async fn every_identifier(&self) -> Result<(), Unavailable> {
        let mut from = None;
        let mut freed = 0;
        loop {
            let page = patiently(|| self.identifiers.page(from.clone())).await?;
            let found: Vec<bool> =
                stream::iter(page.entries)
                    .map(|(identifier, user)| async move {
                        patiently(|| self.is_set_free(&identifier, user)).await
                    })
                    .buffer_unordered(AT_ONCE)
                    .try_collect()
                    .await?;
            freed += found.into_iter().filter(|freed| *freed).count() as u64;
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        self.count(|mended| {
            // Where nothing is mended, those that would have been corrected before still lead to somebody else.
            let would_be_corrected = if self.mending.is_none() { mended.identifiers_corrected } else { 0 };
            mended.identifiers_freed += freed - freed.min(would_be_corrected);
        });
        Ok(())
    }

    async fn is_set_free(&self, identifier: &Identifier, user: UserId) -> Result<bool, Unavailable> {
        if self.has_it(user, identifier).await? != Some(false) {
            return Ok(false);
        }
        Ok(self.mending.is_none() || self.identifiers.set_free(identifier, user).await? == Put::Written)
    }
}
