use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use domain::{Email, MOST_FAILURES, UserEvent};
use storage::Commit;

use super::Case;
use crate::history::{Answer, Command, Entry, Mailed};
use crate::truth::{Told, events};
use crate::world::address;

/// For so long the token in a mail is good.
const GOOD_FOR: TimeDelta = TimeDelta::minutes(10);
/// The clocks of services do not differ by more, and what is further ahead was not counted.
pub(super) const SKEW: TimeDelta = TimeDelta::minutes(1);
/// No more than so many mails within such a time.
pub(super) const BOUNDS: [(usize, TimeDelta); 2] = [(3, TimeDelta::hours(1)), (10, TimeDelta::hours(24))];

impl Case<'_> {
    /// Who asks for a mail gets one unless there were too many, and nobody gets more. A token is good once, until its end,
    /// for the credential it was made for; what it did is in the log, and ended every session. A password is disabled
    /// after so many failures only.
    pub(super) fn resetting(&mut self) {
        let truth = self.truth;
        for told in truth.users.values() {
            self.mails_are_bounded(told);
            for (place, commit) in told.commits.iter().enumerate() {
                self.disables_and_resets(told, place, commit);
            }
        }
        for entry in self.entries {
            match &entry.command {
                Command::Forget { address: of } => self.sends_a_mail(entry, *of),
                Command::Reset { token, new } => {
                    self.is_refused_if_guessable(entry, *new, &entry.answer);
                    self.takes_a_good_token(entry, token);
                }
                _ => {}
            }
        }
    }

    /// Of each mail, the third before it was sent an hour before, and the tenth a day.
    fn mails_are_bounded(&mut self, told: &Told) {
        let sent: Vec<DateTime<Utc>> = mails(told).map(|commit| commit.at).collect();
        self.are_bounded("mails", &sent, &BOUNDS);
    }

    /// Of what happened at these times, in the order of the log, no more than may was within any such time.
    pub(super) fn are_bounded(&mut self, what: &str, times: &[DateTime<Utc>], bounds: &[(usize, TimeDelta)]) {
        for (most, within) in bounds {
            for (earlier, later) in times.iter().zip(times.iter().skip(*most)) {
                let fits = *later - *earlier >= *within || *earlier > *later + SKEW;
                self.require(fits, || format!("more than {most} {what} within {within}: {later}"));
            }
        }
    }

    fn disables_and_resets(&mut self, told: &Told, place: usize, commit: &Commit) {
        let (user, version) = (commit.user, commit.version);
        for event in events(commit) {
            match event {
                UserEvent::UserPasswordDisabled { attempt } => {
                    let before = told.account(place);
                    let failed = before.is_some_and(|account| {
                        !account.password_disabled && attempt - account.last_success >= MOST_FAILURES
                    });
                    self.require(failed, || format!("{user} v{version} disables the password too early"));
                }
                UserEvent::UserPasswordReset { .. } => {
                    let left = told.alive(place + 1).count();
                    self.require(left == 0, || {
                        format!("{user} v{version} reset the password, and {left} sessions live on")
                    });
                }
                _ => {}
            }
        }
    }

    /// A mail that was accepted for somebody is in the log, or there were too many.
    fn sends_a_mail(&mut self, entry: &Entry, of: usize) {
        let Some((_, told)) = self.surely_had(&address(of), entry) else { return };
        if entry.answer != Answer::Accepted || told.commit_of(entry).is_some() {
            return;
        }
        // Those count, too, that others had sent to what they wanted for their address; and those that went elsewhere
        // before they had verified their own.
        let theirs: Vec<String> = told.addresses().into_iter().map(address).collect();
        let user = told.commits.first().map(|commit| commit.user);
        let from_others = || {
            self.truth.commits().filter(|commit| {
                events(commit).any(|event| {
                    matches!(event, UserEvent::UserRequestedEmailChange { email, .. }
                        if Some(commit.user) == user || theirs.iter().any(|of| of == email.as_str()))
                })
            })
        };
        let too_many = BOUNDS.iter().any(|(most, within)| {
            let sent = mails(told).chain(from_others());
            sent.filter(|commit| commit.at > entry.now - *within - SKEW).count() >= *most
        });
        self.require(too_many, || format!("accepted, and no mail was sent: {entry}"));
    }

    /// Whether an event is what was asked for with [`Command::Forget`].
    pub(super) fn is_the_mail_asked_for(&self, commit: &Commit, entry: &Entry, event: &UserEvent) -> bool {
        let (
            Command::Forget { address: of },
            UserEvent::UserRequestedPasswordReset { email, credential, ends },
        ) = (&entry.command, event)
        else {
            return false;
        };
        let before = usize::try_from(commit.version.number()).unwrap_or_default().saturating_sub(1);
        let account = self.truth.users.get(&commit.user).and_then(|told| told.account(before));
        email.as_str() == address(*of)
            && account.is_some_and(|account| {
                account.email.as_ref() == Some(email) && account.credential == *credential
            })
            && *ends == (commit.at + GOOD_FOR).trunc_subsecs(0)
    }

    fn takes_a_good_token(&mut self, entry: &Entry, token: &Mailed) {
        let Some(told) = self.truth.users.get(&token.user) else { return };
        let ended = token.ends <= entry.now;
        match entry.answer {
            Answer::Done => {
                let number = told.commit_of(entry).filter(|number| {
                    events(&told.commits[number - 1])
                        .any(|event| matches!(event, UserEvent::UserPasswordReset { .. }))
                });
                self.require(number.is_some(), || format!("reset, and the log knows nothing of it: {entry}"));
                let stayed = number.and_then(|number| told.account(number - 1));
                let stayed = stayed.is_none_or(|account| account.email_since == token.since);
                self.require(token.genuine && !ended && stayed, || format!("a bad token was taken: {entry}"));
            }
            Answer::Refused(_) => {
                let void = self.between(told, entry).any(|commits| {
                    told.account(commits).is_none_or(|account| {
                        account.credential != token.credential
                            || account.email_since != token.since
                            || account.email.as_ref().map(Email::as_str)
                                != Some(address(token.address).as_str())
                    })
                });
                self.require(!token.genuine || ended || void, || {
                    format!("a good token was refused: {entry}")
                });
            }
            _ => {}
        }
    }
}

/// The commits that call for a mail which a stranger can cause.
fn mails(told: &Told) -> impl Iterator<Item = &Commit> {
    told.commits.iter().filter(|commit| {
        events(commit).any(|event| matches!(event, UserEvent::UserRequestedPasswordReset { .. }))
    })
}
