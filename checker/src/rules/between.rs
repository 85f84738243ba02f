use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use domain::{SessionId, UserEvent, UserId};

use super::Case;
use crate::history::Entry;
use crate::truth::{Told, Truth, begun, events, request_of};

/// Who a session belongs to, and the request that began it.
pub(super) type Beginnings = BTreeMap<SessionId, (UserId, Option<usize>)>;

/// The beginnings of all sessions.
pub(super) fn beginnings(truth: &Truth) -> Beginnings {
    let commits = truth.commits();
    let begun = commits.flat_map(|commit| events(commit).filter_map(begun).map(move |id| (id, commit)));
    begun.map(|(session, commit)| (session, (commit.user, request_of(commit)))).collect()
}

impl<'a> Case<'a> {
    /// How many commits a user's log may have had at some moment between a request and its answer: at least up to the
    /// last whose own answer had come before, and none from the first on that was asked for only afterwards.
    pub(super) fn between(&self, told: &Told, entry: &Entry) -> RangeInclusive<usize> {
        let cause = |commit| request_of(commit).and_then(|request| self.entries.get(request));
        let surely = told.commits.iter().rposition(|commit| {
            cause(commit).is_some_and(|cause| cause.request != entry.request && cause.precedes(entry))
        });
        let too_late = told.commits.iter().position(|commit| {
            cause(commit).is_some_and(|cause| cause.request != entry.request && !cause.may_affect(entry))
        });
        surely.map_or(0, |last| last + 1)..=too_late.unwrap_or(told.commits.len())
    }

    /// Whether an address may have been this user's at some moment between a request and its answer.
    pub(super) fn may_have_had(&self, told: &Told, address: &str, entry: &Entry) -> bool {
        self.between(told, entry).any(|commits| told.has(address, commits))
    }

    /// Whose an address was at every moment between a request and its answer.
    pub(super) fn surely_had(&self, address: &str, entry: &Entry) -> Option<(UserId, &'a Told)> {
        let truth = self.truth;
        let mut users = truth.users.iter().map(|(user, told)| (*user, told));
        users.find(|(_, told)| self.between(told, entry).all(|commits| told.has(address, commits)))
    }

    /// The user of a session.
    pub(super) fn user_of(&self, session: SessionId) -> Option<(UserId, &'a Told)> {
        let (user, _) = self.beginnings.get(&session)?;
        Some((*user, self.truth.users.get(user)?))
    }

    /// The sign-in that began a session.
    pub(super) fn beginning_of(&self, session: SessionId) -> Option<&'a Entry> {
        self.entries.get(self.beginnings.get(&session)?.1?)
    }

    /// Whether a session may have been alive, and whether it may not have been, between a request and its answer.
    pub(super) fn may_have_been_alive(&self, entry: &Entry, session: SessionId) -> (bool, bool) {
        let Some((_, told)) = self.user_of(session) else { return (false, true) };
        let alive = |commits| told.alive(commits).any(|id| id == session);
        (self.between(told, entry).any(alive), self.between(told, entry).any(|commits| !alive(commits)))
    }

    /// The password of a user after so many commits.
    pub(super) fn password_after(&self, user: UserId, commits: usize) -> Option<usize> {
        self.passwords.get(&user)?.get(commits.checked_sub(1)?).copied().flatten()
    }

    /// Whether a password was, at some moment between a request and its answer, not that of the user, or disabled. A change to what
    /// it is already makes whoever is let in look again, once: two such changes keep them out all the same. Where the last
    /// failure that may be was counted, and whoever counted it died before the event, a reset may come before the next
    /// attempt has made up for it: then nothing in the log says that no password was right.
    pub(super) fn may_have_been_wrong(
        &self,
        entry: &Entry,
        user: UserId,
        told: &Told,
        password: usize,
    ) -> bool {
        let between = self.between(told, entry);
        let credential = |commits| told.account(commits).map(|account| account.credential);
        let changes = between.clone().zip(between.clone().skip(1));
        let changes = changes.filter(|(one, next)| credential(*one) != credential(*next)).count();
        let disabled = |commits| told.account(commits).is_some_and(|account| account.password_disabled);
        let reset = between.clone().skip(1).filter_map(|commits| told.commits.get(commits - 1));
        let reset = reset.flat_map(events).any(|event| matches!(event, UserEvent::UserPasswordReset { .. }));
        let exhausted = || !told.addresses().is_disjoint(&self.truth.guessed_at);
        changes >= 2
            || reset && exhausted()
            || between.clone().any(disabled)
            || between.clone().any(|commits| self.password_after(user, commits) != Some(password))
    }
}
