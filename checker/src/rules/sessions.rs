use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use domain::SessionId;

use super::Case;
use crate::history::{Access, Answer, Command, Entry, Token};
use crate::truth::request_of;

/// For so long a spent token yields its successor again.
const GRACE: TimeDelta = TimeDelta::seconds(10);
/// Clocks of services may differ by this when they look at an access token.
const LEEWAY: TimeDelta = TimeDelta::seconds(60);

impl Case<'_> {
    /// The rows are those of the sessions that the log says are alive. What was said to have ended is not used again;
    /// what is refused had ended. Each session has one line of refresh tokens.
    pub(super) fn sessions(&mut self) {
        self.rows_are_those_of_the_log();
        let mut line: BTreeMap<(SessionId, u64), &str> = BTreeMap::new();
        for entry in self.entries {
            match (&entry.command, &entry.answer) {
                (Command::Refresh(token), Answer::Refreshed(next, _)) => {
                    self.require(token.genuine, || format!("a forged token was taken: {entry}"));
                    let place = (next.session, next.generation);
                    let other = line.insert(place, &next.text).filter(|other| *other != next.text);
                    self.require(other.is_none(), || format!("a second successor of one token: {entry}"));
                    self.require(!self.was_known_as_spent(entry, token), || {
                        format!("a token that was spent long ago was taken: {entry}")
                    });
                    self.had_not_ended(entry, token.session);
                }
                (Command::Refresh(token), Answer::Refused(_)) if token.genuine => {
                    self.has_ended(entry, token.session);
                }
                (Command::Introspect(access), Answer::Worth(true)) => {
                    self.had_not_ended(entry, access.session);
                    self.require(entry.now < access.expires, || {
                        format!("an expired access token is said to be active: {entry}")
                    });
                }
                // It expires at the end of a whole second.
                (Command::Introspect(access), Answer::Worth(false))
                    if entry.now + TimeDelta::seconds(1) < access.expires =>
                {
                    self.has_ended(entry, access.session);
                }
                (command, answer) => {
                    if let Some(access) = command.acting() {
                        self.was_asked_in_a_session(entry, access, answer);
                    }
                }
            }
            if let Some(ended) = ended_by(entry) {
                self.has_ended(entry, ended);
            }
        }
    }

    /// What was asked with an access token was done, or looked into, in a session that was alive; where it was refused
    /// for want of one, the session had ended or the token was too old.
    fn was_asked_in_a_session(&mut self, entry: &Entry, access: &Access, answer: &Answer) {
        match answer {
            Answer::Unknown => {}
            Answer::Refused(401) if expired(entry, access) => {}
            Answer::Refused(401) => self.has_ended(entry, access.session),
            _ => {
                self.had_not_ended(entry, access.session);
                self.require(entry.now <= access.expires + LEEWAY, || {
                    format!("an expired access token was taken: {entry}")
                });
            }
        }
    }

    fn rows_are_those_of_the_log(&mut self) {
        let mut alive = BTreeSet::new();
        for (user, told) in &self.truth.users {
            let account = told.states.last().and_then(|state| state.account());
            let sessions = account.map(|account| account.sessions.as_slice()).unwrap_or_default();
            alive.extend(sessions.iter().map(|session| (*user, session.id)));
        }
        for (user, session) in self.truth.rows.difference(&alive) {
            self.findings.push(format!("{session} of {user} has ended by the log, and has a row"));
        }
        for (user, session) in alive.difference(&self.truth.rows) {
            self.findings.push(format!("{session} of {user} is alive by the log, and has no row"));
        }
    }

    /// Whoever was refused was refused because the log says that the session ended, and not by what came later.
    fn has_ended(&mut self, entry: &Entry, session: SessionId) {
        let end = self.truth.end_of(session).and_then(request_of);
        let in_time = end
            .and_then(|end| self.entries.get(end))
            .is_some_and(|end| end.request == entry.request || end.may_affect(entry));
        self.require(in_time, || format!("the session had not ended: {entry}"));
    }

    /// Nobody had been told that the session ended, nor anybody of what ended it by the log.
    fn had_not_ended(&mut self, entry: &Entry, session: SessionId) {
        let ended = self.entries.iter().find(|other| tells_end_of(other, session) && other.precedes(entry));
        self.require(ended.is_none(), || {
            let ended = ended.map(ToString::to_string).unwrap_or_default();
            format!("a session was used that had ended by {ended}: {entry}")
        });
        let (alive, _) = self.may_have_been_alive(entry, session);
        self.require(alive, || format!("a session was used that was not alive by the log: {entry}"));
    }

    /// Whether a token that ended its session had been spent, and could not be its own client's second try.
    pub(super) fn is_reuse(&self, entry: &Entry, token: &Token) -> bool {
        self.presented(token.session).any(|(other, spent)| {
            other.request != entry.request
                && other.may_affect(entry)
                && (spent.generation > token.generation
                    || spent.generation == token.generation && !self.in_grace(entry, other))
        })
    }

    /// Whether the token had surely been spent and its grace was over when it was presented.
    fn was_known_as_spent(&self, entry: &Entry, token: &Token) -> bool {
        self.presented(token.session).any(|(other, spent)| {
            let told = matches!(other.answer, Answer::Refreshed(..)) && other.precedes(entry);
            let by_whom = || {
                self.presented(token.session)
                    .filter(|(first, spent)| spent.generation == token.generation && first.may_affect(other))
            };
            told && (spent.generation > token.generation
                || spent.generation == token.generation
                    && by_whom().all(|(first, _)| !self.in_grace(entry, first)))
        })
    }

    /// Whether `entry` gets the successor of a token that `first` spent.
    #[expect(clippy::unused_self, reason = "reads as the others do")]
    fn in_grace(&self, entry: &Entry, first: &Entry) -> bool {
        entry.now - first.now < GRACE && entry.agent == first.agent
    }

    /// The genuine tokens of a session that were presented, and by which requests.
    fn presented(&self, session: SessionId) -> impl Iterator<Item = (&Entry, &Token)> {
        self.entries.iter().filter_map(move |entry| match &entry.command {
            Command::Refresh(token) if token.session == session && token.genuine => Some((entry, token)),
            _ => None,
        })
    }
}

fn expired(entry: &Entry, access: &Access) -> bool {
    entry.now >= access.expires
}

/// Whether an answer says that the session is over.
fn tells_end_of(entry: &Entry, session: SessionId) -> bool {
    match (&entry.command, &entry.answer) {
        (Command::Refresh(token), Answer::Refused(_)) => token.genuine && token.session == session,
        (command, Answer::Refused(401)) => {
            command.acting().is_some_and(|access| access.session == session && !expired(entry, access))
        }
        _ => ended_by(entry) == Some(session),
    }
}

/// The one session that an answer says is ended.
fn ended_by(entry: &Entry) -> Option<SessionId> {
    match (&entry.command, &entry.answer) {
        (Command::SignOut(access), Answer::Done) => Some(access.session),
        (Command::EndSession { session, .. }, Answer::Done) => Some(*session),
        (Command::Revoke(token), Answer::Done) if token.genuine => Some(token.session),
        _ => None,
    }
}
