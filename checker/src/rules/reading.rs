use chrono::SecondsFormat;
use domain::DisplayName;

use super::Case;
use crate::history::{Answer, Command, Entry, Profile};
use crate::truth::request_of;

impl Case<'_> {
    /// A profile is the fold of the log at the version it names: one that there was, and as late as was asked for.
    pub(super) fn reading(&mut self) {
        for entry in self.entries {
            let Answer::Profile(profile) = &entry.answer else { continue };
            self.shows_the_log(entry, profile);
            if let Command::ReadProfile(_, at_least) = &entry.command {
                self.is_as_late_as_asked_for(entry, profile, at_least.unwrap_or(1));
            }
        }
    }

    fn shows_the_log(&mut self, entry: &Entry, shown: &Profile) {
        let Some((user, told)) = self.truth.users.iter().find(|(user, _)| user.to_string() == shown.user)
        else {
            return self.complain(entry, "a profile of nobody");
        };
        let place = usize::try_from(shown.version).ok().and_then(|version| version.checked_sub(1));
        let at = place.and_then(|place| Some((told.commits.get(place)?, told.states.get(place)?.account()?)));
        let Some((commit, account)) = at else {
            return self.complain(entry, format!("a version of {user} that never was"));
        };
        let in_time = request_of(commit)
            .and_then(|request| self.entries.get(request))
            .is_some_and(|cause| cause.may_affect(entry));
        self.require(in_time, || format!("a version that was not there yet: {entry}"));
        let expected = Profile {
            user: user.to_string(),
            version: shown.version,
            etag: format!("\"{}\"", account.profile_version),
            email: account.email.as_ref().map(|email| email.as_str().to_owned()).unwrap_or_default(),
            name: account.name.as_ref().map(DisplayName::as_str).map(str::to_owned),
            updated_at: account.updated_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        };
        self.require(*shown == expected, || {
            format!("shown is {shown:?}, and the log says {expected:?}: {entry}")
        });
    }

    /// At least the version asked for; beyond the end of the log, all that had been answered.
    fn is_as_late_as_asked_for(&mut self, entry: &Entry, shown: &Profile, at_least: u64) {
        let truth = self.truth;
        let told = truth.users.iter().find(|(user, _)| user.to_string() == shown.user);
        let commits = told.map(|(_, told)| told.commits.as_slice()).unwrap_or_default();
        let answered = commits
            .iter()
            .filter(|commit| {
                let cause = request_of(commit).and_then(|request| self.entries.get(request));
                cause.is_some_and(|cause| cause.precedes(entry))
            })
            .map(|commit| commit.version.number())
            .max()
            .unwrap_or_default();
        let least = at_least.min(answered);
        self.require(shown.version >= least, || {
            format!("asked for v{at_least} when the log had v{answered}: {entry}")
        });
    }
}
