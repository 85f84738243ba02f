use domain::UserId;
use storage::{Broken, Identifier, Identifiers, Snapshot, Unavailable, View};

use super::Verify;
use super::report::Finding;

/// How often an address is looked up again while its user's log keeps growing.
const TRIES: usize = 8;

impl Verify {
    /// From users to identifiers: the address of each leads to its user.
    pub(super) async fn addresses_of(
        &self,
        identifiers: &Identifiers,
        users: &[(UserId, Snapshot)],
    ) -> Result<(), Unavailable> {
        let addressed: Vec<_> = users
            .iter()
            .filter_map(|(user, snapshot)| Some((*user, identifier_of(identifiers, snapshot)?)))
            .collect();
        let wanted: Vec<_> = addressed.iter().map(|(_, identifier)| identifier.clone()).collect();
        let owners = identifiers.find_all(&wanted).await?;
        for (user, identifier) in addressed {
            if owners.get(&identifier) != Some(&user)
                && let Some(finding) = self.look_up_again(identifiers, user).await?
            {
                self.report(Some(user), finding);
            }
        }
        Ok(())
    }

    /// Looks an address up between two looks at the log. An address changes hands together with the log, so if that
    /// has not grown, the answer is final.
    async fn look_up_again(
        &self,
        identifiers: &Identifiers,
        user: UserId,
    ) -> Result<Option<Finding>, Unavailable> {
        for _ in 0..TRIES {
            let Ok(before) = self.model.log.fold(user).await?.outcome else { return Ok(None) };
            let Some(identifier) = identifier_of(identifiers, &before) else { return Ok(None) };
            let owners = identifiers.find_all(std::slice::from_ref(&identifier)).await?;
            let finding = match owners.get(&identifier) {
                Some(found) if *found == user => return Ok(None),
                Some(found) => Finding::IdentifierOfAnother { found: *found },
                None => Finding::IdentifierMissing,
            };
            if self.model.log.fold(user).await?.outcome.is_ok_and(|after| after.head == before.head) {
                return Ok(Some(finding));
            }
        }
        Ok(None)
    }

    /// From identifiers to users: each is that of its user's address.
    pub(super) async fn every_identifier(&self, identifiers: &Identifiers) -> Result<(), Unavailable> {
        let mut from = None;
        loop {
            let page = identifiers.page(from).await?;
            for _ in 0..page.malformed {
                self.report(None, Finding::IdentifierMalformed);
            }
            let mut users: Vec<_> = page.entries.iter().map(|(_, user)| *user).collect();
            users.sort_unstable();
            users.dedup();
            let views = self.model.views.read_all(&users, true).await?;
            for (identifier, user) in page.entries {
                // The views have been compared with the log before: most need no second look.
                let view = users.binary_search(&user).ok().and_then(|place| views.get(place));
                let shown = view.and_then(|stored| match &stored.view {
                    View::Of(snapshot) => identifier_of(identifiers, snapshot),
                    View::Absent | View::Foreign { .. } | View::Torn(_) => None,
                });
                if shown.as_ref() != Some(&identifier)
                    && !self.leads_home(identifiers, &identifier, user).await?
                {
                    self.report(Some(user), Finding::IdentifierWithoutUser);
                }
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Whether an identifier is that of its user's address, by the log; or is no more, or the log cannot tell.
    async fn leads_home(
        &self,
        identifiers: &Identifiers,
        identifier: &Identifier,
        user: UserId,
    ) -> Result<bool, Unavailable> {
        for _ in 0..TRIES {
            let before = match self.model.log.fold(user).await?.outcome {
                Ok(snapshot) if identifier_of(identifiers, &snapshot).as_ref() == Some(identifier) => {
                    return Ok(true);
                }
                Ok(snapshot) => Some(snapshot.head),
                Err(Broken::Erased) => None,
                Err(_) => return Ok(true),
            };
            let owners = identifiers.find_all(std::slice::from_ref(identifier)).await?;
            if owners.get(identifier) != Some(&user) {
                return Ok(true);
            }
            // The user may have come back to it between the two looks: with a commit.
            let after = self.model.log.fold(user).await?.outcome.ok().map(|after| after.head);
            if after == before {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn identifier_of(identifiers: &Identifiers, snapshot: &Snapshot) -> Option<Identifier> {
    snapshot.user.account()?.email.as_ref().map(|email| identifiers.key.email(email))
}
