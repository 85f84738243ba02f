use chrono::SecondsFormat;
use domain::SessionId;

use super::Case;
use crate::history::{Access, Answer, Command, Entry, Listed};
use crate::truth::Told;

impl Case<'_> {
    /// What was said to be ended is ended in the log, by that request; a list shows the sessions of some moment between
    /// the question and the answer.
    pub(super) fn ending(&mut self) {
        for entry in self.entries {
            match (&entry.command, &entry.answer) {
                (Command::ListSessions(access), Answer::Sessions(listed)) => {
                    self.lists_the_living(entry, access, listed);
                }
                (Command::EndSession { access, session }, answer) if *session != access.session => {
                    self.needs_a_fresh_sign_in(entry, access);
                    let Some((_, told)) = self.user_of(access.session) else { continue };
                    match answer {
                        Answer::Done => self.is_in_the_log(entry, told),
                        Answer::Refused(404) => {
                            let not_there = self
                                .between(told, entry)
                                .any(|commits| told.alive(commits).all(|alive| alive != *session));
                            self.require(not_there, || format!("it was one of theirs: {entry}"));
                        }
                        _ => {}
                    }
                }
                (Command::EndSession { .. }, Answer::Refused(404)) => {
                    self.complain(entry, "their own session was not found");
                }
                (Command::EndOtherSessions(access), answer) => {
                    self.needs_a_fresh_sign_in(entry, access);
                    let Some((_, told)) = self.user_of(access.session) else { continue };
                    let nothing_to_do = self
                        .between(told, entry)
                        .any(|commits| told.alive(commits).all(|alive| alive == access.session));
                    if *answer == Answer::Done && !nothing_to_do {
                        self.is_in_the_log(entry, told);
                    }
                }
                _ => {}
            }
        }
    }

    fn is_in_the_log(&mut self, entry: &Entry, told: &Told) {
        let there = told.commit_of(entry).is_some();
        self.require(there, || format!("ended, and the log knows nothing of it: {entry}"));
    }

    /// Sessions of one moment in the order in which they began, without some that ended in a later one.
    fn lists_the_living(&mut self, entry: &Entry, access: &Access, listed: &[Listed]) {
        let Some((_, told)) = self.user_of(access.session) else { return };
        let ids: Vec<SessionId> = listed.iter().map(|listed| listed.session).collect();
        let between = self.between(told, entry);
        let in_the_end: Vec<SessionId> = told.alive(*between.end()).collect();
        let fits = between.clone().any(|commits| {
            let alive: Vec<SessionId> = told.alive(commits).collect();
            let shown: Vec<SessionId> = alive.iter().filter(|id| ids.contains(id)).copied().collect();
            let missing_ended = alive.iter().all(|id| ids.contains(id) || !in_the_end.contains(id));
            shown == ids && missing_ended
        });
        self.require(fits, || format!("lists others than those alive at any moment of {between:?}: {entry}"));
        for item in listed {
            let Some(beginning) = self.beginning_of(item.session) else { continue };
            let fits = item.current == (item.session == access.session)
                && item.agent.as_ref() == Some(&beginning.agent)
                && item.request == Some(beginning.request)
                && item.signed_in_at == beginning.now.to_rfc3339_opts(SecondsFormat::Secs, true);
            self.require(fits, || format!("{item:?} is not what began with {beginning}: {entry}"));
        }
    }
}
