//! What each worker does next.

use std::cmp::Ordering;

use super::{CRASHES, CatchUp, Guard, NEWER, Phase, State, TAKES, Task, View, Worker};
use crate::explore::Step;

impl CatchUp {
    const fn can_read(&self, commit: u8, fold: u8) -> bool {
        !self.newer_schema || commit != NEWER || fold > 1
    }

    /// The condition under which a document of this fold number and version may be put.
    fn may_replace(&self, found: Option<&View>, put: &View, or_equal: bool) -> bool {
        let View { fold, marks, .. } = *put;
        let version = put.version();
        let Some(found) = found else { return true };
        let older = found.version() < version || (or_equal && found.version() == version);
        if found.marks != marks && self.has(Guard::MarkRead) {
            return false;
        }
        match found.fold.cmp(&fold) {
            Ordering::Equal => older || !self.has(Guard::VersionCondition),
            Ordering::Less => found.version() <= version || !self.has(Guard::LowerFoldVersionCondition),
            Ordering::Greater => older && !self.has(Guard::FoldCondition),
        }
    }

    /// What a worker makes of a view that it has read and of the log up to `end`.
    fn fold(&self, index: usize, record: u8, view: Option<&View>, end: u8) -> Result<Phase, Kept> {
        let (_, fold, task) = self.workers[index];
        let (seen, usable) = view.map_or((0, None), |view| {
            let usable = view.fold == fold || !self.has(Guard::RefoldFromTheFirst);
            (view.version(), usable.then_some(view).filter(|_| task == Task::Project))
        });
        if view.is_some_and(|view| view.fold > fold) {
            return Err(Kept::OfHigherFold);
        }
        let mut document = usable.map(|view| view.document.clone()).unwrap_or_default();
        let folded = u8::try_from(document.len()).unwrap_or(u8::MAX);
        if (folded + 1..=end).any(|commit| !self.can_read(commit, fold)) {
            return Ok(Phase::Parking { record, seen });
        }
        let (parked, marks) = view.map_or((false, 0), |view| (view.parked, view.marks));
        if seen > end || (usable.is_some() && end <= folded && !parked) {
            return Err(Kept::AsItIs);
        }
        document.resize(usize::from(end), fold);
        Ok(Phase::Folded {
            record,
            document,
            or_equal: task == Task::Rebuild || (parked && usable.is_some()),
            marks,
        })
    }

    pub(super) fn steps_of(&self, index: usize, state: &State, steps: &mut Vec<Step<State>>) {
        let (name, fold, task) = self.workers[index];
        let worker = &state.workers[index];
        let mut step = |what: String, to: State| steps.push(Step::new(format!("{name} {what}"), to));
        match &worker.phase {
            Phase::Idle if task == Task::Rebuild => {
                let mut to = state.clone();
                to.workers[index].phase = Phase::Folded {
                    record: 0,
                    document: vec![fold; usize::from(state.log)],
                    or_equal: true,
                    marks: 0,
                };
                if state.log > 0 {
                    step(format!("scans the log up to commit {}", state.log), to);
                }
            }
            Phase::Idle => {
                let mut seen = vec![state.view.clone()];
                if state.before != state.view {
                    seen.push(state.before.clone());
                }
                for record in (1..=state.log).filter(|_| worker.takes < TAKES) {
                    for view in &seen {
                        let mut to = state.clone();
                        let takes = worker.takes + 1;
                        let what =
                            format!("takes the record of commit {record} and reads {}", shown(view.as_ref()));
                        to.workers[index] =
                            Worker { phase: Phase::Read { record, view: view.clone() }, takes };
                        step(what, to);
                    }
                }
            }
            Phase::Read { record, view } => {
                let least = if self.has(Guard::ConsistentQuery) { state.log } else { state.log - 1 };
                for end in least..=state.log {
                    let mut to = state.clone();
                    let what = match self.fold(index, *record, view.as_ref(), end) {
                        Ok(phase) => {
                            to.workers[index].phase = phase;
                            format!("folds the log up to commit {end}")
                        }
                        Err(kept) => {
                            to.left |= kept == Kept::OfHigherFold;
                            to.finish(index, task, *record);
                            format!("leaves the view, seeing the log up to commit {end}")
                        }
                    };
                    step(what, to);
                }
            }
            Phase::Folded { record, document, or_equal, marks } => {
                let put = View { fold, document: document.clone(), parked: false, marks: *marks };
                let mut to = state.clone();
                let may = self.may_replace(state.view.as_ref(), &put, *or_equal);
                let what = format!("puts {}", shown(Some(&put)));
                self.written(index, &mut to, *record, may.then_some(put));
                step(if may { what } else { format!("{what}, and loses") }, to);
            }
            Phase::Parking { record, seen } => {
                let mut to = state.clone();
                let found = state.view.as_ref();
                let may = found.is_none_or(|view| view.version() == *seen) || !self.has(Guard::ParkCondition);
                let unmarked = View { fold, document: Vec::new(), parked: false, marks: 0 };
                let found = found.cloned().unwrap_or(unmarked);
                let marked = View { parked: true, marks: found.marks + 1, ..found };
                self.written(index, &mut to, *record, may.then_some(marked));
                step(if may { "parks the user".into() } else { "would park the user, and loses".into() }, to);
            }
            Phase::Done => {}
        }
        if !matches!(worker.phase, Phase::Idle | Phase::Done) && state.crashes < CRASHES {
            let mut to = state.clone();
            to.crashes += 1;
            // What it took comes again.
            to.workers[index] = Worker { phase: Phase::Idle, takes: worker.takes.saturating_sub(1) };
            step("dies".into(), to);
        }
    }

    /// What a worker does after a write that may have failed its condition.
    fn written(&self, index: usize, to: &mut State, record: u8, put: Option<View>) {
        let task = self.workers[index].2;
        if let Some(view) = put {
            to.replace(view);
        } else if self.has(Guard::LoserReadsAgain) {
            to.workers[index].phase = Phase::Read { record, view: to.view.clone() };
            return;
        }
        to.finish(index, task, record);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    AsItIs,
    OfHigherFold,
}

fn shown(view: Option<&View>) -> String {
    view.map_or("no view".to_owned(), |view| {
        let marked = if view.parked { ", parked" } else { "" };
        format!("the view of fold {}, version {}{marked}", view.fold, view.version())
    })
}
