//! Every branch of `evolve`.

use domain::{Account, DisplayName, LiveSession, User, UserEvent, VerifiedPassword, Version};

use crate::fixture::{
    Given, a_month_later, ada, augusta, change, change_requested, changed, credential, device, disabled,
    ended_others, ended_session, given, minute, noon, password, password_changed, password_reset, registered,
    registered_again, released, renamed, reset_requested, reused, session, signed_in, signed_out,
    verification_requested, verified,
};

#[track_caller]
fn account(given: Given) -> Account {
    match given.user {
        User::Registered(account) => account,
        User::Unregistered => panic!("not registered"),
    }
}

#[test]
fn a_registered_user_has_what_was_registered() {
    let expected = Account {
        email: Some(ada()),
        email_verified: false,
        email_change: None,
        email_since: None,
        name: Some(DisplayName::parse("Ada").unwrap()),
        credential: credential(1),
        sessions: vec![],
        last_success: 0,
        password_disabled: false,
        created_at: noon(),
        updated_at: noon(),
        profile_version: Version::new(1),
    };
    assert_eq!(account(given([registered()])), expected);
}

#[test]
fn a_sign_in_adds_its_session_as_the_youngest() {
    let account = account(given([registered(), signed_in(2), signed_in(1)]));
    let live = |number| LiveSession { id: session(number), ends: a_month_later() };
    assert_eq!(account.sessions, [live(2), live(1)]);
}

#[test]
fn a_sign_in_removes_who_gave_way_and_who_lapsed() {
    let sign_in = UserEvent::UserSignedIn {
        session: session(9),
        ends: a_month_later(),
        password: password(9),
        evicted: Some(session(1)),
        lapsed: vec![session(2), session(4)],
    };
    let history = std::iter::once(registered()).chain((1..=5).map(signed_in)).chain([sign_in]);
    assert_eq!(given(history).sessions(), [session(3), session(5), session(9)]);
}

#[test]
fn an_attempt_that_overtook_another_in_the_log_is_not_taken_back() {
    assert_eq!(account(given([registered(), signed_in(7), signed_in(6)])).last_success, 7);
}

#[test]
fn a_success_that_was_counted_at_a_device_leaves_the_users_own_count() {
    let at_a_device = UserEvent::UserSignedIn {
        session: session(9),
        ends: a_month_later(),
        password: VerifiedPassword { device: Some(device(1)), ..password(99) },
        evicted: None,
        lapsed: vec![],
    };
    let account = account(given([registered(), signed_in(7), at_a_device]));
    assert_eq!((account.last_success, account.sessions.len()), (7, 2));
}

#[test]
fn a_new_name_changes_the_profile_and_nothing_else() {
    let before = account(given([registered(), signed_in(1)]));
    let after = account(given([registered(), signed_in(1), renamed(Some("Augusta"))]));
    let name = Some(DisplayName::parse("Augusta").unwrap());
    let expected = Account { name, updated_at: minute(2), profile_version: Version::new(3), ..before };
    assert_eq!(after, expected);
    assert_eq!(account(given([registered(), renamed(None)])).name, None);
}

#[test]
fn a_new_password_leaves_its_verifier_and_the_sessions_that_were_not_ended_and_changes_no_profile() {
    let history = [registered(), signed_in(1), signed_in(2), signed_in(3)];
    let before = account(given(history.clone()));
    let after = account(given(history.into_iter().chain([password_changed(9, [1, 3])])));
    let sessions = vec![LiveSession { id: session(2), ends: a_month_later() }];
    assert_eq!(after, Account { credential: credential(9), sessions, last_success: 9, ..before });
    // Its attempt overtaken by a sign-in's.
    let overtaken = given([registered(), signed_in(12), password_changed(9, [])]);
    assert_eq!(account(overtaken).last_success, 12);
}

#[test]
fn a_request_for_a_reset_changes_nothing() {
    let before = given([registered(), signed_in(1), disabled(101)]);
    let after = given([registered(), signed_in(1), disabled(101), reset_requested()]);
    assert_eq!(before.user, after.user);
}

#[test]
fn a_reset_ends_the_sessions_named_and_what_failed_before_and_verifies_the_address_once() {
    let history = [registered(), signed_in(1), signed_in(2), disabled(102)];
    let before = account(given(history.clone()));
    let after = account(given(history.into_iter().chain([password_reset(9, 102, [1, 2])])));
    let expected = Account {
        credential: credential(9),
        sessions: vec![],
        last_success: 102,
        password_disabled: false,
        email_verified: true,
        updated_at: minute(4),
        profile_version: Version::new(5),
        ..before
    };
    assert_eq!(after, expected);
    // Nothing of the profile changes a second time, and a base that was overtaken is not taken back.
    let again = account(given([registered(), password_reset(2, 7, []), password_reset(3, 6, [])]));
    assert_eq!((again.last_success, again.profile_version), (7, Version::new(2)));
}

#[test]
fn a_disabled_password_leaves_everything_else_as_it_is() {
    let before = account(given([registered(), signed_in(1)]));
    let after = account(given([registered(), signed_in(1), disabled(101)]));
    assert_eq!(after, Account { password_disabled: true, ..before });
}

#[test]
fn what_happens_to_sessions_changes_no_profile() {
    let account = account(given([registered(), signed_in(1), signed_in(2), signed_out(1), reused(2)]));
    assert_eq!((account.updated_at, account.profile_version), (noon(), Version::new(1)));
}

#[test]
fn a_session_ends_by_signing_out_or_by_the_reuse_of_its_token() {
    let history = || [registered(), signed_in(1), signed_in(2), signed_in(3)];
    assert_eq!(given(history().into_iter().chain([signed_out(2)])).sessions(), [session(1), session(3)]);
    assert_eq!(given(history().into_iter().chain([reused(2)])).sessions(), [session(1), session(3)]);
    assert_eq!(given(history().into_iter().chain([ended_session(2)])).sessions(), [session(1), session(3)]);
    assert_eq!(given(history().into_iter().chain([ended_others([1, 3])])).sessions(), [session(2)]);
}

#[test]
fn an_event_that_does_not_fit_changes_nothing() {
    for event in [
        signed_in(1),
        renamed(None),
        password_changed(2, [1]),
        reset_requested(),
        password_reset(2, 0, [1]),
        disabled(100),
        signed_out(1),
        ended_session(1),
        ended_others([1]),
        reused(1),
        verification_requested(),
        verified(),
        change_requested(),
        changed(),
        registered_again(),
        released([1]),
    ] {
        assert_eq!(User::Unregistered.evolve(&event, noon(), Version::new(1)), User::Unregistered);
    }
    let ada = given([registered(), signed_in(1)]).user;
    let again = UserEvent::UserRegistered { email: augusta(), name: None, credential: credential(2) };
    for event in [
        again,
        signed_out(2),
        ended_session(2),
        ended_others([2]),
        reused(2),
        verification_requested(),
        registered_again(),
        UserEvent::UserVerifiedEmail { email: augusta() },
        UserEvent::UserEmailChanged { from: augusta(), to: augusta() },
        UserEvent::UserAddressReleased { email: augusta(), ended: vec![session(1)] },
    ] {
        assert_eq!(ada.clone().evolve(&event, minute(5), Version::new(3)), ada);
    }
}

#[test]
fn a_verified_address_changes_the_profile_and_nothing_else() {
    let before = account(given([registered(), signed_in(1)]));
    let after = account(given([registered(), signed_in(1), verified()]));
    let profile_version = Version::new(3);
    assert_eq!(after, Account { email_verified: true, updated_at: minute(2), profile_version, ..before });
}

#[test]
fn a_change_of_address_waits_for_its_token_and_then_is_verified_and_leaves_every_session() {
    let history = [registered(), signed_in(1), change_requested()];
    let before = account(given([registered(), signed_in(1)]));
    let email_change = Some(change());
    let waiting = account(given(history.clone()));
    assert_eq!(waiting, Account { email_change, ..before });
    let after = account(given(history.into_iter().chain([changed()])));
    let (updated_at, profile_version) = (minute(3), Version::new(4));
    let (email, email_since) = (Some(augusta()), Some(profile_version));
    let expected =
        Account { email, email_since, email_verified: true, updated_at, profile_version, ..waiting };
    assert_eq!(after, expected);
}

#[test]
fn another_password_forgets_the_change_of_address_that_was_asked_for() {
    let after = account(given([registered(), signed_in(1), change_requested(), password_changed(5, [])]));
    assert_eq!(after.email_change, None);
}

#[test]
fn a_released_address_leaves_nothing_to_sign_in_with() {
    let history = [registered(), signed_in(1), signed_in(2), change_requested()];
    let before = account(given(history.clone()));
    let after = account(given(history.into_iter().chain([released([1, 2])])));
    let (updated_at, profile_version) = (minute(4), Version::new(5));
    let expected =
        Account { email: None, email_change: None, sessions: vec![], updated_at, profile_version, ..before };
    assert_eq!(after, expected);
}

#[test]
fn a_time_before_the_last_one_is_taken_as_it_is() {
    let earlier = minute(-60);
    let user = User::Unregistered.evolve(&registered(), earlier, Version::new(1));
    assert_eq!(user.account().map(|account| account.created_at), Some(earlier));
}
