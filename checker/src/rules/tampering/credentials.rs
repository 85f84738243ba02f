//! What concerns passwords, names, and the ends of other sessions.

use std::collections::BTreeSet;

use domain::{CredentialId, SessionId, UserEvent};
use storage::Commit;

use super::{Left, entry, finds, signed_in};
use crate::history::{Access, Answer, Command, Entry, GUESSABLE, Listed};
use crate::truth::{begun, ended, events, request_of};

fn changed(entry: &Entry) -> bool {
    matches!(entry.command, Command::ChangePassword { .. }) && entry.answer == Answer::Done
}

/// The first such event of the log.
fn event(story: &mut Left, of: impl Fn(&UserEvent) -> bool) -> Option<&mut UserEvent> {
    let commits = story.truth.users.values_mut().flat_map(|told| &mut told.commits);
    commits.flat_map(|commit| &mut commit.events).map(|recorded| &mut recorded.event).find(|event| of(event))
}

/// The access token of an earlier session of the same user.
fn an_earlier_one(story: &Left, than: SessionId) -> Option<Access> {
    let accesses: Vec<(domain::UserId, &Access)> = story
        .history
        .iter()
        .filter_map(|entry| match &entry.answer {
            Answer::SignedIn { user, access, .. } => Some((*user, access)),
            _ => None,
        })
        .collect();
    let (of, _) = accesses.iter().find(|(_, access)| access.session == than)?;
    let earlier = accesses.iter().take_while(|(_, access)| access.session != than);
    earlier.filter(|(user, _)| user == of).map(|(_, access)| (*access).clone()).next()
}

/// Takes a change that was acknowledged off the end of its log.
fn forget_a_change(story: &mut Left) -> Option<()> {
    let history = &story.history;
    let told = story.truth.users.values_mut().find(|told| {
        told.commits.last().and_then(request_of).is_some_and(|request| changed(&history[request]))
    })?;
    told.commits.pop();
    told.states.pop();
    Some(())
}

#[test]
fn an_acknowledged_change_that_is_not_in_the_log() {
    finds("changed, and the log knows nothing of it", forget_a_change);
}

#[test]
fn a_vault_with_another_credential_than_the_log() {
    finds("holds", |story| {
        let told = story.truth.users.values_mut().next()?;
        told.credential = None;
        Some(())
    });
}

#[test]
fn a_sign_in_and_a_change_that_rest_on_another_credential() {
    let nobodys = || CredentialId::new("00000000-0000-7000-8000-000000000000".parse().unwrap());
    finds("rests on another credential", |story| {
        let event = event(story, |event| matches!(event, UserEvent::UserSignedIn { .. }))?;
        let UserEvent::UserSignedIn { password, .. } = event else { return None };
        password.credential = nobodys();
        Some(())
    });
    finds("rests on another credential", |story| {
        let event = event(story, |event| matches!(event, UserEvent::UserPasswordChanged { .. }))?;
        let UserEvent::UserPasswordChanged { password, .. } = event else { return None };
        password.credential = nobodys();
        Some(())
    });
}

#[test]
fn a_session_that_lives_on_after_a_change() {
    finds("changed the password, and", |story| {
        for told in story.truth.users.values_mut() {
            for place in 1..told.commits.len() {
                let mut all = events(&told.commits[place]);
                let changes = all.any(|event| matches!(event, UserEvent::UserPasswordChanged { .. }));
                if changes && told.alive(place).count() > 1 {
                    told.states[place] = told.states[place - 1].clone();
                    return Some(());
                }
            }
        }
        None
    });
    finds("is not what was asked for", |story| {
        let ends = |event: &UserEvent| matches!(event, UserEvent::UserPasswordChanged { ended, .. } if !ended.is_empty());
        let UserEvent::UserPasswordChanged { ended, .. } = event(story, ends)? else { return None };
        ended.pop();
        Some(())
    });
}

#[test]
fn an_access_and_a_refresh_token_of_a_session_that_a_change_had_ended() {
    let ended_by_a_change = |story: &Left| {
        let mut commits = story.truth.commits();
        commits.find_map(|commit| {
            let entry = &story.history[request_of(commit)?];
            let ended = events(commit).find_map(|event| match event {
                UserEvent::UserPasswordChanged { ended, .. } => ended.first().copied(),
                _ => None,
            })?;
            changed(entry).then(|| (entry.clone(), ended))
        })
    };
    finds("a session was used that was not alive by the log", |story| {
        let (change, ended) = ended_by_a_change(story)?;
        let read =
            entry(story, |entry| matches!(entry.answer, Answer::Profile(_)) && change.precedes(entry))?;
        let Command::ReadProfile(access, _) = &mut read.command else { return None };
        access.session = ended;
        Some(())
    });
    finds("a session was used that was not alive by the log", |story| {
        let (change, ended) = ended_by_a_change(story)?;
        let refreshed =
            entry(story, |entry| matches!(entry.answer, Answer::Refreshed(..)) && change.precedes(entry))?;
        let Command::Refresh(token) = &mut refreshed.command else { return None };
        token.session = ended;
        Some(())
    });
}

#[test]
fn whoever_gets_in_with_the_password_before() {
    finds("let in by mistake", |story| {
        let change = story.history.iter().find(|entry| changed(entry))?.clone();
        let Command::ChangePassword { access, current, new } = &change.command else { return None };
        let began = story.history.iter().find(
            |entry| matches!(&entry.answer, Answer::SignedIn { token, .. } if token.session == access.session),
        )?;
        let Command::SignIn { address: of, .. } = began.command else { return None };
        let later = entry(story, |entry| {
            let with_the_new = Command::SignIn { address: of, password: *new, device: None };
            change.precedes(entry) && signed_in(entry) && entry.command == with_the_new && new != current
        })?;
        later.command = Command::SignIn { address: of, password: *current, device: None };
        Some(())
    });
}

#[test]
fn whoever_is_kept_out_with_the_new_password() {
    finds("kept out with the right password", |story| {
        let changes = |entry: &Entry| matches!(entry.command, Command::ChangePassword { new, .. } if changed(entry) && new != GUESSABLE);
        let change = story.history.iter().find(|entry| changes(entry))?.clone();
        let Command::ChangePassword { new, .. } = change.command else { return None };
        let later = entry(story, |entry| {
            let Command::SignIn { password, .. } = entry.command else { return false };
            change.precedes(entry) && signed_in(entry) && password == new
        })?;
        later.answer = Answer::Refused(401);
        Some(())
    });
}

#[test]
fn a_refused_change_that_was_made_all_the_same() {
    for answer in [
        Answer::WrongPassword,
        Answer::SignInTooOld,
        Answer::Guessable,
        Answer::TooManyMails,
        Answer::Refused(429),
    ] {
        finds("refused, and done all the same", |story| {
            entry(story, changed)?.answer = answer.clone();
            Some(())
        });
    }
}

#[test]
fn a_right_password_that_was_said_to_be_wrong() {
    finds("said to be wrong, and it was the password", |story| {
        let wrong = |entry: &Entry| entry.answer == Answer::WrongPassword;
        let session = entry(story, wrong)?.command.acting()?.session;
        let told = story.truth.users.values().find(|told| {
            (0..=told.commits.len()).any(|commits| told.alive(commits).any(|alive| alive == session))
        })?;
        let passwords = told.passwords(&story.history);
        let only = passwords.first().copied().flatten()?;
        let Command::ChangePassword { current, .. } = &mut entry(story, wrong)?.command else { return None };
        *current = only;
        passwords.iter().all(|password| *password == Some(only)).then_some(())
    });
}

#[test]
fn a_change_with_a_wrong_password() {
    finds("is not what was asked for", |story| {
        let Command::ChangePassword { current, .. } = &mut entry(story, changed)?.command else {
            return None;
        };
        *current += 1_000;
        Some(())
    });
}

#[test]
fn a_guessable_password_that_was_taken_and_another_that_was_not() {
    finds("judged wrongly", |story| {
        let Command::ChangePassword { new, .. } = &mut entry(story, changed)?.command else { return None };
        *new = GUESSABLE;
        Some(())
    });
    finds("judged wrongly", |story| {
        let registers = |entry: &Entry| {
            matches!(entry.command, Command::Register { .. }) && entry.answer == Answer::Refused(409)
        };
        entry(story, registers)?.answer = Answer::Guessable;
        Some(())
    });
}

#[test]
fn a_change_after_an_old_sign_in_and_a_fresh_one_that_was_refused() {
    let made_old = |story: &mut Left, of: fn(&Entry) -> bool| {
        entry(story, of)?.now += chrono::TimeDelta::seconds(302);
        Some(())
    };
    finds("s after the sign-in", |story| made_old(story, changed));
    finds("s after the sign-in", |story| {
        made_old(story, |entry| {
            matches!(entry.command, Command::EndOtherSessions(_)) && entry.answer == Answer::Done
        })
    });
    finds("s after the sign-in", |story| {
        let fresh = |entry: &Entry| {
            matches!(entry.command, Command::ChangePassword { .. }) && entry.answer == Answer::WrongPassword
        };
        entry(story, fresh)?.answer = Answer::SignInTooOld;
        Some(())
    });
}

#[test]
fn a_wait_for_nothing_before_a_change() {
    finds("made to wait after", |story| {
        let presents =
            |entry: &Entry| matches!(entry.command, Command::SignIn { .. } | Command::ChangePassword { .. });
        let change = story.history.iter().find(|change| {
            let acting = change.command.acting().map(|access| access.session);
            let began = story.history.iter().find(
                |entry| matches!(&entry.answer, Answer::SignedIn { token, .. } if Some(token.session) == acting),
            );
            // By a success that was counted where the change is.
            let Some((began, Command::SignIn { address: of, device: None, .. })) =
                began.map(|began| (began, &began.command))
            else {
                return false;
            };
            let elsewhere = |entry: &Entry| match &entry.command {
                Command::SignIn { address, .. } => address != of,
                _ => false,
            };
            let tries = story.history.iter().filter(|entry| {
                presents(entry) && !elsewhere(entry) && entry.may_affect(change) && began.may_affect(entry)
            });
            changed(change) && tries.count() < 5
        })?;
        let request = change.request;
        story.history[request].answer = Answer::Refused(429);
        Some(())
    });
}

#[test]
fn a_change_beyond_the_bound_and_one_kept_back_before_it() {
    finds("more than 3 changes of an unverified user within", |story| {
        let told = story.truth.users.values_mut().find(|told| {
            let changes = |commit: &Commit| events(commit).any(|event| event.name() == "UserPasswordChanged");
            let unverified = |account: &domain::Account| !account.email_verified;
            told.commits.last().is_some_and(changes)
                && told.account(told.commits.len()).is_some_and(unverified)
        })?;
        let (last, state) = (told.commits.last()?.clone(), told.states.last()?.clone());
        for _ in 0..3 {
            told.commits.push(last.clone());
            told.states.push(state.clone());
        }
        Some(())
    });
    finds("kept from changing the password without a reason", |story| {
        entry(story, |entry| entry.answer == Answer::WrongPassword)?.answer = Answer::TooManyMails;
        Some(())
    });
}

#[test]
fn a_name_that_was_not_given_or_not_asked_for() {
    let renamed = |entry: &Entry| {
        matches!(entry.command, Command::Rename { .. }) && matches!(entry.answer, Answer::Profile(_))
    };
    finds("called otherwise than was asked for", |story| {
        let Command::Rename { name, .. } = &mut entry(story, renamed)?.command else { return None };
        *name = Some("Zoe".to_owned());
        Some(())
    });
    finds("renamed, and the log knows nothing of it", |story| {
        let history = &story.history;
        let told = story.truth.users.values_mut().find(|told| {
            told.commits.last().and_then(request_of).is_some_and(|request| renamed(&history[request]))
        })?;
        told.commits.pop();
        told.states.pop();
        Some(())
    });
    finds("is not what was asked for", |story| {
        let named = |event: &UserEvent| matches!(event, UserEvent::UserRenamed { name: Some(_) });
        *event(story, named)? = UserEvent::UserRenamed { name: None };
        Some(())
    });
    finds("and the log says", |story| {
        let Answer::Profile(shown) = &mut entry(story, renamed)?.answer else { return None };
        shown.etag = "\"0\"".to_owned();
        Some(())
    });
}

#[test]
fn a_condition_that_was_not_kept_and_one_that_was() {
    finds("renamed against If-Match", |story| {
        let requests: Vec<usize> = story.truth.commits().filter_map(request_of).collect();
        let caused = entry(story, |entry| {
            matches!(entry.command, Command::Rename { .. }) && requests.contains(&entry.request)
        })?;
        let Command::Rename { if_match, .. } = &mut caused.command else { return None };
        *if_match = Some("\"0\"".to_owned());
        matches!(caused.answer, Answer::Profile(_)).then_some(())
    });
    finds("nobody had changed the profile", |story| {
        let refused = |entry: &Entry| entry.answer == Answer::Refused(412);
        let Command::Rename { if_match, .. } = &mut entry(story, refused)?.command else { return None };
        *if_match = Some("*".to_owned());
        Some(())
    });
}

#[test]
fn an_acknowledged_end_of_sessions_that_is_not_in_the_log() {
    for ends in [
        |command: &Command| matches!(command, Command::EndSession { access, session } if access.session != *session),
        |command: &Command| matches!(command, Command::EndOtherSessions(_)),
    ] {
        finds("ended, and the log knows nothing of it", |story| {
            let history = &story.history;
            let entry = |commit: &Commit| request_of(commit).map(|request| &history[request]);
            let mut all = story.truth.users.values_mut();
            let (told, place) = all.find_map(|told| {
                let place = told.commits.iter().position(|commit| {
                    let done =
                        entry(commit).filter(|entry| ends(&entry.command) && entry.answer == Answer::Done);
                    let of_old = |session: &SessionId| {
                        let began = told
                            .commits
                            .iter()
                            .find(|commit| events(commit).any(|event| begun(event) == Some(*session)));
                        let began = began.and_then(entry);
                        began.is_some_and(|began| done.is_some_and(|done| began.precedes(done)))
                    };
                    // What began only meanwhile need not have been there to be ended.
                    events(commit).flat_map(ended).any(|session| of_old(&session))
                })?;
                Some((told, place))
            })?;
            told.commits.truncate(place);
            told.states.truncate(place);
            Some(())
        });
    }
}

#[test]
fn ends_of_other_sessions_than_were_asked_for() {
    finds("is not what was asked for", |story| {
        let ends = |event: &UserEvent| matches!(event, UserEvent::UserEndedSession { .. });
        let UserEvent::UserEndedSession { session } = event(story, ends)? else { return None };
        *session = SessionId::new("00000000-0000-7000-8000-000000000000".parse().unwrap());
        Some(())
    });
    finds("is not what was asked for", |story| {
        let ends = |event: &UserEvent| matches!(event, UserEvent::UserEndedOtherSessions { .. });
        let UserEvent::UserEndedOtherSessions { ended } = event(story, ends)? else { return None };
        ended.pop();
        Some(())
    });
}

#[test]
fn a_session_that_was_not_found_though_it_was_theirs() {
    finds("it was one of theirs", |story| {
        let found = story.history.iter().find_map(|entry| match (&entry.command, &entry.answer) {
            (Command::ReadProfile(access, _), Answer::Profile(_)) => {
                Some((entry.request, access.clone(), an_earlier_one(story, access.session)?.session))
            }
            _ => None,
        });
        let (request, access, other) = found?;
        let told =
            story.truth.users.values().find(|told| {
                (0..=told.commits.len()).any(|commits| told.alive(commits).any(|id| id == other))
            })?;
        let alive_throughout = told.alive(told.commits.len()).any(|id| id == other);
        let read = &mut story.history[request];
        read.command = Command::EndSession { access, session: other };
        read.answer = Answer::Refused(404);
        alive_throughout.then_some(())
    });
    finds("their own session was not found", |story| {
        let read = entry(story, |entry| matches!(entry.answer, Answer::Profile(_)))?;
        let access = read.command.acting()?.clone();
        read.command = Command::EndSession { session: access.session, access };
        read.answer = Answer::Refused(404);
        Some(())
    });
}

#[test]
fn a_list_with_a_session_too_few_or_too_many_or_of_somebody_else() {
    let listed = |story: &mut Left| {
        let lists = |entry: &Entry| matches!(&entry.answer, Answer::Sessions(listed) if listed.len() > 1);
        entry(story, lists).map(|entry| entry.request)
    };
    finds("lists others than those alive", |story| {
        let request = listed(story)?;
        let last: Vec<SessionId> =
            story.truth.users.values().flat_map(|told| told.alive(told.commits.len())).collect();
        // What began only meanwhile need not be in the list.
        let lists = &story.history[request];
        let old = |entry: &&Entry| entry.precedes(lists);
        let old: BTreeSet<usize> = story.history.iter().filter(old).map(|entry| entry.request).collect();
        let is_old = |item: &Listed| item.request.is_some_and(|request| old.contains(&request));
        let Answer::Sessions(listed) = &mut story.history[request].answer else { return None };
        let before = listed.len();
        listed.retain(|item| !(last.contains(&item.session) && is_old(item)));
        (listed.len() < before).then_some(())
    });
    finds("lists others than those alive", |story| {
        let request = listed(story)?;
        let Answer::Sessions(listed) = &mut story.history[request].answer else { return None };
        listed.push(listed.first()?.clone());
        Some(())
    });
    finds("is not what began with", |story| {
        let request = listed(story)?;
        let Answer::Sessions(listed) = &mut story.history[request].answer else { return None };
        listed.first_mut()?.agent = Some("somebody else".to_owned());
        Some(())
    });
    finds("is not what began with", |story| {
        let request = listed(story)?;
        let Answer::Sessions(listed) = &mut story.history[request].answer else { return None };
        let item = listed.first_mut()?;
        item.current = !item.current;
        Some(())
    });
}
