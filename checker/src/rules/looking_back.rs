use chrono::SecondsFormat;
use domain::UserEvent;
use storage::Commit;

use super::Case;
use crate::history::{Answer, Command, Entry, PAGE, Shown};
use crate::truth::{Told, events, request_of};

impl Case<'_> {
    /// A page of a history is the log backwards from where it was asked for, as of some moment between the question and
    /// the answer.
    pub(super) fn looking_back(&mut self) {
        for entry in self.entries {
            let (Command::LookBack(access, before), Answer::Events(shown, next)) =
                (&entry.command, &entry.answer)
            else {
                continue;
            };
            let Some((_, told)) = self.user_of(access.session) else { continue };
            let fits = self.between(told, entry).any(|commits| {
                let before = before.and_then(|before| usize::try_from(before).ok());
                let last = before.map_or(commits, |before| commits.min(before.saturating_sub(1)));
                let first = last.saturating_sub(PAGE);
                let is_next = *next == (first > 0).then(|| first as u64 + 1);
                is_next && *shown == page(told, first, last)
            });
            self.require(fits, || says_otherwise(entry));
        }
    }
}

fn says_otherwise(entry: &Entry) -> String {
    format!("a page that the log never was: {entry}")
}

/// What stands in the log behind so many commits, up to so many, backwards.
fn page(told: &Told, first: usize, last: usize) -> Vec<Shown> {
    let commits = told.commits.get(first..last).unwrap_or_default();
    commits.iter().rev().flat_map(shown).collect()
}

fn shown(commit: &Commit) -> Vec<Shown> {
    let mut shown: Vec<Shown> = events(commit)
        .map(|event| Shown {
            version: commit.version.number(),
            kind: public_name(event).to_owned(),
            request: request_of(commit),
            at: commit.at.to_rfc3339_opts(SecondsFormat::Millis, true),
        })
        .collect();
    shown.reverse();
    shown
}

const fn public_name(event: &UserEvent) -> &'static str {
    match event {
        UserEvent::UserRegistered { .. } => "registered",
        UserEvent::UserSignedIn { .. } => "signed_in",
        UserEvent::UserRenamed { .. } => "name_changed",
        UserEvent::UserPasswordChanged { .. } => "password_changed",
        UserEvent::UserRequestedPasswordReset { .. } => "password_reset_requested",
        UserEvent::UserPasswordReset { .. } => "password_reset",
        UserEvent::UserPasswordDisabled { .. } => "password_disabled",
        UserEvent::UserRequestedEmailVerification { .. } => "email_verification_requested",
        UserEvent::UserVerifiedEmail { .. } => "email_verified",
        UserEvent::UserRequestedEmailChange { .. } => "email_change_requested",
        UserEvent::UserEmailChanged { .. } => "email_changed",
        UserEvent::AddressRegisteredAgain { .. } => "email_registered_again",
        UserEvent::UserAddressReleased { .. } => "email_released",
        UserEvent::UserSignedOut { .. } => "signed_out",
        UserEvent::UserEndedSession { .. } => "session_ended",
        UserEvent::UserEndedOtherSessions { .. } => "other_sessions_ended",
        UserEvent::RefreshTokenReused { .. } => "refresh_token_reused",
    }
}
