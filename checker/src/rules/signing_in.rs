use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::Case;
use crate::history::{Answer, Command, Entry};
use crate::truth::{begun, events, request_of};
use crate::world::address;

/// So many attempts after a success may fail without a wait.
const FREE: usize = 5;

/// Where attempts are counted: at an address, or at a device of its user, by the request that signed in on it first.
type Place = (usize, Option<usize>);

impl Case<'_> {
    /// Nobody gets in with a password that is not theirs at that moment, and nobody is kept out with the one that is.
    pub(super) fn signing_in(&mut self) {
        for entry in self.entries {
            let Command::SignIn { address: of, password, .. } = entry.command else { continue };
            let (of, truth) = (address(of), self.truth);
            match &entry.answer {
                Answer::SignedIn { user, version, token, .. } => {
                    let before = usize::try_from(*version).unwrap_or_default().saturating_sub(1);
                    let right = truth.users.get(user).is_some_and(|told| told.has(&of, before))
                        && self.password_after(*user, before) == Some(password);
                    self.require(right, || format!("let in by mistake: {entry}"));
                    let recorded = self.truth.commits().any(|commit| {
                        request_of(commit) == Some(entry.request)
                            && (commit.user, commit.version.number()) == (*user, *version)
                            && events(commit).any(|event| begun(event) == Some(token.session))
                    });
                    self.require(recorded, || format!("signed in, and the log knows nothing of it: {entry}"));
                }
                Answer::Refused(401) => {
                    let wrong = self
                        .surely_had(&of, entry)
                        .is_none_or(|(user, told)| self.may_have_been_wrong(entry, user, told, password));
                    self.require(wrong, || format!("kept out with the right password: {entry}"));
                }
                Answer::Refused(_) => self.had_reason_to_wait(entry),
                _ => {}
            }
        }
        for entry in self.entries.iter().filter(|entry| entry.answer == Answer::Refused(429)) {
            if let Command::ChangePassword { .. } = &entry.command {
                self.had_reason_to_wait(entry);
            }
        }
    }

    /// The address whose password a request presents, and where that is counted.
    fn tried_on(&self, entry: &Entry) -> Option<Place> {
        match &entry.command {
            Command::SignIn { address: of, .. } => {
                let owner = self.truth.owner(&address(*of)).map(|(owner, _)| owner);
                let device = owner.and_then(|owner| entry.command.known_device(owner));
                Some((*of, device.map(|device| device.first)))
            }
            Command::ChangePassword { access, .. } => match self.beginning_of(access.session)?.command {
                Command::SignIn { address, .. } => Some((address, None)),
                _ => None,
            },
            _ => None,
        }
    }

    /// A 429 comes only after so many attempts at the same place since the last success that was known of: by the log,
    /// or by the token of the device.
    fn had_reason_to_wait(&mut self, entry: &Entry) {
        let Some(place) = self.tried_on(entry) else { return };
        if self.is_unseen(place) {
            return;
        }
        let entries = self.entries;
        let attempts = || {
            entries.iter().filter(|other| {
                self.tried_on(other) == Some(place)
                    && other.request != entry.request
                    && !was_turned_away(other)
            })
        };
        let given = match &entry.command {
            Command::SignIn { device: Some(device), .. } if place.1.is_some() => entries.get(device.given),
            _ => None,
        };
        let success = given.or_else(|| self.last_success(entry, place));
        let counted = attempts()
            .filter(|other| {
                other.may_affect(entry)
                    && success
                        .is_none_or(|success| other.request != success.request && success.may_affect(other))
            })
            .count();
        self.require(counted >= FREE, || {
            format!("made to wait after {counted} attempts that may have failed: {entry}")
        });
    }

    /// Whether most of the attempts at a place were seen by nobody: those of a device all were. Of an address that ever
    /// moved nothing is said, either: attempts are counted at whoever had it.
    fn is_unseen(&self, (of, device): Place) -> bool {
        self.truth.has_moved(of) || device.is_none() && self.truth.guessed_at.contains(&of)
    }

    /// The last attempt at a place that had surely succeeded by then.
    fn last_success(&self, entry: &Entry, place: Place) -> Option<&Entry> {
        let attempts = self.entries.iter().filter(|other| {
            self.tried_on(other) == Some(place) && other.request != entry.request && !was_turned_away(other)
        });
        attempts
            .filter(|other| {
                matches!(other.answer, Answer::SignedIn { .. } | Answer::Done) && other.precedes(entry)
            })
            .max_by_key(|success| success.invoked)
    }

    /// Wrong passwords are not looked at more often than the back-off allows.
    pub(super) fn guessing(&mut self) {
        let places: BTreeSet<Place> = self.entries.iter().filter_map(|entry| self.tried_on(entry)).collect();
        for place in places {
            let (of, _) = place;
            // Where the count may have begun anew, by a registration or a success, nothing is said.
            let owner = self.truth.owner(&address(of));
            let known = self.entries.iter().filter(|entry| shows_owner(entry, of));
            let known = known.map(|entry| entry.completed).min();
            if self.is_unseen(place) || known.is_none() && owner.is_some() {
                continue;
            }
            let of_place = || self.entries.iter().filter(|entry| self.tried_on(entry) == Some(place));
            let ever_right = |password: usize| {
                let passwords = owner.and_then(|(user, _)| self.passwords.get(&user));
                passwords.is_some_and(|set| set.contains(&Some(password)))
            };
            let may_succeed = |entry: &&Entry| match entry.command {
                Command::SignIn { password: tried, .. } | Command::ChangePassword { current: tried, .. } => {
                    ever_right(tried) && !entry.answer.refuses()
                }
                _ => false,
            };
            // A reset begins the count anew, too; not that of a device.
            let resets = self.entries.iter().filter(|entry| {
                matches!(&entry.command, Command::Reset { token, .. } if token.address == of)
                    && place.1.is_none()
                    && !entry.answer.refuses()
            });
            let successes: Vec<&Entry> = of_place().filter(may_succeed).chain(resets).collect();
            // By the successes that came before them; those that overlap one are left out.
            let mut guesses: BTreeMap<usize, Vec<DateTime<Utc>>> = BTreeMap::new();
            for guess in of_place().filter(|entry| was_wrong(entry)) {
                let before = successes.iter().filter(|success| success.precedes(guess)).count();
                let after = successes.iter().filter(|success| guess.precedes(success)).count();
                if known.is_none_or(|known| guess.invoked > known) && before + after == successes.len() {
                    guesses.entry(before).or_default().push(guess.now);
                }
            }
            for times in guesses.into_values() {
                self.took_their_time(place, times);
            }
        }
    }

    /// The sixth guess waits a second after the fifth, and each one more twice as long.
    fn took_their_time(&mut self, (of, device): Place, mut times: Vec<DateTime<Utc>>) {
        times.sort();
        let waits = (FREE..times.len()).map(|failures| 1 << (failures - FREE).min(9));
        let must_take = TimeDelta::seconds(waits.sum());
        let (Some(first), Some(last)) = (times.first(), times.last()) else { return };
        let (count, took) = (times.len(), *last - *first);
        self.require(took >= must_take, || {
            format!("{count} guesses of a{of} on {device:?} were looked at within {took}")
        });
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

/// Whether a password was looked at, and was wrong.
fn was_wrong(entry: &Entry) -> bool {
    match entry.command {
        Command::SignIn { .. } => entry.answer == Answer::Refused(401),
        _ => entry.answer == Answer::WrongPassword,
    }
}

/// Whether a request that presents a password was refused before that was looked at.
fn was_turned_away(entry: &Entry) -> bool {
    match (&entry.command, &entry.answer) {
        (_, Answer::Refused(429)) => true,
        // Of many changes at once that are too many, some are refused only after the attempt was counted.
        (Command::ChangePassword { .. }, answer) => {
            answer.refuses() && !matches!(answer, Answer::WrongPassword | Answer::TooManyMails)
        }
        _ => false,
    }
}
