use models::catch_up::{CatchUp, Guard, Invariant};

use crate::exploring::{breaks, holds};

#[test]
fn two_projectors_and_a_rebuild_of_a_higher_fold_number_leave_a_right_view() {
    let states = holds("one fold", &CatchUp::one_fold(None), 1_000);
    assert!(states.iter().any(|state| state.is_drained() && state.shows_all(1)), "without the rebuild");
    assert!(states.iter().any(|state| state.is_drained() && state.shows_all(2)), "with it");
}

#[test]
fn older_and_newer_projectors_together_leave_a_right_view() {
    let states = holds("roll-out", &CatchUp::roll_out(None), 1_000);
    assert!(states.iter().any(|state| state.is_drained() && state.shows_all(2)));
    assert!(states.iter().any(|state| state.is_drained() && state.is_parked()), "only older code came by");
}

#[test]
fn no_guard_of_catching_up_can_be_left_out() {
    let one_fold = |guard| CatchUp::one_fold(Some(guard));
    let roll_out = |guard| CatchUp::roll_out(Some(guard));
    for (model, guard, invariant) in [
        (one_fold as fn(_) -> _, Guard::VersionCondition, Invariant::VersionNeverDecreases),
        (one_fold, Guard::LowerFoldVersionCondition, Invariant::DrainedShowsAll),
        (one_fold, Guard::FoldCondition, Invariant::HigherFoldStays),
        (one_fold, Guard::ConsistentQuery, Invariant::DrainedShowsAll),
        (one_fold, Guard::LoserReadsAgain, Invariant::RebuiltIsOfItsFold),
        (roll_out, Guard::RefoldFromTheFirst, Invariant::IsTheFold),
        (roll_out, Guard::ParkCondition, Invariant::MarkedWhereItStops),
        (roll_out, Guard::MarkRead, Invariant::DrainedShowsAll),
    ] {
        breaks(guard, &model(guard), invariant);
    }
}
