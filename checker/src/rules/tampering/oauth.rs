//! What concerns devices, one's own history, and what OAuth calls tokens.

use domain::{DeviceId, UserEvent};

use super::{Left, entry, finds};
use crate::history::{Answer, Command, Entry};
use crate::truth::{ended, events, request_of};

fn on_a_device(entry: &Entry) -> bool {
    let Answer::SignedIn { user, .. } = entry.answer else { return false };
    entry.command.known_device(user).is_some()
}

/// The devices at which the log says that sign-ins were counted.
fn counted_at(story: &mut Left) -> impl Iterator<Item = &mut Option<DeviceId>> {
    let commits = story.truth.users.values_mut().flat_map(|told| &mut told.commits);
    let events = commits.flat_map(|commit| &mut commit.events).map(|recorded| &mut recorded.event);
    events.filter_map(|event| match event {
        UserEvent::UserSignedIn { password, .. } => Some(&mut password.device),
        _ => None,
    })
}

fn nobodys() -> DeviceId {
    DeviceId::new("00000000-0000-7000-8000-000000000000".parse().unwrap())
}

#[test]
fn a_sign_in_that_was_counted_at_another_place() {
    finds("counted at another place", |story| {
        *counted_at(story).find(|device| device.is_some())? = None;
        Some(())
    });
    finds("counted at another place", |story| {
        *counted_at(story).find(|device| device.is_none())? = Some(nobodys());
        Some(())
    });
    finds("counted at another place", |story| {
        let known = entry(story, on_a_device)?;
        let Command::SignIn { device: Some(device), .. } = &mut known.command else { return None };
        device.genuine = false;
        Some(())
    });
}

#[test]
fn a_device_under_two_ids_and_two_devices_under_one() {
    finds("one device under two ids", |story| {
        let ids: Vec<DeviceId> = counted_at(story).filter_map(|device| *device).collect();
        let twice = ids.iter().find(|id| ids.iter().filter(|other| other == id).count() > 1)?;
        *counted_at(story).find(|device| **device == Some(*twice))? = Some(nobodys());
        Some(())
    });
    finds("two devices under one id", |story| {
        let first = counted_at(story).find_map(|device| *device)?;
        let another = counted_at(story).flatten().find(|device| **device != first)?;
        *another = first;
        Some(())
    });
}

#[test]
fn an_attempt_that_succeeded_twice() {
    finds("an attempt that succeeded twice", |story| {
        let told = story.truth.users.values_mut().find(|told| {
            told.commits.iter().filter(|commit| commit.events[0].event.name() == "UserSignedIn").count() > 1
        })?;
        let commits = told.commits.iter_mut().flat_map(|commit| &mut commit.events);
        let passwords = commits.filter_map(|recorded| match &mut recorded.event {
            UserEvent::UserSignedIn { password, .. } if password.device.is_none() => Some(password),
            _ => None,
        });
        let [one, other, ..] = &mut passwords.collect::<Vec<_>>()[..] else { return None };
        other.attempt = one.attempt;
        Some(())
    });
}

#[test]
fn a_device_that_is_made_to_wait_for_nothing() {
    finds("made to wait after", |story| {
        entry(story, on_a_device)?.answer = Answer::Refused(429);
        Some(())
    });
}

#[test]
fn guesses_on_a_device_in_too_quick_succession() {
    finds("were looked at within", |story| {
        // Whatever came of those that nobody was told of may have set the count back.
        let first = |entry: &Entry| match &entry.command {
            Command::SignIn { device: Some(device), .. } => Some(device.first),
            _ => None,
        };
        let is_certain = |of: &Entry| {
            let of_device = story.history.iter().filter(|entry| first(entry) == first(of));
            of_device.into_iter().all(|entry| entry.answer != Answer::Unknown)
        };
        let known = story.history.iter().rfind(|entry| on_a_device(entry) && is_certain(entry))?.clone();
        for guess in 0..6 {
            let mut wrong = known.clone();
            wrong.request = story.history.len();
            (wrong.invoked, wrong.completed) = (u64::MAX - 20 + 2 * guess, u64::MAX - 19 + 2 * guess);
            wrong.answer = Answer::Refused(401);
            if let Command::SignIn { password, .. } = &mut wrong.command {
                *password = usize::MAX;
            }
            story.history.push(wrong);
        }
        Some(())
    });
}

#[test]
fn a_history_without_an_event_in_another_order_or_with_another_end() {
    let looked_back = |entry: &Entry| matches!(&entry.answer, Answer::Events(shown, _) if shown.len() > 2);
    finds("a page that the log never was", |story| {
        let Answer::Events(shown, _) = &mut entry(story, looked_back)?.answer else { return None };
        shown.remove(1);
        Some(())
    });
    finds("a page that the log never was", |story| {
        let Answer::Events(shown, _) = &mut entry(story, looked_back)?.answer else { return None };
        shown.swap(0, 1);
        Some(())
    });
    finds("a page that the log never was", |story| {
        let Answer::Events(shown, _) = &mut entry(story, looked_back)?.answer else { return None };
        "something_else".clone_into(&mut shown[1].kind);
        Some(())
    });
    finds("a page that the log never was", |story| {
        let Answer::Events(_, next) = &mut entry(story, looked_back)?.answer else { return None };
        *next = Some(next.unwrap_or(1) + 1);
        Some(())
    });
}

#[test]
fn a_token_that_is_said_to_be_good_after_its_end_or_bad_before_it() {
    finds("the session had not ended", |story| {
        let ended: Vec<_> = story.truth.commits().flat_map(events).flat_map(ended).collect();
        let of_the_living = |entry: &Entry| match &entry.command {
            Command::Introspect(access) => {
                entry.answer == Answer::Worth(true) && !ended.contains(&access.session)
            }
            _ => false,
        };
        entry(story, of_the_living)?.answer = Answer::Worth(false);
        Some(())
    });
    finds("a session was used that had ended", |story| {
        let out = story
            .history
            .iter()
            .find(|entry| entry.answer == Answer::Done && matches!(entry.command, Command::SignOut(_)))?
            .clone();
        let Command::SignOut(access) = &out.command else { return None };
        let inactive = |entry: &Entry| matches!(entry.answer, Answer::Worth(_)) && out.precedes(entry);
        let asked = entry(story, inactive)?;
        asked.command = Command::Introspect(access.clone());
        asked.answer = Answer::Worth(true);
        Some(())
    });
    finds("said to be active", |story| {
        let active = entry(story, |entry| entry.answer == Answer::Worth(true))?;
        let Command::Introspect(access) = &mut active.command else { return None };
        access.expires = active.now;
        Some(())
    });
}

#[test]
fn a_revocation_that_ended_nothing_and_one_of_a_forgery_that_did() {
    let revoked = |entry: &Entry| {
        matches!(&entry.command, Command::Revoke(token) if token.genuine) && entry.answer == Answer::Done
    };
    finds("the session had not ended", |story| {
        let ended: Vec<_> = story.truth.commits().flat_map(events).flat_map(ended).collect();
        let alive = story.history.iter().find_map(|entry| match &entry.answer {
            Answer::SignedIn { token, .. } if !ended.contains(&token.session) => Some(token.clone()),
            _ => None,
        })?;
        entry(story, revoked)?.command = Command::Revoke(alive);
        Some(())
    });
    finds("is not what was asked for", |story| {
        let causes: Vec<_> = story.truth.commits().filter_map(request_of).collect();
        let revocation = entry(story, |entry| revoked(entry) && causes.contains(&entry.request))?;
        let Command::Revoke(token) = &mut revocation.command else { return None };
        token.genuine = false;
        Some(())
    });
}
