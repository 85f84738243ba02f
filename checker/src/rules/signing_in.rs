use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::Case;
use crate::history::{Answer, Command, Entry};
use crate::truth::{begun, events, request_of};
use crate::world::address;

/// So many attempts after a success may fail without a wait.
const FREE: usize = 5;

impl Case<'_> {
    /// Nobody gets in with a wrong password, and nobody whose registration was known is kept out with the right one.
    pub(super) fn signing_in(&mut self) {
        for entry in self.entries {
            let Command::SignIn { address: of, password } = entry.command else { continue };
            let right = self.password_of(of) == Some(password);
            match &entry.answer {
                Answer::SignedIn { user, version, token, .. } => {
                    let owner = self.truth.owner(&address(of)).map(|(owner, _)| owner);
                    self.require(right && owner == Some(*user), || format!("let in by mistake: {entry}"));
                    let recorded = self.truth.commits().any(|commit| {
                        request_of(commit) == Some(entry.request)
                            && (commit.user, commit.version.number()) == (*user, *version)
                            && events(commit).any(|event| begun(event) == Some(token.session))
                    });
                    self.require(recorded, || format!("signed in, and the log knows nothing of it: {entry}"));
                }
                Answer::Refused(401) => {
                    let known =
                        self.entries.iter().any(|other| shows_owner(other, of) && other.precedes(entry));
                    self.require(!(right && known), || format!("kept out with the right password: {entry}"));
                }
                Answer::Refused(_) => self.had_reason_to_wait(entry, of),
                _ => {}
            }
        }
    }

    /// A 429 comes only after so many attempts since the last success that was known of.
    fn had_reason_to_wait(&mut self, entry: &Entry, of: usize) {
        let entries = self.entries;
        let attempts = || {
            entries.iter().filter(|other| {
                matches!(other.command, Command::SignIn { address, .. } if address == of)
                    && other.request != entry.request
            })
        };
        let success = attempts()
            .filter(|other| matches!(other.answer, Answer::SignedIn { .. }) && other.precedes(entry))
            .max_by_key(|success| success.invoked);
        let counted = attempts()
            .filter(|other| {
                other.may_affect(entry)
                    && other.answer != Answer::Refused(429)
                    && success
                        .is_none_or(|success| other.request != success.request && success.may_affect(other))
            })
            .count();
        self.require(counted >= FREE, || {
            format!("made to wait after {counted} attempts that may have failed: {entry}")
        });
    }

    /// Wrong passwords are not looked at more often than the back-off allows.
    pub(super) fn guessing(&mut self) {
        let addresses = self.entries.iter().filter_map(|entry| match entry.command {
            Command::SignIn { address, .. } => Some(address),
            _ => None,
        });
        let addresses: BTreeSet<usize> = addresses.collect();
        for of in addresses {
            // Where the count may have begun anew, by a registration or a success, nothing is said.
            let of_address = || {
                self.entries.iter().filter(move |entry| match entry.command {
                    Command::Register { address, .. } | Command::SignIn { address, .. } => address == of,
                    _ => false,
                })
            };
            let known =
                of_address().filter(|entry| shows_owner(entry, of)).map(|entry| entry.completed).min();
            if known.is_none() && self.truth.owner(&address(of)).is_some() {
                continue;
            }
            let right = self.password_of(of);
            let may_succeed = |entry: &&Entry| {
                matches!(entry.command, Command::SignIn { password, .. } if Some(password) == right)
                    && !matches!(entry.answer, Answer::Refused(_))
            };
            let successes: Vec<&Entry> = of_address().filter(may_succeed).collect();
            // By the successes that came before them; those that overlap one are left out.
            let mut guesses: BTreeMap<usize, Vec<DateTime<Utc>>> = BTreeMap::new();
            for guess in of_address().filter(|entry| entry.answer == Answer::Refused(401)) {
                let before = successes.iter().filter(|success| success.precedes(guess)).count();
                let after = successes.iter().filter(|success| guess.precedes(success)).count();
                if known.is_none_or(|known| guess.invoked > known) && before + after == successes.len() {
                    guesses.entry(before).or_default().push(guess.now);
                }
            }
            for times in guesses.into_values() {
                self.took_their_time(of, times);
            }
        }
    }

    /// The sixth guess waits a second after the fifth, and each one more twice as long.
    fn took_their_time(&mut self, of: usize, mut times: Vec<DateTime<Utc>>) {
        times.sort();
        let waits = (FREE..times.len()).map(|failures| 1 << (failures - FREE).min(9));
        let must_take = TimeDelta::seconds(waits.sum());
        let (Some(first), Some(last)) = (times.first(), times.last()) else { return };
        let (count, took) = (times.len(), *last - *first);
        self.require(took >= must_take, || format!("{count} guesses of a{of} were looked at within {took}"));
    }
}

/// Whether an answer shows that the address has an owner.
fn shows_owner(entry: &Entry, of: usize) -> bool {
    match (&entry.command, &entry.answer) {
        (Command::Register { address, .. }, Answer::Registered { .. } | Answer::Refused(_))
        | (Command::SignIn { address, .. }, Answer::SignedIn { .. }) => *address == of,
        _ => false,
    }
}
