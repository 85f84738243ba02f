use chrono::{SubsecRound as _, TimeDelta};
use domain::{Account, Email, UserEvent, UserId};
use storage::Commit;

use super::Case;
use super::passwords::is_unverified;
use super::resetting::{BOUNDS, SKEW};
use crate::MOST_ADDRESSES;
use crate::client::SPARE;
use crate::history::{Access, Answer, Command, Entry, Mailed};
use crate::truth::{Told, events};
use crate::world::{GOOD_FOR, address};

/// An address that nobody has shown to be theirs is not left again within this time.
const LEFT_ONCE_WITHIN: TimeDelta = TimeDelta::days(1);

impl Case<'_> {
    /// In the end each address leads to whose it is by the log, and to nobody else; nobody took one that was somebody
    /// else's. A token is good until its end, while the log says what it was made for: what it did is in the log, and
    /// it is refused for a reason only.
    pub(super) fn addresses(&mut self) {
        self.lead_to_their_owners();
        self.unverified_ones_are_left_once_a_day();
        for entry in self.entries {
            match &entry.command {
                Command::AskForAddress { access, address } => {
                    self.needs_a_fresh_sign_in(entry, access);
                    self.sends_a_mail_elsewhere(entry, access, *address);
                }
                Command::Verify { token, from } => self.takes_what_was_mailed(entry, token, *from),
                _ => {}
            }
        }
        let truth = self.truth;
        for commit in truth.commits() {
            for taken in events(commit).filter_map(taken) {
                self.was_free(commit, taken);
            }
        }
    }

    fn lead_to_their_owners(&mut self) {
        let truth = self.truth;
        let mut owned = 0;
        for (user, told) in &truth.users {
            let account = told.account(told.commits.len());
            let Some(email) = account.and_then(|account| account.email.as_ref()) else { continue };
            owned += 1;
            let found = truth.leads_to.get(email.as_str());
            self.require(found == Some(user), || {
                format!("{} is of {user} by the log, and leads to {found:?}", email.as_str())
            });
        }
        for (address, user) in &truth.leads_to {
            let told = truth.users.get(user);
            let theirs = told.is_some_and(|told| told.has(address, told.commits.len()));
            self.require(theirs, || format!("{address} leads to {user}, who does not have it"));
        }
        let identifiers = truth.identifiers;
        self.require(identifiers == owned, || format!("{identifiers} identifiers of {owned} addresses"));
    }

    fn unverified_ones_are_left_once_a_day(&mut self) {
        for number in 0..MOST_ADDRESSES + SPARE {
            let mut times: Vec<_> =
                self.left_unverified(&address(number)).iter().map(|commit| commit.at).collect();
            times.sort_unstable();
            self.are_bounded("moves from an unverified address", &times, &[(1, LEFT_ONCE_WITHIN)]);
        }
    }

    /// The moves away from an address by users who had not shown that it was theirs.
    fn left_unverified(&self, address: &str) -> Vec<&Commit> {
        let leaves = |commit: &Commit| {
            events(commit).any(
                |event| matches!(event, UserEvent::UserEmailChanged { from, .. } if from.as_str() == address),
            )
        };
        let users = self.truth.users.values();
        users
            .flat_map(|told| {
                told.commits.iter().enumerate().map(move |(place, commit)| (told, place, commit))
            })
            .filter(|(told, place, commit)| leaves(commit) && is_unverified(told, *place))
            .map(|(_, _, commit)| commit)
            .collect()
    }

    /// Nobody else had the address all the time from the request to its answer.
    fn was_free(&mut self, commit: &Commit, taken: &Email) {
        let Some(entry) = crate::truth::request_of(commit).and_then(|request| self.entries.get(request))
        else {
            return;
        };
        let other = self.surely_had(taken.as_str(), entry).filter(|(user, _)| *user != commit.user);
        self.require(other.is_none(), || format!("took what was somebody else's: {entry}"));
    }

    /// What was accepted is in the log, or it is their address already, or there were too many mails.
    fn sends_a_mail_elsewhere(&mut self, entry: &Entry, access: &Access, of: usize) {
        let Some((asking, told)) = self.user_of(access.session) else { return };
        let to = address(of);
        if entry.answer != Answer::Accepted
            || told.commit_of(entry).is_some()
            || self.may_have_had(told, &to, entry)
        {
            return;
        }
        // What counts there: what went to it and to whatever its owners ever had, and what they had sent elsewhere. It
        // counts at whoever asks, too, as long as they have not verified their own.
        let owners: Vec<_> =
            self.truth.users.iter().filter(|(_, other)| other.addresses().contains(&of)).collect();
        let mut there = vec![of];
        there.extend(owners.iter().flat_map(|(_, owner)| owner.addresses()));
        let owners: Vec<_> = owners.into_iter().map(|(user, _)| *user).collect();
        let too_many = self.may_be_too_many(entry, &there, &owners)
            || self.may_be_too_many(entry, &Vec::from_iter(told.addresses()), &[asking]);
        self.require(too_many, || format!("accepted, and no mail was sent elsewhere: {entry}"));
    }

    /// Whether so many mails to these addresses, or asked for by these users, may have been counted before an entry that
    /// no more was sent.
    fn may_be_too_many(&self, entry: &Entry, addresses: &[usize], users: &[UserId]) -> bool {
        let counts = |other: &&Entry| {
            let counted = match &other.command {
                Command::Forget { address } => addresses.contains(address),
                Command::AskForAddress { address, access, .. } => {
                    let by = self.user_of(access.session).map(|(user, _)| user);
                    addresses.contains(address) || by.is_some_and(|by| users.contains(&by))
                }
                _ => false,
            };
            counted && other.request != entry.request && !other.answer.refuses()
        };
        BOUNDS.iter().any(|(most, within)| {
            let lately = |other: &&Entry| other.may_affect(entry) && other.now > entry.now - *within - SKEW;
            self.entries.iter().filter(counts).filter(lately).count() >= *most
        })
    }

    fn takes_what_was_mailed(&mut self, entry: &Entry, token: &Mailed, from: Option<usize>) {
        let truth = self.truth;
        let Some(told) = truth.users.get(&token.user) else { return };
        let good = token.genuine && token.ends > entry.now;
        let at = |commits: usize| told.account(commits);
        let mut moments = self.between(told, entry);
        match entry.answer {
            Answer::Done => {
                self.require(good, || format!("a bad token was taken for an address: {entry}"));
                let bound = moments.clone().any(|commits| is_bound(at(commits), token, from));
                self.require(bound, || format!("a void token was taken for an address: {entry}"));
                let done = match told.commit_of(entry) {
                    Some(number) => events(&told.commits[number - 1]).any(|event| shows(event, token, from)),
                    // Somebody had brought it before.
                    None => moments.any(|commits| {
                        is_bound(at(commits), token, from)
                            && told.has(&address(token.address), commits)
                            && at(commits).is_some_and(|account| account.email_verified)
                    }),
                };
                self.require(done, || format!("confirmed, and the log knows nothing of it: {entry}"));
            }
            Answer::Refused(409) => {
                let had_by_another = from.is_some()
                    && truth.users.iter().any(|(user, other)| {
                        *user != token.user && self.may_have_had(other, &address(token.address), entry)
                    });
                self.require(good && had_by_another, || {
                    format!("said to be somebody else's by now: {entry}")
                });
            }
            Answer::TooManyMails => {
                let left = from.is_some_and(|from| {
                    let mut left = self.left_unverified(&address(from)).into_iter();
                    left.any(|commit| commit.at > entry.now - LEFT_ONCE_WITHIN - SKEW)
                });
                let unverified = moments.any(|commits| is_unverified(told, commits));
                self.require(good && left && unverified, || {
                    format!("kept from leaving an address without a reason: {entry}")
                });
            }
            Answer::Refused(_) => {
                let void = moments.any(|commits| !is_bound(at(commits), token, from));
                self.require(!good || void, || format!("a good token for an address was refused: {entry}"));
            }
            _ => {}
        }
    }

    /// Whether an event is what was asked for with [`Command::AskForAddress`] or [`Command::Verify`].
    pub(super) fn is_what_the_address_needed(
        &self,
        commit: &Commit,
        entry: &Entry,
        event: &UserEvent,
    ) -> bool {
        let before = usize::try_from(commit.version.number()).unwrap_or_default().saturating_sub(1);
        let account = self.truth.users.get(&commit.user).and_then(|told: &Told| told.account(before));
        match (&entry.command, event) {
            (
                Command::AskForAddress { access, address: of },
                UserEvent::UserRequestedEmailChange { email, from, credential, ends },
            ) => {
                let asks: Option<UserId> = self.user_of(access.session).map(|(user, _)| user);
                asks == Some(commit.user)
                    && email.as_str() == address(*of)
                    && *ends == (commit.at + GOOD_FOR).trunc_subsecs(0)
                    && account.is_some_and(|account| {
                        account.email.as_ref() == Some(from) && account.credential == *credential
                    })
            }
            (Command::Verify { token, from }, event) => {
                token.user == commit.user && is_bound(account, token, *from) && shows(event, token, *from)
            }
            _ => false,
        }
    }
}

/// Whether a token is for what the log says of its user.
fn is_bound(account: Option<&Account>, token: &Mailed, from: Option<usize>) -> bool {
    let Some(account) = account.filter(|account| account.credential == token.credential) else {
        return false;
    };
    let (to, now) = (address(token.address), account.email.as_ref().map(Email::as_str));
    let Some(from) = from.map(address) else { return now == Some(&to) };
    (now == Some(&from) || now == Some(&to))
        && account.email_change.as_ref().is_some_and(|change| {
            change.from.as_str() == from && change.to.as_str() == to && change.ends == token.ends
        })
}

/// Whether an event is what a token is for.
fn shows(event: &UserEvent, token: &Mailed, from: Option<usize>) -> bool {
    match event {
        UserEvent::UserVerifiedEmail { email } => from.is_none() && email.as_str() == address(token.address),
        UserEvent::UserEmailChanged { from: left, to } => {
            from.map(address).as_deref() == Some(left.as_str()) && to.as_str() == address(token.address)
        }
        _ => false,
    }
}

/// The address that an event gives to its user.
const fn taken(event: &UserEvent) -> Option<&Email> {
    match event {
        UserEvent::UserRegistered { email, .. } | UserEvent::UserEmailChanged { to: email, .. } => {
            Some(email)
        }
        _ => None,
    }
}
