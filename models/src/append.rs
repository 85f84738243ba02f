//! Appending a commit at most once.
//!
//! A *handling* is one request of a client as one process works on it: it decides on what it has read of the log, sends
//! the commit, and may hear nothing. What it sent may then have arrived, may arrive later, beside its own second try, or
//! never. The process may die. The client may send the whole request again, which is another handling.
//!
//! Two cases, each with its own actors: [`Append::registrations`], a client that registers, sends the same again with the
//! same `Idempotency-Key`, and a rival for the same address; and [`Append::sign_ins`], two clients of one user who sign
//! in at once.
//!
//! | step | production code |
//! |---|---|
//! | begins, loads | `Loaded::unborn`, `Store::load`, `Store::freshen` |
//! | decides | `domain::decide`, `Store::try_once` |
//! | arrives | `Store::put_alone`, `Store::put_together` |
//! | reads its answer | `append::read`, `append::in_the_way` |
//! | settles | `Try::Unknown` in `Store::append`, `EventLog::stored_at` |
//!
//! The vault is left out: it goes with the first commit, on a condition that repeats the commit's.

use std::collections::{BTreeMap, BTreeSet};

use crate::explore::{Model, Step};

/// What each handling may lose: requests or answers.
const LOSSES: u8 = 2;
/// Processes that die.
const CRASHES: u8 = 1;

/// A rule of the production code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A commit is put on condition that nothing lies in its place.
    CommitCondition,
    /// An identifier is put on condition that nobody has the address.
    IdentifierCondition,
    /// After an unknown outcome the commit's place is read; only a failed condition leads to loading anew.
    SettleFirst,
    /// What stands in the way and bears our command id is ours: it is no conflict, and no address taken by another.
    OwnCommandRecognised,
    /// A commit of our command that is not ours octet for octet was made by an earlier handling: what *it* made stands.
    OctetsCompared,
    /// The command's id is made once, and not with each request that is sent for it.
    IdsMadeOnce,
    /// Command id and user id of a registration follow from its `Idempotency-Key`.
    IdempotencyKey,
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// What a client asked for once is in the log once.
    AtMostOnce,
    /// What was acknowledged is in the log, in the place that was named.
    AcknowledgedIsInTheLog,
    /// Who goes on with a commit that was acknowledged (its data key, its hash) goes on with the one that is stored.
    AcknowledgedIsWhatIsStored,
    /// Commit *n* is there only if commit *n* − 1 is. It follows from deciding on what was read, and from nothing being
    /// taken away: no guard of its own.
    Dense,
    /// An address belongs to one user.
    OneOwner,
    /// Nobody is refused because of what they did themselves.
    NotRefusedForItsOwn,
}

/// The model, with one guard off or none.
#[derive(Debug, Clone)]
pub struct Append {
    without: Option<Guard>,
    asked: Vec<Asked>,
}

/// What a handling is asked to do.
#[derive(Debug, Clone, Copy)]
struct Asked {
    name: &'static str,
    /// What the client wants, however often it says so.
    intent: u8,
    command: u8,
    user: u8,
    registers: bool,
    /// The client says the same again only after this handling has begun.
    after: Option<usize>,
}

/// Log, identifier, processes and network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    log: BTreeMap<(u8, u8), Commit>,
    /// Who has the address, by which command.
    identifier: Option<(u8, u8)>,
    handlings: Vec<Handling>,
    /// Requests that nobody waits for any more and that may still arrive.
    late: BTreeSet<Request>,
    crashes: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Commit {
    intent: u8,
    command: u8,
    /// Its octets: by which handling, with its data key, and which of its seals.
    octets: (usize, u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Request {
    user: u8,
    version: u8,
    commit: Commit,
    registers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Handling {
    phase: Phase,
    losses: u8,
    seals: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    NotBegun,
    /// About to read the log to its end.
    Behind,
    Sending(Request),
    Unknown(Request),
    Acknowledged {
        version: u8,
        /// What it takes for its commit from now on.
        octets: (usize, u8),
    },
    Refused,
    Dead,
}

enum Outcome {
    Appended,
    AppendedBefore,
    Conflict,
    Taken,
}

impl Append {
    /// A registration, the same again with the same key, and a rival for the address.
    pub fn registrations(without: Option<Guard>) -> Self {
        let first =
            Asked { name: "the registration", intent: 1, command: 1, user: 1, registers: true, after: None };
        let mut again = Asked { name: "the same registration again", after: Some(0), ..first };
        if without == Some(Guard::IdempotencyKey) {
            again = Asked { command: 2, user: 2, ..again };
        }
        let rival = Asked { name: "the rival's registration", intent: 3, command: 3, user: 3, ..first };
        Self { without, asked: vec![first, again, rival] }
    }

    /// Two sign-ins of one user.
    pub fn sign_ins(without: Option<Guard>) -> Self {
        let one = Asked { name: "a sign-in", intent: 1, command: 1, user: 1, registers: false, after: None };
        let other = Asked { name: "another sign-in", intent: 2, command: 2, ..one };
        Self { without, asked: vec![one, other] }
    }

    fn has(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }

    /// What a handling sends after it has read the log up to a version.
    fn decided(&self, index: usize, handling: &mut Handling, read: u8) -> Phase {
        let asked = self.asked[index];
        handling.seals += 1;
        let command =
            if self.has(Guard::IdsMadeOnce) { asked.command } else { asked.command + 10 * handling.seals };
        Phase::Sending(Request {
            user: asked.user,
            version: read + 1,
            commit: Commit { intent: asked.intent, command, octets: (index, handling.seals) },
            registers: asked.registers,
        })
    }

    /// What the database does with a request.
    fn arrive(&self, state: &mut State, request: &Request) -> Outcome {
        let Request { user, version, commit, registers } = *request;
        let found = state.log.get(&(user, version)).filter(|_| self.has(Guard::CommitCondition)).copied();
        let owner = state.identifier.filter(|_| registers && self.has(Guard::IdentifierCondition));
        if found.is_none() && owner.is_none() {
            state.log.insert((user, version), commit);
            if registers {
                state.identifier = Some((user, commit.command));
            }
            return Outcome::Appended;
        }
        if let Some(found) = found
            && let Some(outcome) = self.own(&found, &commit)
        {
            return outcome;
        }
        let own = owner.is_some_and(|(_, command)| command == commit.command);
        if own && self.has(Guard::OwnCommandRecognised) {
            return Outcome::AppendedBefore;
        }
        if found.is_some() { Outcome::Conflict } else { Outcome::Taken }
    }

    /// What a commit in the place of ours says, if it is of our command.
    fn own(&self, found: &Commit, ours: &Commit) -> Option<Outcome> {
        if found.command != ours.command || !self.has(Guard::OwnCommandRecognised) {
            return None;
        }
        let same = found.octets == ours.octets || !self.has(Guard::OctetsCompared);
        Some(if same { Outcome::Appended } else { Outcome::AppendedBefore })
    }

    /// What a handling makes of an outcome.
    fn next(state: &State, request: &Request, outcome: &Outcome) -> Phase {
        let version = request.version;
        match outcome {
            Outcome::Appended => Phase::Acknowledged { version, octets: request.commit.octets },
            Outcome::AppendedBefore => match state.log.get(&(request.user, version)) {
                Some(stored) => Phase::Acknowledged { version, octets: stored.octets },
                None => Phase::Dead,
            },
            Outcome::Conflict => Phase::Behind,
            Outcome::Taken => Phase::Refused,
        }
    }

    fn end(state: &State, user: u8) -> u8 {
        state.log.keys().filter(|(of, _)| *of == user).map(|(_, version)| *version).max().unwrap_or(0)
    }

    fn steps_of(&self, index: usize, state: &State, steps: &mut Vec<Step<State>>) {
        let asked = self.asked[index];
        let (name, handling) = (asked.name, state.handlings[index]);
        let mut step = |what: String, phase: Phase, mut to: State, handling: Handling| {
            to.handlings[index] = Handling { phase, ..handling };
            steps.push(Step::new(format!("{name}: {what}"), to));
        };
        match handling.phase {
            Phase::NotBegun => {
                let may = asked.after.is_none_or(|first| state.handlings[first].phase != Phase::NotBegun);
                // A view may be old; whoever registers takes the log for empty.
                let read = if asked.registers { 0..=0 } else { 1..=Self::end(state, asked.user) };
                for read in read.filter(|_| may) {
                    let mut handling = handling;
                    let phase = self.decided(index, &mut handling, read);
                    step(format!("begins, having read up to commit {read}"), phase, state.clone(), handling);
                }
            }
            Phase::Behind => {
                let end = Self::end(state, asked.user);
                if asked.registers && end > 0 {
                    step("finds the user registered already".into(), Phase::Refused, state.clone(), handling);
                } else {
                    let mut handling = handling;
                    let phase = self.decided(index, &mut handling, end);
                    step(format!("loads anew, up to commit {end}"), phase, state.clone(), handling);
                }
            }
            Phase::Sending(request) => {
                let version = request.version;
                let mut to = state.clone();
                let outcome = self.arrive(&mut to, &request);
                let phase = Self::next(&to, &request, &outcome);
                step(format!("commit {version} arrives and is answered"), phase, to.clone(), handling);
                let mut late = state.clone();
                late.late.insert(request);
                if handling.losses < LOSSES {
                    let handling = Handling { losses: handling.losses + 1, ..handling };
                    let unknown = Phase::Unknown(request);
                    step(format!("commit {version} arrives, its answer is lost"), unknown, to, handling);
                    step(
                        format!("commit {version} is on its way for too long"),
                        unknown,
                        late.clone(),
                        handling,
                    );
                }
                if state.crashes < CRASHES {
                    late.crashes += 1;
                    step(format!("dies with commit {version} on its way"), Phase::Dead, late, handling);
                }
            }
            Phase::Unknown(request) => {
                let mut handling = handling;
                let phase = match state.log.get(&(request.user, request.version)) {
                    _ if !self.has(Guard::SettleFirst) => Phase::Behind,
                    None if self.has(Guard::IdsMadeOnce) => Phase::Sending(request),
                    None => self.decided(index, &mut handling, request.version - 1),
                    Some(found) => {
                        let outcome = self.own(found, &request.commit).unwrap_or(Outcome::Conflict);
                        Self::next(state, &request, &outcome)
                    }
                };
                let what = if self.has(Guard::SettleFirst) {
                    format!("reads what lies in the place of commit {}", request.version)
                } else {
                    "loads anew without looking".to_owned()
                };
                step(what, phase, state.clone(), handling);
            }
            Phase::Acknowledged { .. } | Phase::Refused | Phase::Dead => {}
        }
    }
}

impl Model for Append {
    type State = State;
    type Invariant = Invariant;

    fn start(&self) -> State {
        let begin = Handling { phase: Phase::NotBegun, losses: 0, seals: 0 };
        let registered = Commit { intent: 0, command: 0, octets: (usize::MAX, 0) };
        let log = if self.asked.iter().any(|asked| asked.registers) {
            BTreeMap::new()
        } else {
            BTreeMap::from([((1, 1), registered)])
        };
        State {
            log,
            identifier: None,
            handlings: vec![begin; self.asked.len()],
            late: BTreeSet::new(),
            crashes: 0,
        }
    }

    fn steps(&self, state: &State) -> Vec<Step<State>> {
        let mut steps = Vec::new();
        for index in 0..self.asked.len() {
            self.steps_of(index, state, &mut steps);
        }
        for request in &state.late {
            let mut to = state.clone();
            to.late.remove(request);
            self.arrive(&mut to, request);
            let name = self.asked[request.commit.octets.0].name;
            steps.push(Step::new(format!("{name}: commit {} arrives late", request.version), to));
        }
        steps
    }

    fn broken(&self, state: &State) -> Option<Invariant> {
        let in_log = |intent: u8| state.log.values().filter(|commit| commit.intent == intent).count();
        for (asked, handling) in self.asked.iter().zip(&state.handlings) {
            if in_log(asked.intent) > 1 {
                return Some(Invariant::AtMostOnce);
            }
            match handling.phase {
                Phase::Acknowledged { version, octets } => match state.log.get(&(asked.user, version)) {
                    Some(stored) if stored.intent == asked.intent => {
                        if stored.octets != octets {
                            return Some(Invariant::AcknowledgedIsWhatIsStored);
                        }
                    }
                    _ => return Some(Invariant::AcknowledgedIsInTheLog),
                },
                Phase::Refused if in_log(asked.intent) > 0 => return Some(Invariant::NotRefusedForItsOwn),
                _ => {}
            }
        }
        let dense =
            |(user, version): &(u8, u8)| *version == 1 || state.log.contains_key(&(*user, *version - 1));
        if !state.log.keys().all(dense) {
            return Some(Invariant::Dense);
        }
        let registers = |commit: &Commit| self.asked.iter().any(|a| a.registers && a.intent == commit.intent);
        let owners = state.log.iter().filter(|((_, version), commit)| *version == 1 && registers(commit));
        (owners.count() > 1).then_some(Invariant::OneOwner)
    }
}

impl State {
    /// How many handlings were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.handlings.iter().filter(|one| matches!(one.phase, Phase::Acknowledged { .. })).count()
    }

    /// How many handlings were refused.
    pub fn refused(&self) -> usize {
        self.handlings.iter().filter(|one| one.phase == Phase::Refused).count()
    }

    /// Whether a process died.
    pub const fn crashed(&self) -> bool {
        self.crashes > 0
    }
}
