use models::append::{Append, Guard, Invariant};

use crate::exploring::{breaks, holds};

#[test]
fn a_registration_takes_effect_once_however_often_it_is_sent_and_whoever_competes() {
    let states = holds("registrations", &Append::registrations(None), 1_000);
    assert!(
        states.iter().any(|state| state.acknowledged() == 2 && state.refused() == 1),
        "both tries succeed"
    );
    assert!(
        states.iter().any(|state| state.acknowledged() == 1 && state.refused() == 2),
        "the rival succeeds"
    );
    assert!(states.iter().any(|state| state.acknowledged() == 1 && state.crashed()), "after a crash, too");
}

#[test]
fn two_commands_at_once_are_both_appended() {
    let states = holds("sign-ins", &Append::sign_ins(None), 500);
    assert!(states.iter().any(|state| state.acknowledged() == 2));
}

#[test]
fn no_guard_of_an_append_can_be_left_out() {
    let sign_ins = |guard| Append::sign_ins(Some(guard));
    let registrations = |guard| Append::registrations(Some(guard));
    for (model, guard, invariant) in [
        (sign_ins as fn(_) -> _, Guard::CommitCondition, Invariant::AcknowledgedIsInTheLog),
        (sign_ins, Guard::SettleFirst, Invariant::AtMostOnce),
        (sign_ins, Guard::OwnCommandRecognised, Invariant::AtMostOnce),
        (sign_ins, Guard::IdsMadeOnce, Invariant::AtMostOnce),
        (registrations, Guard::OwnCommandRecognised, Invariant::NotRefusedForItsOwn),
        (registrations, Guard::OctetsCompared, Invariant::AcknowledgedIsWhatIsStored),
        (registrations, Guard::IdentifierCondition, Invariant::OneOwner),
        (registrations, Guard::IdempotencyKey, Invariant::NotRefusedForItsOwn),
    ] {
        breaks(guard, &model(guard), invariant);
    }
}
