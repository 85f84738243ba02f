use std::collections::BTreeSet;

use chrono::TimeDelta;
use domain::UserEvent;
use storage::Commit;

use super::Case;
use super::resetting::{BOUNDS, SKEW};
use crate::history::{Access, Answer, Command, Entry, GUESSABLE};
use crate::truth::{Told, events};

/// For so long after a sign-in its session may do what needs a fresh one.
const FRESH: TimeDelta = TimeDelta::minutes(5);

impl Case<'_> {
    /// A change that was acknowledged is in the log, and left no other session; one that was refused had a reason. The
    /// vault holds the credential that the log names.
    pub(super) fn passwords(&mut self) {
        let truth = self.truth;
        for (user, told) in &truth.users {
            let named = told.account(told.commits.len()).map(|account| account.credential);
            self.require(told.credential == named, || {
                format!("the vault of {user} holds {:?}, and the log says {named:?}", told.credential)
            });
            for (place, commit) in told.commits.iter().enumerate() {
                self.rests_on_the_credential(told, place, commit);
            }
            let unverified: Vec<_> = told_to_strangers(told).map(|commit| commit.at).collect();
            self.are_bounded("changes of an unverified user", &unverified, &BOUNDS);
        }
        for entry in self.entries {
            if let Command::Register { password, .. } = entry.command {
                self.is_refused_if_guessable(entry, password, &entry.answer);
            }
            let Command::ChangePassword { access, current, new } = &entry.command else { continue };
            self.needs_a_fresh_sign_in(entry, access);
            self.is_refused_if_guessable(entry, *new, &entry.answer);
            let Some((user, told)) = self.user_of(access.session) else { continue };
            match entry.answer {
                Answer::Done => {
                    let changed = told.commit_of(entry).is_some_and(|number| {
                        events(&told.commits[number - 1])
                            .any(|event| matches!(event, UserEvent::UserPasswordChanged { .. }))
                    });
                    self.require(changed, || format!("changed, and the log knows nothing of it: {entry}"));
                }
                Answer::WrongPassword => {
                    let wrong = self.may_have_been_wrong(entry, user, told, *current);
                    self.require(wrong, || format!("said to be wrong, and it was the password: {entry}"));
                }
                Answer::TooManyMails => {
                    let too_many = BOUNDS.iter().any(|(most, within)| {
                        let lately = |commit: &&Commit| commit.at > entry.now - *within - SKEW;
                        told_to_strangers(told).filter(lately).count() >= *most
                    });
                    let unverified = self.between(told, entry).any(|commits| is_unverified(told, commits));
                    self.require(too_many && unverified, || {
                        format!("kept from changing the password without a reason: {entry}")
                    });
                }
                _ => {}
            }
        }
    }

    /// What rests on a password rests on the one of that moment.
    fn rests_on_the_credential(&mut self, told: &Told, place: usize, commit: &Commit) {
        let (user, version) = (commit.user, commit.version);
        let before = told.account(place).map(|account| account.credential);
        for event in events(commit) {
            if let UserEvent::UserSignedIn { password, .. }
            | UserEvent::UserPasswordChanged { password, .. } = event
            {
                self.require(Some(password.credential) == before, || {
                    format!("{user} v{version} rests on another credential than that of the moment")
                });
                let disabled = told.account(place).is_some_and(|account| account.password_disabled);
                self.require(!disabled, || format!("{user} v{version} rests on a disabled password"));
            }
            if let UserEvent::UserPasswordChanged { .. } = event {
                let left: BTreeSet<_> = told.alive(place + 1).collect();
                self.require(left.len() == 1, || {
                    format!("{user} v{version} changed the password, and {left:?} live on")
                });
            }
        }
    }

    pub(super) fn is_refused_if_guessable(&mut self, entry: &Entry, password: usize, answer: &Answer) {
        let taken = matches!(
            answer,
            Answer::Done | Answer::Registered { .. } | Answer::WrongPassword | Answer::TooManyMails
        );
        let fits = if password == GUESSABLE { !taken } else { *answer != Answer::Guessable };
        self.require(fits, || format!("guessable or not, judged wrongly: {entry}"));
    }

    /// What needs a sign-in of the last minutes is done with one only, and refused for want of one only.
    pub(super) fn needs_a_fresh_sign_in(&mut self, entry: &Entry, access: &Access) {
        let Some(beginning) = self.beginning_of(access.session) else { return };
        // In whole seconds, as the session has it.
        let age = entry.now.timestamp() - beginning.now.timestamp();
        let fresh = age <= FRESH.num_seconds();
        let fits = match entry.answer {
            Answer::SignInTooOld => !fresh,
            Answer::Done
            | Answer::Accepted
            | Answer::WrongPassword
            | Answer::Refused(404 | 429)
            | Answer::TooManyMails
            | Answer::Guessable => fresh,
            _ => true,
        };
        self.require(fits, || format!("{age} s after the sign-in: {entry}"));
    }
}

/// Whether nobody had shown, after so many commits, that the user's address is theirs.
pub(super) fn is_unverified(told: &Told, commits: usize) -> bool {
    told.account(commits).is_some_and(|account| !account.email_verified)
}

/// The changes of password that were told to an address of which nobody had shown that it was the user's.
fn told_to_strangers(told: &Told) -> impl Iterator<Item = &Commit> {
    let changes =
        |commit: &Commit| events(commit).any(|event| matches!(event, UserEvent::UserPasswordChanged { .. }));
    let commits = told.commits.iter().enumerate();
    commits
        .filter(move |(place, commit)| changes(commit) && is_unverified(told, *place))
        .map(|(_, commit)| commit)
}
