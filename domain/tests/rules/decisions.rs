//! Every branch of `decide`.

use chrono::TimeDelta;
use domain::{Command, Email, MAX_SESSIONS, MOST_FAILURES, Rejection, UserEvent, VerifiedPassword, Version};

use crate::fixture::{
    a_month_later, ada, augusta, change_password, changed, confirm_change, credential, device, disable,
    disabled, end_others, end_reused, end_session, ended_others, ended_session, given, minute,
    note_registration, password, password_changed, password_reset, register, registered, rename, renamed,
    request_change, request_reset, request_verification, reset_password, reset_requested, reused, session,
    sign_in, sign_out, signed_in, signed_in_until, signed_out, verify, yield_address,
};

/// Ada with as many sessions as she may have: numbers 1 to 50.
fn with_all_her_sessions() -> Vec<UserEvent> {
    std::iter::once(registered()).chain((1..=50).map(signed_in)).collect()
}

/// The sign-in that [`sign_in`] of this number leads to, with those who made room for it.
fn signed_in_instead_of(
    number: u32,
    evicted: Option<u128>,
    lapsed: impl IntoIterator<Item = u128>,
) -> UserEvent {
    UserEvent::UserSignedIn {
        session: session(number.into()),
        ends: a_month_later(),
        password: password(number.into()),
        evicted: evicted.map(session),
        lapsed: lapsed.into_iter().map(session).collect(),
    }
}

#[test]
fn an_unknown_user_can_register() {
    given([]).when(&register()).then([registered()]);
}

#[test]
fn a_user_can_register_without_a_name() {
    given([])
        .when(&Command::Register { email: ada(), name: None, credential: credential(1) })
        .then([UserEvent::UserRegistered { email: ada(), name: None, credential: credential(1) }]);
}

#[test]
fn a_user_registers_once() {
    given([registered()]).when(&register()).then_refused(Rejection::AlreadyRegistered);
}

#[test]
fn who_is_not_registered_can_only_register() {
    for command in [
        sign_in(1),
        rename(None, None),
        change_password(1, 2),
        request_reset(ada()),
        reset_password(1, 2, 0),
        disable(100),
        sign_out(1),
        end_session(1, 2),
        end_others(1),
        end_reused(1),
        request_verification(),
        verify(1),
        request_change(ada()),
        confirm_change(),
        note_registration(),
        yield_address(),
    ] {
        given([]).when(&command).then_refused(Rejection::NotRegistered);
    }
}

#[test]
fn a_verified_password_begins_a_session() {
    given([registered()]).when(&sign_in(3)).then([signed_in_instead_of(3, None, [])]);
}

#[test]
fn a_stale_credential_signs_nobody_in() {
    let command = Command::SignIn {
        email: ada(),
        credential: credential(2),
        attempt: 1,
        device: None,
        session: session(1),
        ends: a_month_later(),
        verified_only: false,
    };
    given([registered()]).when(&command).then_refused(Rejection::CredentialMismatch);
}

#[test]
fn another_address_signs_nobody_in() {
    let command = Command::SignIn {
        email: Email::parse("augusta@example.com").unwrap(),
        credential: credential(1),
        attempt: 1,
        device: None,
        session: session(1),
        ends: a_month_later(),
        verified_only: false,
    };
    given([registered()]).when(&command).then_refused(Rejection::CredentialMismatch);
}

#[test]
fn a_session_ends_on_a_whole_second_because_the_log_keeps_no_more() {
    let command = Command::SignIn {
        email: ada(),
        credential: credential(1),
        attempt: 1,
        device: None,
        session: session(1),
        ends: a_month_later() + TimeDelta::milliseconds(999),
        verified_only: false,
    };
    given([registered()]).when(&command).then([signed_in_instead_of(1, None, [])]);
}

#[test]
fn with_one_session_less_than_the_most_nobody_gives_way() {
    let mut history = with_all_her_sessions();
    history.pop();
    given(history).when(&sign_in(50)).then([signed_in_instead_of(50, None, [])]);
}

#[test]
fn with_fifty_sessions_the_oldest_gives_way() {
    assert_eq!(MAX_SESSIONS, 50);
    given(with_all_her_sessions()).when(&sign_in(51)).then([signed_in_instead_of(51, Some(1), [])]);
}

#[test]
fn the_oldest_is_the_one_that_began_first_not_the_one_that_ends_first() {
    let mut history = with_all_her_sessions();
    history[1] = signed_in_until(1, a_month_later() + TimeDelta::days(1));
    given(history).when(&sign_in(51)).then([signed_in_instead_of(51, Some(1), [])]);
}

#[test]
fn a_session_that_was_ended_makes_room_for_another() {
    let history = with_all_her_sessions().into_iter().chain([signed_out(7)]);
    given(history).when(&sign_in(51)).then([signed_in_instead_of(51, None, [])]);
}

#[test]
fn lapsed_sessions_are_forgotten_and_do_not_count() {
    let mut history = with_all_her_sessions();
    history[2] = signed_in_until(2, minute(100));
    history[9] = signed_in_until(9, minute(110));
    given(history).at(minute(120)).when(&sign_in(51)).then([signed_in_instead_of(51, None, [2, 9])]);
}

#[test]
fn a_session_has_lapsed_at_the_very_moment_it_ends() {
    let history = || [registered(), signed_in(1)];
    let ends = a_month_later();
    given(history()).at(ends).when(&sign_in(2)).then([signed_in_instead_of(2, None, [1])]);
    given(history()).at(ends - TimeDelta::milliseconds(1)).when(&sign_in(2)).then([signed_in_instead_of(
        2,
        None,
        [],
    )]);
}

#[test]
fn signing_out_ends_the_session() {
    given([registered(), signed_in(1), signed_in(2)]).when(&sign_out(1)).then([signed_out(1)]);
}

#[test]
fn a_lapsed_session_can_still_be_ended() {
    let history = || [registered(), signed_in(1)];
    let later = a_month_later() + TimeDelta::days(1);
    given(history()).at(later).when(&sign_out(1)).then([signed_out(1)]);
    given(history()).at(later).when(&end_reused(1)).then([reused(1)]);
}

#[test]
fn signing_out_of_an_unknown_session_is_nothing() {
    given([registered(), signed_in(1)]).when(&sign_out(2)).then_nothing();
}

#[test]
fn signing_out_twice_says_the_same_thing_once() {
    given([registered(), signed_in(1), signed_out(1)]).when(&sign_out(1)).then_nothing();
}

#[test]
fn a_spent_token_that_comes_back_ends_its_session() {
    given([registered(), signed_in(1), signed_in(2)]).when(&end_reused(2)).then([reused(2)]);
}

#[test]
fn a_spent_token_of_a_session_that_is_over_ends_nothing() {
    given([registered(), signed_in(1)]).when(&end_reused(2)).then_nothing();
    given([registered(), signed_in(1), reused(1)]).when(&end_reused(1)).then_nothing();
    given([registered(), signed_in(1), signed_out(1)]).when(&end_reused(1)).then_nothing();
}

#[test]
fn a_user_can_take_another_name_and_give_it_up() {
    given([registered(), signed_in(1)]).when(&rename(Some("Augusta"), None)).then([renamed(Some("Augusta"))]);
    given([registered(), signed_in(1)]).when(&rename(None, None)).then([renamed(None)]);
    given([registered(), signed_in(1), renamed(None)])
        .when(&rename(Some("Ada"), None))
        .then([renamed(Some("Ada"))]);
}

#[test]
fn who_has_the_name_already_needs_no_other_whatever_the_version() {
    given([registered(), signed_in(1)]).when(&rename(Some("Ada"), None)).then_nothing();
    given([registered(), signed_in(1)]).when(&rename(Some("Ada"), Some(&[7]))).then_nothing();
    given([registered(), signed_in(1), renamed(None)]).when(&rename(None, Some(&[]))).then_nothing();
}

#[test]
fn a_profile_is_changed_only_if_it_is_of_a_version_that_may_be_changed() {
    let history = || given([registered(), renamed(Some("Augusta")), signed_in(1)]);
    for versions in [&[2][..], &[1, 2]] {
        history().when(&rename(None, Some(versions))).then([renamed(None)]);
    }
    for versions in [&[][..], &[1], &[3], &[1, 3]] {
        history().when(&rename(None, Some(versions))).then_refused(Rejection::ProfileChanged);
    }
}

#[test]
fn a_session_that_is_over_renames_nobody() {
    for over in [vec![], vec![signed_in(2)], vec![signed_in(1), signed_out(1)]] {
        let history = || given([registered()].into_iter().chain(over.clone()));
        for name in [Some("Augusta"), Some("Ada"), None] {
            history().when(&rename(name, None)).then_refused(Rejection::SessionEnded);
        }
        history().when(&rename(None, Some(&[7]))).then_refused(Rejection::SessionEnded);
    }
}

#[test]
fn a_change_of_password_ends_every_session_but_the_one_in_which_it_is_asked_for() {
    let history = || given([registered(), signed_in(1), signed_in(2), signed_in(3), signed_out(3)]);
    history().when(&change_password(2, 9)).then([password_changed(9, [1])]);
    given([registered(), signed_in(1)]).when(&change_password(1, 9)).then([password_changed(9, [])]);
    let others = (1..=50).filter(|number| *number != 7);
    given(with_all_her_sessions()).when(&change_password(7, 9)).then([password_changed(9, others)]);
    // A session past its end is nobody's any more, but its row may lie there still.
    let lapsed = given([registered(), signed_in_until(1, minute(3)), signed_in(2)]).at(minute(9));
    lapsed.when(&change_password(2, 9)).then([password_changed(9, [1])]);
}

#[test]
fn who_verified_another_password_than_the_users_changes_none() {
    let changed = || given([registered(), signed_in(1), password_changed(2, [])]);
    changed().when(&change_password(1, 3)).then_refused(Rejection::CredentialMismatch);
    // Not even to what it is already, which somebody else may have set.
    changed().when(&change_password(1, 2)).then_refused(Rejection::CredentialMismatch);
}

#[test]
fn a_session_that_has_ended_changes_no_password() {
    let ended = Rejection::SessionEnded;
    given([registered()]).when(&change_password(1, 2)).then_refused(ended);
    given([registered(), signed_in(1), signed_out(1)]).when(&change_password(1, 2)).then_refused(ended);
    given([registered(), signed_in(1), reused(1)]).when(&change_password(1, 2)).then_refused(ended);
    let changed = given([registered(), signed_in(1), signed_in(2), password_changed(2, [1])]);
    changed.when(&change_password(1, 3)).then_refused(ended);
}

#[test]
fn the_old_password_signs_nobody_in_once_it_was_changed() {
    let changed = || given([registered(), signed_in(1), password_changed(2, [])]);
    changed().when(&sign_in(3)).then_refused(Rejection::CredentialMismatch);
    let with_the_new = Command::SignIn {
        email: ada(),
        credential: credential(2),
        attempt: 3,
        device: None,
        session: session(3),
        ends: a_month_later(),
        verified_only: false,
    };
    changed().when(&with_the_new).then([UserEvent::UserSignedIn {
        session: session(3),
        ends: a_month_later(),
        password: VerifiedPassword { credential: credential(2), attempt: 3, device: None },
        evicted: None,
        lapsed: vec![],
    }]);
}

#[test]
fn a_mail_for_a_reset_goes_to_the_users_address_and_to_no_other() {
    given([registered()]).when(&request_reset(ada())).then([reset_requested()]);
    let other = Email::parse("eve@example.com").unwrap();
    given([registered()]).when(&request_reset(other)).then_refused(Rejection::CredentialMismatch);
    // The log keeps whole seconds.
    let with_millis =
        Command::RequestPasswordReset { email: ada(), ends: a_month_later() + TimeDelta::milliseconds(9) };
    given([registered()]).when(&with_millis).then([reset_requested()]);
    // Also where the password is disabled.
    given([registered(), disabled(100)]).when(&request_reset(ada())).then([reset_requested()]);
}

#[test]
fn a_reset_ends_every_session() {
    let history = given([registered(), signed_in(1), signed_in(2), signed_out(1)]);
    history.when(&reset_password(1, 9, 5)).then([password_reset(9, 5, [2])]);
    given(with_all_her_sessions()).when(&reset_password(1, 9, 50)).then([password_reset(9, 50, 1..=50)]);
    given([registered()]).when(&reset_password(1, 9, 0)).then([password_reset(9, 0, [])]);
}

#[test]
fn a_reset_replaces_the_password_for_which_its_token_was_made_and_no_other() {
    let mismatch = Rejection::CredentialMismatch;
    given([registered(), password_reset(2, 0, [])]).when(&reset_password(1, 3, 0)).then_refused(mismatch);
    let replaced = given([registered(), signed_in(1), password_changed(2, [])]);
    replaced.when(&reset_password(1, 3, 0)).then_refused(mismatch);
    let elsewhere = Command::ResetPassword {
        email: Email::parse("eve@example.com").unwrap(),
        since: None,
        replacing: credential(1),
        credential: credential(2),
        base: 0,
    };
    given([registered()]).when(&elsewhere).then_refused(mismatch);
    // Who comes back to an address has it anew.
    let back = UserEvent::UserEmailChanged { from: augusta(), to: ada() };
    let returned = [registered(), changed(), back];
    given(returned.clone()).when(&reset_password(1, 2, 0)).then_refused(mismatch);
    let Command::ResetPassword { email, replacing, credential, base, .. } = reset_password(1, 2, 0) else {
        panic!("a reset")
    };
    let since = Some(Version::new(3));
    let anew = Command::ResetPassword { email, since, replacing, credential, base };
    given(returned).when(&anew).then([password_reset(2, 0, [])]);
}

#[test]
fn with_the_hundredth_failure_in_a_row_the_password_is_disabled_once() {
    assert_eq!(MOST_FAILURES, 100);
    given([registered()]).when(&disable(99)).then_nothing();
    given([registered()]).when(&disable(100)).then([disabled(100)]);
    given([registered(), disabled(100)]).when(&disable(100)).then_nothing();
    // Since the last success, or the last reset.
    given([registered(), signed_in(7)]).when(&disable(106)).then_nothing();
    given([registered(), signed_in(7)]).when(&disable(107)).then([disabled(107)]);
    given([registered(), signed_in(7)]).when(&disable(3)).then_nothing();
    given([registered(), disabled(100), password_reset(2, 100, [])]).when(&disable(100)).then_nothing();
    given([registered(), disabled(100), password_reset(2, 100, [])])
        .when(&disable(200))
        .then([disabled(200)]);
}

#[test]
fn a_disabled_password_signs_nobody_in_and_changes_to_no_other() {
    let history = || given([registered(), signed_in(1), disabled(101)]);
    history().when(&sign_in(102)).then_refused(Rejection::PasswordDisabled);
    history().when(&change_password(1, 102)).then_refused(Rejection::PasswordDisabled);
    // What lives goes on, and what needs no password can be done.
    history().when(&rename(None, None)).then([renamed(None)]);
    history().when(&sign_out(1)).then([signed_out(1)]);
    history().when(&reset_password(1, 2, 101)).then([password_reset(2, 101, [1])]);
}

#[test]
fn a_session_ends_another_one_and_all_others() {
    let history = || given([registered(), signed_in(1), signed_in(2), signed_in(3)]);
    history().when(&end_session(2, 3)).then([ended_session(3)]);
    history().when(&end_others(2)).then([ended_others([1, 3])]);
    let others = (1..=50).filter(|number| *number != 7);
    given(with_all_her_sessions()).when(&end_others(7)).then([ended_others(others)]);
}

#[test]
fn where_there_is_no_such_session_nothing_ends() {
    let history = || given([registered(), signed_in(1), signed_in(2), signed_out(2)]);
    history().when(&end_session(1, 2)).then_nothing();
    history().when(&end_session(1, 9)).then_nothing();
    // Ending itself is signing out.
    history().when(&end_session(1, 1)).then_nothing();
    history().when(&end_others(1)).then_nothing();
}

#[test]
fn a_session_that_has_ended_ends_no_other() {
    let history = || given([registered(), signed_in(1), signed_in(2), signed_out(1)]);
    history().when(&end_session(1, 2)).then_refused(Rejection::SessionEnded);
    history().when(&end_others(1)).then_refused(Rejection::SessionEnded);
}

#[test]
fn a_sign_in_records_the_device_at_which_its_attempt_was_counted() {
    let Command::SignIn { email, credential, attempt, session, ends, verified_only, .. } = sign_in(5) else {
        panic!("not a sign-in")
    };
    let device = Some(device(1));
    let command = Command::SignIn { email, credential, attempt, device, session, ends, verified_only };
    given([registered(), signed_in(1)]).when(&command).then([UserEvent::UserSignedIn {
        session,
        ends,
        password: VerifiedPassword { device, ..password(5) },
        evicted: None,
        lapsed: vec![],
    }]);
}
