//! What concerns addresses, and the mails that move them.

use chrono::TimeDelta;
use domain::{CredentialId, Email, UserEvent};

use super::resetting::{commit, event};
use super::{entry, finds, signed_in};
use crate::history::{Answer, Command, Entry};
use crate::truth::{events, request_of};

fn was_verified(entry: &Entry) -> bool {
    matches!(entry.command, Command::Verify { .. }) && entry.answer == Answer::Done
}

fn asks(event: &UserEvent) -> bool {
    matches!(event, UserEvent::UserRequestedEmailChange { .. })
}

fn moves(event: &UserEvent) -> bool {
    matches!(event, UserEvent::UserEmailChanged { .. })
}

fn eve() -> Email {
    Email::parse("eve@example.com").unwrap()
}

fn nothing() -> CredentialId {
    CredentialId::new("00000000-0000-7000-8000-000000000000".parse().unwrap())
}

#[test]
fn an_address_that_leads_to_nobody_or_to_whoever_does_not_have_it() {
    finds("by the log, and leads to None", |story| story.truth.leads_to.pop_first().map(drop));
    finds("who does not have it", |story| {
        let user = *story.truth.leads_to.first_key_value()?.1;
        story.truth.leads_to.insert(eve().as_str().to_owned(), user).is_none().then_some(())
    });
    finds("identifiers of", |story| {
        story.truth.identifiers += 1;
        Some(())
    });
}

#[test]
fn an_address_that_was_taken_though_somebody_else_had_it() {
    finds("took what was somebody else's", |story| {
        let history = &story.history;
        let registered = |user| {
            let told = story.truth.users.get(user)?;
            let entry = history.get(request_of(told.commits.first()?)?)?;
            let stays = !told.commits.iter().flat_map(events).any(moves);
            Some((entry, told.account(1)?.email.clone()?, stays))
        };
        let users: Vec<_> = story.truth.users.keys().copied().collect();
        let (later, email) = users.iter().find_map(|later| {
            let (second, ..) = registered(later)?;
            users.iter().find_map(|earlier| {
                let (first, email, stays) = registered(earlier)?;
                (stays && first.precedes(second)).then_some((*later, email))
            })
        })?;
        let taken = event(story.truth.users.get_mut(&later)?.commits.first_mut()?)?;
        let UserEvent::UserRegistered { email: of, .. } = taken else { return None };
        *of = email;
        Some(())
    });
}

#[test]
fn an_acknowledged_confirmation_that_is_not_in_the_log() {
    finds("confirmed, and the log knows nothing of it", |story| {
        let history = story.history.clone();
        let confirmed = |commit: &storage::Commit| {
            events(commit).any(moves)
                && request_of(commit).is_some_and(|request| was_verified(&history[request]))
        };
        let mut commits = story.truth.users.values_mut().flat_map(|told| &mut told.commits);
        let UserEvent::UserEmailChanged { to, .. } = event(commits.find(|commit| confirmed(commit))?)? else {
            return None;
        };
        *to = eve();
        Some(())
    });
}

#[test]
fn a_token_for_an_address_that_was_forged_or_past_its_end_or_void() {
    finds("a bad token was taken for an address", |story| {
        let Command::Verify { token, .. } = &mut entry(story, was_verified)?.command else { return None };
        token.genuine = false;
        Some(())
    });
    finds("a bad token was taken for an address", |story| {
        let verified = entry(story, was_verified)?;
        let Command::Verify { token, .. } = &mut verified.command else { return None };
        token.ends = verified.now;
        Some(())
    });
    finds("a void token was taken for an address", |story| {
        let Command::Verify { token, .. } = &mut entry(story, was_verified)?.command else { return None };
        token.credential = nothing();
        Some(())
    });
}

#[test]
fn a_good_token_for_an_address_that_was_refused() {
    finds("a good token for an address was refused", |story| {
        let history = story.history.clone();
        let verified = entry(story, |entry| {
            let Command::Verify { token, from: None } = &entry.command else { return false };
            let known = |other: &&Entry| {
                matches!(other.answer, Answer::Registered { user, .. } if user == token.user)
                    && other.precedes(entry)
            };
            was_verified(entry) && history.iter().any(|other| known(&other))
        })?;
        verified.answer = Answer::Refused(400);
        let Command::Verify { token, .. } = &verified.command else { return None };
        let (user, verified) = (token.user, verified.clone());
        let told = story.truth.users.get_mut(&user)?;
        let place = told.commit_of(&verified)?;
        told.commits.truncate(place - 1);
        told.states.truncate(place - 1);
        Some(())
    });
    finds("said to be somebody else's by now", |story| {
        let verification = |entry: &Entry| matches!(entry.command, Command::Verify { from: None, .. });
        entry(story, |entry| was_verified(entry) && verification(entry))?.answer = Answer::Refused(409);
        Some(())
    });
}

#[test]
fn a_mail_elsewhere_that_was_accepted_and_never_sent() {
    finds("accepted, and no mail was sent elsewhere", |story| {
        let history = story.history.clone();
        // Neither had whoever asked too many.
        let few = |entry: &Entry| {
            let others = history.iter().filter(|other| {
                matches!(other.command, Command::Forget { .. } | Command::AskForAddress { .. })
                    && other.request != entry.request
                    && other.may_affect(entry)
            });
            others.count() < 3
        };
        let accepted = |request: usize| history[request].answer == Answer::Accepted && few(&history[request]);
        let mut commits = story.truth.users.values_mut().flat_map(|told| &mut told.commits);
        let commit =
            commits.find(|commit| events(commit).any(asks) && request_of(commit).is_some_and(accepted))?;
        // To where no mail ever went: there were not too many.
        let Command::AskForAddress { address, .. } = &mut story.history[request_of(commit)?].command else {
            return None;
        };
        *address = 99;
        commit.events.first_mut()?.meta.address = None;
        Some(())
    });
}

#[test]
fn a_change_that_was_asked_for_otherwise_than_the_log_has_it() {
    for tamper in [
        |event: &mut UserEvent| {
            let UserEvent::UserRequestedEmailChange { email, .. } = event else { return };
            *email = eve();
        },
        |event: &mut UserEvent| {
            let UserEvent::UserRequestedEmailChange { from, .. } = event else { return };
            *from = eve();
        },
        |event: &mut UserEvent| {
            let UserEvent::UserRequestedEmailChange { credential, .. } = event else { return };
            *credential = nothing();
        },
        |event: &mut UserEvent| {
            let UserEvent::UserRequestedEmailChange { ends, .. } = event else { return };
            *ends += TimeDelta::seconds(1);
        },
    ] {
        finds("is not what was asked for", |story| {
            let (told, place) = commit(story, asks)?;
            tamper(event(&mut told.commits[place])?);
            Some(())
        });
    }
}

#[test]
fn a_change_that_was_asked_for_too_long_after_the_sign_in() {
    finds("s after the sign-in", |story| {
        let asked = |entry: &Entry| {
            matches!(entry.command, Command::AskForAddress { .. }) && entry.answer == Answer::Accepted
        };
        entry(story, asked)?.now += TimeDelta::minutes(6);
        Some(())
    });
}

#[test]
fn an_unverified_address_left_twice_a_day_and_one_that_was_not_let_go() {
    finds("more than 1 moves from an unverified address within", |story| {
        let (told, place) = commit(story, moves)?;
        let before = told.states.get(place.checked_sub(1)?)?.clone();
        if before.account()?.email_verified {
            return None;
        }
        let again = told.commits[place].clone();
        told.commits.insert(place, again);
        told.states.insert(place, before);
        Some(())
    });
    finds("kept from leaving an address without a reason", |story| {
        entry(story, was_verified)?.answer = Answer::TooManyMails;
        Some(())
    });
}

#[test]
fn whoever_signs_in_by_an_address_that_is_not_theirs_at_that_moment() {
    finds("let in by mistake", |story| {
        let Command::SignIn { address, .. } = &mut entry(story, signed_in)?.command else { return None };
        *address = 99;
        Some(())
    });
}
