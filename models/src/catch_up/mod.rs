//! Several projectors and a rebuild write the view of one user.
//!
//! Folding is modelled by what was folded and by whom: a document is the list of fold numbers of the code that folded
//! commit 1, commit 2 and so on. Right is a document whose every entry is the view's own fold number. Two cases:
//! [`CatchUp::one_fold`], two projectors of fold number 1 and a rebuild of fold number 2; and [`CatchUp::roll_out`], a
//! projector of fold number 1, one of 2 and a rebuild of 2, where commit 2 is of a schema that the older code cannot
//! read. The first read of a view is eventually consistent: it may yield what stood there before the last write.
//!
//! | step | production code |
//! |---|---|
//! | takes a record, reads the view | `handler::handle`, `Views::read_all` |
//! | queries the log, folds | `ReadModel::try_once`, `EventLog::advance` |
//! | puts | `Views::put`, `Views::put_after` with `Replacing::Older` or `OlderOrEqual` |
//! | parks | `ReadModel::park`, `Views::park` |
//! | scans | `Replay::over_log`, then `ReadModel::settle` |
//! | dies | a function that is ended between two requests: its record comes again |
//!
//! What an older projector leaves to a view of a higher fold number is shown with the user's next commit, or by the newer
//! code's `repair`: the model asserts nothing of such a view but that it is right as far as it goes.

mod steps;

use crate::explore::{Model, Step};

/// Commits in the log at the end.
const COMMITS: u8 = 2;
/// Records a projector takes: one more than there are commits, so that some come twice.
const TAKES: u8 = 2;
/// Workers that die.
const CRASHES: u8 = 1;
/// In a roll-out, code of fold number 1 cannot read this commit.
const NEWER: u8 = 2;

/// A rule of the production code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A document replaces one of its own fold number only if that is of a lower version.
    VersionCondition,
    /// A document replaces one of a lower fold number only if that is of no higher version.
    LowerFoldVersionCondition,
    /// A document never replaces one of a higher fold number.
    FoldCondition,
    /// A view of another fold number is no snapshot: its user is folded from the first commit.
    RefoldFromTheFirst,
    /// A mark is put on condition that the view is of the version that was read.
    ParkCondition,
    /// A document takes a mark away only if whoever puts it has read that mark, and the log after it: a count of the
    /// marks goes with the view.
    MarkRead,
    /// The log is queried consistently.
    ConsistentQuery,
    /// Who loses to another write reads again, consistently.
    LoserReadsAgain,
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// A view is what code of its fold number makes of the commits up to its version.
    IsTheFold,
    /// Among views of one fold number the version never decreases.
    VersionNeverDecreases,
    /// A view of a higher fold number is never overwritten by one of a lower.
    HigherFoldStays,
    /// When every record has been handled, the view shows the whole log.
    DrainedShowsAll,
    /// A view is marked as parked only where it stops before the commit that somebody cannot read.
    MarkedWhereItStops,
    /// A rebuild that is done leaves a view of its own fold number.
    RebuiltIsOfItsFold,
}

/// The model, with one guard off or none.
#[derive(Debug, Clone)]
pub struct CatchUp {
    without: Option<Guard>,
    workers: [(&'static str, u8, Task); 3],
    /// Whether commit 2 is of a schema that only code of fold number 2 can read.
    newer_schema: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Project,
    Rebuild,
}

/// The log's length, the view, and where each worker stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    log: u8,
    view: Option<View>,
    /// What an eventually consistent read may still see.
    before: Option<View>,
    workers: [Worker; 3],
    /// The records that have been handled, by commit.
    handled: [bool; COMMITS as usize],
    /// Whether a record was left to code of a higher fold number.
    left: bool,
    crashes: u8,
    /// The highest version seen of each fold number, and the highest fold number.
    highest: [u8; 3],
    highest_fold: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct View {
    fold: u8,
    /// By whose code each commit was folded. Its length is the version.
    document: Vec<u8>,
    parked: bool,
    /// How often the user has been parked.
    marks: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Worker {
    phase: Phase,
    takes: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// Has read the view, because of the record of this commit; a rebuild, because it lost.
    Read {
        record: u8,
        view: Option<View>,
    },
    /// Has folded the log.
    Folded {
        record: u8,
        document: Vec<u8>,
        or_equal: bool,
        marks: u8,
    },
    /// Has met a commit that it cannot read, with the view at this version.
    Parking {
        record: u8,
        seen: u8,
    },
    Done,
}

impl View {
    fn version(&self) -> u8 {
        u8::try_from(self.document.len()).unwrap_or(u8::MAX)
    }
}

impl CatchUp {
    /// Two projectors of one fold number, and a rebuild of a higher one.
    pub const fn one_fold(without: Option<Guard>) -> Self {
        let workers = [
            ("a projector", 1, Task::Project),
            ("another projector", 1, Task::Project),
            ("a rebuild of fold 2", 2, Task::Rebuild),
        ];
        Self { without, workers, newer_schema: false }
    }

    /// An older and a newer projector, and a rebuild with the newer code, which alone can read commit 2.
    pub const fn roll_out(without: Option<Guard>) -> Self {
        let workers = [
            ("the older projector", 1, Task::Project),
            ("the newer projector", 2, Task::Project),
            ("a rebuild of fold 2", 2, Task::Rebuild),
        ];
        Self { without, workers, newer_schema: true }
    }

    fn has(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }
}

impl State {
    fn replace(&mut self, view: View) {
        self.before = self.view.replace(view);
    }

    fn finish(&mut self, index: usize, task: Task, record: u8) {
        match task {
            Task::Rebuild => self.workers[index].phase = Phase::Done,
            Task::Project => {
                self.workers[index].phase = Phase::Idle;
                self.handled[usize::from(record) - 1] = true;
            }
        }
    }

    /// Whether every commit is appended, every record handled, and nobody at work.
    pub fn is_drained(&self) -> bool {
        self.log == COMMITS
            && self.handled == [true; COMMITS as usize]
            && self.workers.iter().all(|worker| matches!(worker.phase, Phase::Idle | Phase::Done))
    }

    /// Whether the view is of this fold number and shows the whole log.
    pub fn shows_all(&self, fold: u8) -> bool {
        self.view.as_ref().is_some_and(|view| view.fold == fold && view.version() == self.log && !view.parked)
    }

    /// Whether the user is parked.
    pub fn is_parked(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.parked)
    }
}

impl Model for CatchUp {
    type State = State;
    type Invariant = Invariant;

    fn start(&self) -> State {
        let idle = || Worker { phase: Phase::Idle, takes: 0 };
        State {
            log: 0,
            view: None,
            before: None,
            workers: [idle(), idle(), idle()],
            handled: [false; COMMITS as usize],
            left: false,
            crashes: 0,
            highest: [0; 3],
            highest_fold: 0,
        }
    }

    fn steps(&self, state: &State) -> Vec<Step<State>> {
        let mut steps = Vec::new();
        if state.log < COMMITS {
            let mut to = state.clone();
            to.log += 1;
            steps.push(Step::new(format!("commit {} is appended", to.log), to));
        }
        for index in 0..self.workers.len() {
            self.steps_of(index, state, &mut steps);
        }
        // What has ever stood there, for the invariants.
        for Step { to, .. } in &mut steps {
            if let Some(view) = &to.view {
                let highest = &mut to.highest[usize::from(view.fold)];
                *highest = (*highest).max(view.version());
                to.highest_fold = to.highest_fold.max(view.fold);
            }
        }
        steps
    }

    fn broken(&self, state: &State) -> Option<Invariant> {
        let version = state.view.as_ref().map_or(0, View::version);
        if let Some(view) = &state.view {
            if view.document.iter().any(|fold| *fold != view.fold) {
                return Some(Invariant::IsTheFold);
            }
            if view.fold < state.highest_fold {
                return Some(Invariant::HigherFoldStays);
            }
            if version < state.highest[usize::from(view.fold)] {
                return Some(Invariant::VersionNeverDecreases);
            }
            if view.parked && (!self.newer_schema || version >= NEWER) {
                return Some(Invariant::MarkedWhereItStops);
            }
        }
        if state.is_drained() && !state.left && version < state.log && !state.is_parked() {
            return Some(Invariant::DrainedShowsAll);
        }
        let rebuilt = self.workers.iter().zip(&state.workers).any(|((_, fold, task), worker)| {
            *task == Task::Rebuild
                && worker.phase == Phase::Done
                && state.view.as_ref().is_none_or(|view| view.fold != *fold)
        });
        rebuilt.then_some(Invariant::RebuiltIsOfItsFold)
    }
}
