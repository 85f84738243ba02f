//! What concerns mails, resets and disabled passwords.

use chrono::TimeDelta;
use domain::{CredentialId, User, UserEvent, Version};
use storage::Commit;

use super::{Left, entry, finds};
use crate::history::{Answer, Command, Entry, GUESSABLE};
use crate::truth::{Told, events, request_of};

fn is_mail(event: &UserEvent) -> bool {
    matches!(event, UserEvent::UserRequestedPasswordReset { .. })
}

fn is_reset(event: &UserEvent) -> bool {
    matches!(event, UserEvent::UserPasswordReset { .. })
}

fn disables(event: &UserEvent) -> bool {
    matches!(event, UserEvent::UserPasswordDisabled { .. })
}

fn was_reset(entry: &Entry) -> bool {
    matches!(entry.command, Command::Reset { .. }) && entry.answer == Answer::Done
}

/// The first user with a commit of which this is true, and its place.
pub(super) fn commit(story: &mut Left, of: impl Fn(&UserEvent) -> bool) -> Option<(&mut Told, usize)> {
    story.truth.users.values_mut().find_map(|told| {
        let place = told.commits.iter().position(|commit| events(commit).any(&of))?;
        Some((told, place))
    })
}

pub(super) fn event(commit: &mut Commit) -> Option<&mut UserEvent> {
    commit.events.first_mut().map(|recorded| &mut recorded.event)
}

/// Takes the last commit off a log whose last request was answered like this, after another one had been.
fn forget_the_last(story: &mut Left, of: impl Fn(&Entry) -> bool) -> Option<()> {
    let history = &story.history;
    let told = story.truth.users.values_mut().find(|told| {
        let causes: Vec<&Entry> =
            told.commits.iter().filter_map(request_of).map(|request| &history[request]).collect();
        causes.last().is_some_and(|last| of(last) && causes.iter().any(|cause| cause.precedes(last)))
    })?;
    told.commits.pop();
    told.states.pop();
    Some(())
}

#[test]
fn an_acknowledged_reset_that_is_not_in_the_log() {
    finds("reset, and the log knows nothing of it", |story| forget_the_last(story, was_reset));
}

#[test]
fn a_mail_that_was_accepted_and_never_sent() {
    finds("accepted, and no mail was sent", |story| {
        let sent = |entry: &Entry| {
            matches!(entry.command, Command::Forget { .. }) && entry.answer == Answer::Accepted
        };
        // The fewest mails: another must not pass for too many.
        forget_the_last(story, sent)?;
        let mails = story.truth.commits().filter(|commit| events(commit).any(is_mail)).count();
        (mails < 3).then_some(())
    });
}

#[test]
fn a_fourth_mail_within_an_hour() {
    finds("more than 3 mails within", |story| {
        let (told, place) = commit(story, is_mail)?;
        for _ in 0..3 {
            let mut again = told.commits[place].clone();
            again.version = told.head().next();
            told.states.push(told.states.last()?.clone());
            told.commits.push(again);
        }
        Some(())
    });
}

#[test]
fn a_mail_to_another_address_or_for_another_credential_or_good_for_longer() {
    for tamper in [
        |event: &mut UserEvent| {
            let UserEvent::UserRequestedPasswordReset { email, .. } = event else { return };
            *email = domain::Email::parse("eve@example.com").unwrap();
        },
        |event: &mut UserEvent| {
            let UserEvent::UserRequestedPasswordReset { credential, .. } = event else { return };
            *credential = CredentialId::new("00000000-0000-7000-8000-000000000000".parse().unwrap());
        },
        |event: &mut UserEvent| {
            let UserEvent::UserRequestedPasswordReset { ends, .. } = event else { return };
            *ends += TimeDelta::seconds(1);
        },
    ] {
        finds("is not what was asked for", |story| {
            let (told, place) = commit(story, is_mail)?;
            tamper(event(&mut told.commits[place])?);
            Some(())
        });
    }
}

#[test]
fn a_token_that_was_taken_after_its_end_or_though_it_was_forged() {
    finds("a bad token was taken", |story| {
        let Command::Reset { token, .. } = &mut entry(story, was_reset)?.command else { return None };
        token.genuine = false;
        Some(())
    });
    finds("a bad token was taken", |story| {
        let reset = entry(story, was_reset)?;
        let Command::Reset { token, .. } = &mut reset.command else { return None };
        token.ends = reset.now;
        Some(())
    });
    // One from before the address was left.
    finds("a bad token was taken", |story| {
        let Command::Reset { token, .. } = &mut entry(story, was_reset)?.command else { return None };
        token.since = Some(token.since.unwrap_or(Version::NONE).next());
        Some(())
    });
}

#[test]
fn a_good_token_that_was_refused() {
    finds("a good token was refused", |story| {
        let history = story.history.clone();
        // As somebody else had asked with it a moment before it was used.
        let reset = history.iter().find(|entry| was_reset(entry))?;
        let forged = entry(story, |entry| {
            let Command::Reset { token, new } = &entry.command else { return false };
            !token.genuine && *new != GUESSABLE && matches!(entry.answer, Answer::Refused(_))
        })?;
        let Command::Reset { token, .. } = &reset.command else { return None };
        let request = forged.request;
        let (invoked, completed, now) = (reset.invoked, reset.completed, reset.now);
        story.history[request].command = Command::Reset { token: token.clone(), new: 0 };
        (story.history[request].invoked, story.history[request].completed) = (invoked, completed);
        story.history[request].now = now;
        let told = story.truth.users.get_mut(&token.user)?;
        let place = told.commit_of(reset)?;
        told.commits.truncate(place - 1);
        told.states.truncate(place - 1);
        Some(())
    });
}

#[test]
fn a_reset_of_another_credential() {
    finds("is not what was asked for", |story| {
        let Command::Reset { token, .. } = &mut entry(story, was_reset)?.command else { return None };
        token.credential = CredentialId::new("00000000-0000-7000-8000-000000000000".parse().unwrap());
        Some(())
    });
}

#[test]
fn a_guessable_password_that_was_set_by_a_reset() {
    finds("judged wrongly", |story| {
        let Command::Reset { new, .. } = &mut entry(story, was_reset)?.command else { return None };
        *new = GUESSABLE;
        Some(())
    });
}

#[test]
fn a_session_that_lives_on_after_a_reset() {
    finds("reset the password, and", |story| {
        for told in story.truth.users.values_mut() {
            for place in 1..told.commits.len() {
                if events(&told.commits[place]).any(is_reset) && told.alive(place).count() > 0 {
                    told.states[place] = told.states[place - 1].clone();
                    return Some(());
                }
            }
        }
        None
    });
    finds("is not what was asked for", |story| {
        let ends_some = |event: &UserEvent| matches!(event, UserEvent::UserPasswordReset { ended, .. } if !ended.is_empty());
        let (told, place) = commit(story, ends_some)?;
        let UserEvent::UserPasswordReset { ended, .. } = event(&mut told.commits[place])? else {
            return None;
        };
        ended.pop();
        Some(())
    });
}

#[test]
fn a_password_that_was_disabled_too_early_or_at_anothers_wish() {
    finds("disables the password too early", |story| {
        let (told, place) = commit(story, disables)?;
        let UserEvent::UserPasswordDisabled { attempt } = event(&mut told.commits[place])? else {
            return None;
        };
        *attempt -= 1;
        Some(())
    });
    finds("is not what was asked for", |story| {
        let (told, place) = commit(story, disables)?;
        let request = request_of(&told.commits[place])?;
        let Command::SignIn { address, .. } = &mut story.history[request].command else { return None };
        *address += 1_000;
        Some(())
    });
}

#[test]
fn a_sign_in_with_a_disabled_password() {
    finds("rests on a disabled password", |story| {
        let begins = |event: &UserEvent| matches!(event, UserEvent::UserSignedIn { .. });
        let (told, place) = commit(story, begins)?;
        let User::Registered(account) = told.states.get_mut(place.checked_sub(1)?)? else { return None };
        account.password_disabled = true;
        Some(())
    });
}
