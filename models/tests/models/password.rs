use models::password::{Guard, Invariant, Password, State};

use crate::exploring::{breaks, holds};

#[test]
fn a_change_of_password_beside_sign_ins_lets_in_who_should_be_and_nobody_else() {
    let states = holds("sign-ins", &Password::sign_ins(None), 500);
    assert!(states.iter().any(State::all_done), "one after another, all succeed");
    assert!(states.iter().any(State::new_password_is_used));
}

#[test]
fn a_change_of_password_ends_what_a_thief_has() {
    let states = holds("sessions", &Password::sessions(None), 500);
    assert!(states.iter().any(State::only_the_owner_is_left));
    assert!(states.iter().any(State::new_password_is_used));
}

#[test]
fn re_wrapping_beside_a_change_of_password_loses_neither() {
    let states = holds("keys", &Password::keys(None), 500);
    assert!(states.iter().any(State::rewrapped_and_changed));
    assert!(states.iter().any(State::all_done));
}

#[test]
fn no_guard_of_a_change_of_password_can_be_left_out() {
    let sign_ins = |guard| Password::sign_ins(Some(guard));
    let sessions = |guard| Password::sessions(Some(guard));
    let keys = |guard| Password::keys(Some(guard));
    for (model, guard, invariant) in [
        (sign_ins as fn(_) -> _, Guard::CredentialCompared, Invariant::OldPasswordBeginsNothing),
        (sign_ins, Guard::TailQueried, Invariant::RightPasswordIsNotRefused),
        (sign_ins, Guard::VerifiedAgain, Invariant::RightPasswordIsNotRefused),
        (sign_ins, Guard::VerifierInTheTransaction, Invariant::VerifierIsTheFolds),
        (sessions, Guard::ListFromTheFold, Invariant::EndedSessionsAreGone),
        (sessions, Guard::ActingSessionChecked, Invariant::RevokedSessionsChangeNothing),
        (sessions, Guard::RowsInTheTransaction, Invariant::EndedSessionsAreGone),
        (sessions, Guard::RefreshCondition, Invariant::EndedSessionsAreGone),
        (keys, Guard::AttributeByAttribute, Invariant::VerifierIsTheFolds),
        (keys, Guard::WrappedKeyCondition, Invariant::KeysDoNotGoBack),
        (keys, Guard::VerifierCondition, Invariant::VerifierIsTheFolds),
    ] {
        breaks(guard, &model(guard), invariant);
    }
}
