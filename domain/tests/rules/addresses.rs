//! What becomes of addresses: every branch of `decide` that is about them.

use chrono::TimeDelta;
use domain::{Command, Rejection, UNVERIFIED_KEPT_FOR, UserEvent};

use crate::fixture::{
    a_day_later, ada, augusta, change, change_requested, changed, confirm_change, credential, given, minute,
    noon, note_registration, password_changed, registered, registered_again, released, request_change,
    request_verification, session, sign_in, signed_in, signed_out, verification_requested, verified, verify,
    yield_address,
};

fn verified_only() -> Command {
    match sign_in(1) {
        Command::SignIn { email, credential, attempt, device, session, ends, .. } => {
            Command::SignIn { email, credential, attempt, device, session, ends, verified_only: true }
        }
        other => other,
    }
}

#[test]
fn where_verified_addresses_are_required_an_unverified_user_does_not_sign_in() {
    given([registered()]).when(&verified_only()).then_refused(Rejection::EmailNotVerified);
    given([registered(), verified()]).when(&verified_only()).then([signed_in(1)]);
    given([registered()]).when(&sign_in(1)).then([signed_in(1)]);
}

#[test]
fn a_wrong_credential_is_told_from_a_right_one_before_the_address_is_looked_at() {
    let changed = given([registered(), signed_in(1), password_changed(2, [])]);
    changed.when(&verified_only()).then_refused(Rejection::CredentialMismatch);
}

#[test]
fn whoever_is_unverified_gets_a_token_and_whoever_is_verified_gets_none() {
    given([registered()]).when(&request_verification()).then([verification_requested()]);
    given([registered(), verified()]).when(&request_verification()).then_nothing();
}

#[test]
fn a_token_is_good_until_a_whole_second_because_the_log_keeps_no_more() {
    let ends = a_day_later() + TimeDelta::milliseconds(999);
    let ask = Command::RequestEmailVerification { email: ada(), ends };
    given([registered()]).when(&ask).then([verification_requested()]);
    let ask = Command::RequestEmailChange { session: session(1), email: augusta(), ends };
    given([registered(), signed_in(1)]).when(&ask).then([change_requested()]);
}

#[test]
fn a_token_that_came_back_verifies_the_address_once() {
    given([registered()]).when(&verify(1)).then([verified()]);
    given([registered(), verified()]).when(&verify(1)).then_nothing();
}

#[test]
fn a_token_made_for_another_credential_or_another_address_verifies_nothing() {
    given([registered()]).when(&verify(2)).then_refused(Rejection::CredentialMismatch);
    let elsewhere = given([registered(), signed_in(1), change_requested(), changed()]);
    elsewhere.clone().when(&verify(1)).then_refused(Rejection::CredentialMismatch);
    elsewhere.when(&request_verification()).then_refused(Rejection::CredentialMismatch);
}

#[test]
fn another_address_is_asked_for_in_a_live_session() {
    let history = [registered(), signed_in(1)];
    given(history.clone()).when(&request_change(augusta())).then([change_requested()]);
    let ended = given(history.into_iter().chain([signed_out(1)]));
    ended.when(&request_change(augusta())).then_refused(Rejection::SessionEnded);
}

#[test]
fn to_ask_for_the_address_one_has_is_to_ask_for_nothing() {
    given([registered(), signed_in(1)]).when(&request_change(ada())).then_nothing();
}

#[test]
fn another_address_is_taken_when_its_token_comes_back_and_only_once() {
    let history = [registered(), signed_in(1), change_requested()];
    given(history.clone()).when(&confirm_change()).then([changed()]);
    given(history.into_iter().chain([changed()])).when(&confirm_change()).then_nothing();
}

#[test]
fn a_change_that_was_never_asked_for_or_not_any_more_does_not_come_about() {
    let asked_again = UserEvent::UserRequestedEmailChange {
        email: augusta(),
        from: ada(),
        credential: credential(1),
        ends: a_day_later() + TimeDelta::seconds(1),
    };
    let back = UserEvent::UserRequestedEmailChange {
        email: ada(),
        from: augusta(),
        credential: credential(1),
        ends: a_day_later(),
    };
    let history = [registered(), signed_in(1), change_requested()];
    for since in
        [vec![password_changed(2, [])], vec![asked_again], vec![changed(), back], vec![released([1])]]
    {
        let given = given(history.clone().into_iter().chain(since));
        given.when(&confirm_change()).then_refused(Rejection::CredentialMismatch);
    }
    given([registered()]).when(&confirm_change()).then_refused(Rejection::CredentialMismatch);
}

#[test]
fn a_token_for_another_credential_changes_no_address() {
    let confirm = Command::ConfirmEmailChange { change: change(), credential: credential(2) };
    let waiting = given([registered(), signed_in(1), change_requested()]);
    waiting.when(&confirm).then_refused(Rejection::CredentialMismatch);
}

#[test]
fn a_changed_address_signs_in_and_the_one_before_does_not() {
    let moved = given([registered(), signed_in(1), change_requested(), changed()]);
    moved.clone().when(&sign_in(2)).then_refused(Rejection::CredentialMismatch);
    let Command::SignIn { credential, attempt, device, session, ends, verified_only, .. } = sign_in(2) else {
        panic!("not a sign-in")
    };
    let command =
        Command::SignIn { email: augusta(), credential, attempt, device, session, ends, verified_only };
    moved.when(&command).then([signed_in(2)]);
}

#[test]
fn whose_address_somebody_registers_is_told() {
    given([registered()]).when(&note_registration()).then([registered_again()]);
    given([registered(), verified()]).when(&note_registration()).then([registered_again()]);
    let moved = given([registered(), signed_in(1), change_requested(), changed()]);
    moved.when(&note_registration()).then_refused(Rejection::CredentialMismatch);
}

#[test]
fn an_unverified_address_is_yielded_a_day_after_its_registration_with_every_session() {
    let history = [registered(), signed_in(1), signed_in(2)];
    let a_day = noon() + UNVERIFIED_KEPT_FOR;
    given(history.clone()).at(a_day).when(&yield_address()).then([released([1, 2])]);
    let just_before = a_day - TimeDelta::milliseconds(1);
    given(history).at(just_before).when(&yield_address()).then_refused(Rejection::AddressKept);
}

#[test]
fn a_verified_address_is_never_yielded() {
    let long_after = minute(60 * 24 * 365);
    for history in [
        vec![registered(), verified()],
        vec![registered(), signed_in(1), change_requested(), changed()],
        vec![registered(), released([])],
    ] {
        given(history).at(long_after).when(&yield_address()).then_refused(Rejection::AddressKept);
    }
}

#[test]
fn whose_address_was_released_does_not_sign_in_verify_or_change() {
    let gone = given([registered(), signed_in(1), change_requested(), released([1])]);
    for command in [sign_in(2), request_verification(), verify(1), confirm_change(), note_registration()] {
        gone.clone().when(&command).then_refused(Rejection::CredentialMismatch);
    }
    gone.when(&request_change(augusta())).then_refused(Rejection::SessionEnded);
}
