//! Breadth-first exploration: every state that can be reached, or the shortest way to one that is wrong.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::hash::Hash;

/// A state machine of several actors that take their steps in any order.
pub trait Model {
    /// Everything that tells one moment from another.
    type State: Clone + Eq + Hash;
    /// What must hold in every state.
    type Invariant: Copy + Debug + PartialEq;

    /// The state before anybody has done anything.
    fn start(&self) -> Self::State;

    /// What can happen next. No step is a state in which nothing will ever happen again.
    fn steps(&self, state: &Self::State) -> Vec<Step<Self::State>>;

    /// An invariant that does not hold in this state, if there is one.
    fn broken(&self, state: &Self::State) -> Option<Self::Invariant>;
}

/// Something that can happen.
#[derive(Debug, Clone)]
pub struct Step<S> {
    /// Who does what, in a few words.
    pub what: String,
    /// What it leads to.
    pub to: S,
}

impl<S> Step<S> {
    /// A step with its description.
    pub fn new(what: impl Into<String>, to: S) -> Self {
        Self { what: what.into(), to }
    }
}

/// What an exploration found.
#[derive(Debug, Clone)]
pub struct Explored<S, I> {
    /// Every state reached; up to the first that is wrong, if there is one.
    pub states: Vec<S>,
    /// The shortest way to a state that is wrong.
    pub violation: Option<Violation<I>>,
}

/// A way to a state in which an invariant does not hold.
#[derive(Debug, Clone)]
pub struct Violation<I> {
    /// What does not hold.
    pub invariant: I,
    /// What happened, from the start.
    pub trace: Vec<String>,
}

impl<I: Debug> fmt::Display for Violation<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, what) in self.trace.iter().enumerate() {
            writeln!(f, "  {}. {what}", index + 1)?;
        }
        write!(f, "  => {:?} does not hold", self.invariant)
    }
}

/// Visits every state that the model can reach, nearest first, and stops at the first that is wrong.
pub fn explore<M: Model>(model: &M) -> Explored<M::State, M::Invariant> {
    let mut states = vec![model.start()];
    let mut places = HashMap::from([(model.start(), 0)]);
    // How each state was reached first: from which one, and by what.
    let mut ways: Vec<Option<(usize, String)>> = vec![None];
    let mut place = 0;
    while let Some(state) = states.get(place).cloned() {
        if let Some(invariant) = model.broken(&state) {
            let violation = Some(Violation { invariant, trace: trace(&ways, place) });
            return Explored { states, violation };
        }
        for Step { what, to } in model.steps(&state) {
            if !places.contains_key(&to) {
                places.insert(to.clone(), states.len());
                states.push(to);
                ways.push(Some((place, what)));
            }
        }
        place += 1;
    }
    Explored { states, violation: None }
}

fn trace(ways: &[Option<(usize, String)>], mut place: usize) -> Vec<String> {
    let mut trace = Vec::new();
    while let Some(Some((from, what))) = ways.get(place) {
        trace.push(what.clone());
        place = *from;
    }
    trace.reverse();
    trace
}
