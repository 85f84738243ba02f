use std::fmt::Debug;

use models::{Model, explore};

/// Explores a model with every guard on: asserts that nothing is wrong and that there is something to explore.
#[track_caller]
pub(crate) fn holds<M: Model>(name: &str, model: &M, least: usize) -> Vec<M::State> {
    let explored = explore(model);
    if let Some(violation) = explored.violation {
        panic!("{name}, every guard on:\n{violation}");
    }
    println!("{name}: {} states, every invariant holds", explored.states.len());
    assert!(explored.states.len() >= least, "{} states", explored.states.len());
    explored.states
}

/// Explores a model with a guard off: asserts what is wrong then, and shows how it comes about.
#[track_caller]
pub(crate) fn breaks<M: Model>(guard: impl Debug, model: &M, invariant: M::Invariant) {
    let explored = explore(model);
    let violation = explored.violation.unwrap_or_else(|| panic!("without {guard:?} nothing is wrong"));
    println!("without {guard:?}:\n{violation}\n");
    assert_eq!(violation.invariant, invariant, "without {guard:?}:\n{violation}");
}
