//! Each rule finds what it is there to find: a story that was judged to be right is changed in one place.

mod addresses;
mod credentials;
mod oauth;
mod resetting;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use domain::{UserId, Version};
use storage::{Parked, View};
use tokio::runtime::Builder;

use super::judge;
use crate::Story;
use crate::history::{Answer, Command, Entry};
use crate::truth::{Truth, begun, events, request_of};

/// What a story left, to be changed.
#[derive(Clone)]
struct Left {
    history: Vec<Entry>,
    truth: Truth,
    delivered: BTreeSet<(UserId, Version)>,
}

/// Stories that were judged to be right, of the seeds from 1; each is played once for all tests.
static PLAYED: Mutex<Vec<Left>> = Mutex::new(Vec::new());

fn played(seed: usize) -> Left {
    let mut played = PLAYED.lock().unwrap_or_else(PoisonError::into_inner);
    while played.len() < seed {
        let seed = u64::try_from(played.len()).unwrap() + 1;
        let paused = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let Story { history, truth, delivered, .. } = paused.block_on(Story::play(seed));
        assert_eq!(judge(&history, &truth, &delivered), Vec::<String>::new(), "seed {seed}");
        played.push(Left { history, truth, delivered });
    }
    played[seed - 1].clone()
}

/// Goes through stories until this finds something to change, changes it, and sees what is said of it.
#[track_caller]
fn finds(complaint: &str, tamper: impl Fn(&mut Left) -> Option<()>) {
    for seed in 1..100 {
        let mut story = played(seed);
        if tamper(&mut story).is_some() {
            let findings = judge(&story.history, &story.truth, &story.delivered);
            let found = findings.iter().any(|finding| finding.contains(complaint));
            assert!(found, "seed {seed}: not {complaint:?}, but {findings:#?}");
            return;
        }
    }
    panic!("no seed has anything to change");
}

/// The first entry that this is true of.
fn entry(story: &mut Left, of: impl Fn(&Entry) -> bool) -> Option<&mut Entry> {
    story.history.iter_mut().find(|entry| of(entry))
}

fn signed_in(entry: &Entry) -> bool {
    matches!(entry.answer, Answer::SignedIn { .. })
}

#[test]
fn an_acknowledged_sign_in_that_is_not_in_the_log() {
    finds("signed in, and the log knows nothing of it", |story| {
        let told = story.truth.users.values_mut().find(|told| {
            let last = told.commits.last().and_then(request_of);
            last.is_some_and(|request| signed_in(&story.history[request]))
        })?;
        told.commits.pop();
        told.states.pop();
        Some(())
    });
}

#[test]
fn a_command_that_took_effect_twice() {
    finds("took effect twice", |story| {
        let told = story.truth.users.values_mut().find(|told| told.commits.len() > 1)?;
        let mut again = told.commits.last()?.clone();
        again.version = again.version.next();
        told.states.push(told.states.last()?.clone());
        told.commits.push(again);
        Some(())
    });
}

#[test]
fn a_refused_registration_that_was_made_all_the_same() {
    finds("refused, and done all the same", |story| {
        let caused = |entry: &Entry| matches!(entry.answer, Answer::Registered { .. });
        entry(story, caused)?.answer = Answer::Refused(409);
        Some(())
    });
}

#[test]
fn a_registration_refused_for_an_address_of_nobody() {
    finds("taken by nobody else", |story| {
        let free = (0..100).find(|of| story.truth.owner(&crate::world::address(*of)).is_none())?;
        let refused = entry(story, |entry| {
            matches!(entry.command, Command::Register { .. }) && entry.answer == Answer::Refused(409)
        })?;
        refused.command = Command::Register { address: free, password: 0, key: None };
        Some(())
    });
}

#[test]
fn an_address_with_two_owners() {
    finds("belongs to", |story| {
        let mut users = story.truth.users.values_mut();
        let (one, other) = (users.next()?, users.next()?);
        *other.states.last_mut()? = one.states.last()?.clone();
        Some(())
    });
}

#[test]
fn a_log_that_contradicts_the_order_of_answers() {
    finds("the log has it after what came later", |story| {
        let history = &story.history;
        let told = story.truth.users.values_mut().find(|told| {
            let [.., one, other] = told.commits.as_slice() else { return false };
            let (Some(one), Some(other)) = (request_of(one), request_of(other)) else { return false };
            history[one].precedes(&history[other])
        })?;
        let last = told.commits.len() - 1;
        let (one, other) = (told.commits[last - 1].events.clone(), told.commits[last].events.clone());
        told.commits[last - 1].events = other;
        told.commits[last].events = one;
        Some(())
    });
}

#[test]
fn a_session_that_is_dead_and_should_be_alive_and_the_other_way_round() {
    finds("is alive by the log, and has no row", |story| story.truth.rows.pop_first().map(|_| ()));
    finds("has ended by the log, and has a row", |story| {
        let told = story.truth.users.iter().find(|(_, told)| {
            told.commits.iter().flat_map(events).any(|event| event.name() == "UserSignedOut")
        })?;
        let ended = told.1.commits.iter().flat_map(events).find_map(|event| match event {
            domain::UserEvent::UserSignedOut { session } => Some(*session),
            _ => None,
        })?;
        story.truth.rows.insert((*told.0, ended));
        Some(())
    });
}

#[test]
fn whoever_gets_in_with_a_wrong_password() {
    finds("let in by mistake", |story| {
        let Command::SignIn { password, .. } = &mut entry(story, signed_in)?.command else { return None };
        *password += 1;
        Some(())
    });
}

#[test]
fn whoever_is_kept_out_with_the_right_password() {
    finds("kept out with the right password", |story| {
        let history = story.history.clone();
        let registered = history.iter().find(|entry| signed_in(entry))?;
        // While nobody was about to change what is right.
        let changes = |entry: &Entry| {
            history.iter().any(|other| {
                let (Command::Reset { .. } | Command::ChangePassword { .. } | Command::Verify { .. }) =
                    other.command
                else {
                    return false;
                };
                !other.precedes(entry) && other.may_affect(entry)
            })
        };
        let again = entry(story, |entry| {
            let same = signed_in(entry) && entry.command == registered.command;
            registered.precedes(entry) && same && !changes(entry)
        })?;
        again.answer = Answer::Refused(401);
        Some(())
    });
}

#[test]
fn whoever_is_made_to_wait_for_nothing() {
    finds("made to wait after", |story| {
        let signs_in = |entry: &Entry| matches!(entry.command, Command::SignIn { .. });
        let history = story.history.clone();
        let early = |entry: &Entry| {
            history.iter().filter(|other| signs_in(other) && other.may_affect(entry)).count() < 5
        };
        let first = entry(story, |entry| signs_in(entry) && early(entry))?;
        first.answer = Answer::Refused(429);
        Some(())
    });
}

#[test]
fn guesses_in_too_quick_succession() {
    finds("were looked at within", |story| {
        let now = story.history.first()?.now;
        let free = 99;
        let mut refused = story.history.iter_mut().filter(|entry| entry.answer == Answer::Refused(401));
        for _ in 0..6 {
            let guess = refused.find(|entry| matches!(entry.command, Command::SignIn { .. }))?;
            guess.command = Command::SignIn { address: free, password: 0, device: None };
            guess.now = now;
        }
        Some(())
    });
}

#[test]
fn a_second_successor_of_a_refresh_token() {
    finds("a second successor of one token", |story| {
        let refreshed = story.history.iter().find(|entry| matches!(entry.answer, Answer::Refreshed(..)))?;
        let mut again = refreshed.clone();
        let Answer::Refreshed(token, _) = &mut again.answer else { return None };
        token.text.push('x');
        story.history.push(again);
        Some(())
    });
}

#[test]
fn a_token_taken_long_after_it_was_spent() {
    finds("a token that was spent long ago was taken", |story| {
        let refreshed = story.history.iter().find(|entry| matches!(entry.answer, Answer::Refreshed(..)))?;
        let mut again = refreshed.clone();
        (again.invoked, again.completed) = (u64::MAX - 2, u64::MAX - 1);
        again.now += TimeDelta::hours(1);
        story.history.push(again);
        Some(())
    });
}

#[test]
fn a_session_that_was_used_after_its_end() {
    finds("a session was used that had ended", |story| {
        let out = story
            .history
            .iter()
            .find(|entry| entry.answer == Answer::Done && matches!(entry.command, Command::SignOut(_)))?
            .clone();
        let Command::SignOut(access) = &out.command else { return None };
        let read = entry(story, |entry| matches!(entry.answer, Answer::Profile(_)) && out.precedes(entry))?;
        read.command = Command::ReadProfile(access.clone(), None);
        Some(())
    });
}

#[test]
fn a_session_refused_before_its_end() {
    finds("the session had not ended", |story| {
        let read = entry(story, |entry| matches!(entry.answer, Answer::Profile(_)))?;
        read.answer = Answer::Refused(401);
        Some(())
    });
}

#[test]
fn a_profile_older_than_asked_for() {
    finds("asked for v", |story| {
        let history = story.history.clone();
        let read = entry(story, |entry| {
            let Answer::Profile(profile) = &entry.answer else { return false };
            profile.version == 1
                && history.iter().any(|other| {
                    matches!(&other.answer, Answer::SignedIn { user, version, .. }
                        if user.to_string() == profile.user && *version > 1)
                        && other.precedes(entry)
                })
        })?;
        let Command::ReadProfile(_, at_least) = &mut read.command else { return None };
        *at_least = Some(2);
        Some(())
    });
}

#[test]
fn a_profile_that_says_something_else_than_the_log() {
    finds("and the log says", |story| {
        let read = entry(story, |entry| matches!(entry.answer, Answer::Profile(_)))?;
        let Answer::Profile(profile) = &mut read.answer else { return None };
        profile.name = Some("somebody else".to_owned());
        Some(())
    });
}

#[test]
fn a_view_that_is_behind_what_the_projector_answered_for() {
    finds("the projector answered for", |story| {
        let (user, _) = story.delivered.first()?;
        story.truth.users.get_mut(user)?.view.view = View::Absent;
        Some(())
    });
}

#[test]
fn a_view_that_is_not_the_fold_of_the_log() {
    finds("is not the fold of its log", |story| {
        let told = story.truth.users.values_mut().find(|told| told.commits.len() > 1)?;
        let View::Of(snapshot) = &mut told.view.view else { return None };
        snapshot.user = domain::User::Unregistered;
        Some(())
    });
}

#[test]
fn a_parked_user_and_a_session_begun_twice() {
    finds("is parked", |story| {
        let (_, told) = story.truth.users.iter_mut().next()?;
        told.view.parked = Some(Parked { since: String::new(), reason: String::new() });
        Some(())
    });
    finds("began twice", |story| {
        let told = story.truth.users.values_mut().find(|told| {
            told.commits.last().is_some_and(|last| events(last).any(|event| begun(event).is_some()))
        })?;
        let mut again = told.commits.last()?.clone();
        again.version = Version::new(again.version.number() + 1);
        told.states.push(told.states.last()?.clone());
        told.commits.push(again);
        Some(())
    });
}
