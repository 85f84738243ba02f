//! A password changes while others sign in, refresh, end sessions and re-wrap keys.
//!
//! The product signs in, refreshes and signs out by these rules; changing the password, the better hash at a good
//! sign-in and re-wrapping are to be built by them. A user has two sessions, 0 and 1, and one credential. Three cases:
//!
//! - [`Password::sign_ins`]: one client signs in with the old password, one with the new, while the owner changes it in
//!   session 0 and a good sign-in replaces the verifier by a better hash of the same password.
//! - [`Password::sessions`]: the owner changes it in session 0 while a thief in session 1 refreshes, ends all other
//!   sessions, and signs in with the old password.
//! - [`Password::keys`]: it changes while two runs re-wrap the data key and seal the verifier anew, under service keys 1
//!   and 2, and somebody signs in.
//!
//! | step | production code |
//! |---|---|
//! | loads, checks the password | `Store::load` (view and vault), `Candidate::satisfied_by` |
//! | is appended | `Store::execute`, `Context::companions` |
//! | reads the tail | `Store::freshen` |
//! | checks the password once more | the loop of `routes::login` |
//! | refreshes | `Sessions::rotate` |
//! | re-wraps, seals anew | an update of one attribute of the vault |

mod steps;

use std::collections::BTreeSet;

use crate::explore::{Model, Step};

/// Processes that die.
const CRASHES: u8 = 1;

/// A rule of the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A command that rests on a verified password carries the credential id, and `decide` compares it with the fold.
    CredentialCompared,
    /// On a mismatch the tail of the log is queried first: the fold may come from an old view.
    TailQueried,
    /// On a mismatch with the whole log the vault is read and the password verified again, once.
    VerifiedAgain,
    /// Whoever ends sessions takes their list from the fold on which the command is decided.
    ListFromTheFold,
    /// A signed-in user's command holds only if the acting session is alive, in the same transaction.
    ActingSessionChecked,
    /// The verifier is replaced in the transaction of the event that says so.
    VerifierInTheTransaction,
    /// The rows of ended sessions are deleted in the transaction of the event that says so.
    RowsInTheTransaction,
    /// A refresh updates a row that is there, and makes none.
    RefreshCondition,
    /// The vault's attributes are updated one by one, never as a whole item.
    AttributeByAttribute,
    /// The wrapped data key is replaced on condition of the value read.
    WrappedKeyCondition,
    /// The verifier, sealed anew, is replaced on condition of the value read.
    VerifierCondition,
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// Every sign-in in the log was made with the password of its moment.
    OldPasswordBeginsNothing,
    /// Only sessions that the log says are alive have a row.
    EndedSessionsAreGone,
    /// Whatever a session did, it did while the log said it was alive.
    RevokedSessionsChangeNothing,
    /// The verifier in the vault is that of the fold's credential, and of its password.
    VerifierIsTheFolds,
    /// Neither wrapping nor seal goes back behind one that was acknowledged: the old service key is destroyed then.
    KeysDoNotGoBack,
    /// A password that was right all the time is not refused.
    RightPasswordIsNotRefused,
}

/// The model, with one guard off or none.
#[derive(Debug, Clone)]
pub struct Password {
    without: Option<Guard>,
    actors: Vec<Actor>,
}

/// A password; who changes it makes the new one of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Secret {
    Old,
    New,
}

/// Somebody who does one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actor {
    SignIn {
        password: Secret,
        session: u8,
    },
    /// In session 0, ending all others.
    Change,
    /// A better hash of the password that is right: another credential, and no session ends.
    Rehash,
    EndOthers {
        acting: u8,
    },
    Refresh {
        session: u8,
    },
    Rewrap {
        key: u8,
    },
}

/// Log, vault, rows of sessions, and where each actor stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    log: Vec<Event>,
    vault: Vault,
    rows: BTreeSet<u8>,
    phases: Vec<Phase>,
    /// Which of the sign-ins under way had the right password all the time.
    right: Vec<bool>,
    /// The service keys under which re-wrapping has acknowledged data key and verifier to be.
    acknowledged: (u8, u8),
    crashes: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Event {
    SignedIn { session: u8, password: Secret },
    CredentialChanged { credential: u8, password: Secret, by: Option<u8>, ended: Vec<u8> },
    OthersEnded { by: u8, ended: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Vault {
    /// The wrapped data key: under which service key.
    wrapped: u8,
    verifier: Verifier,
}

/// The verifier: of which credential and password, sealed under which service key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Verifier {
    credential: u8,
    password: Secret,
    sealed: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// Has loaded the log up to `read`, and verified the password, if the command rests on one.
    Loaded(Loaded),
    /// Its commit is appended; the vault or the rows are still to come.
    Appended {
        vault: Option<Vault>,
        ended: Vec<u8>,
    },
    /// Has read the vault.
    Wrapping(Vault),
    Sealing(Vault),
    Done,
    Refused,
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Loaded {
    read: usize,
    /// Whether that is the end of the log, and not a view's.
    fresh: bool,
    vault: Vault,
    verified: u8,
    again: bool,
    /// The live sessions as they were first read.
    first_read: Vec<u8>,
}

/// What the log up to some commit adds up to.
struct User {
    credential: u8,
    password: Secret,
    sessions: Vec<u8>,
}

fn fold(log: &[Event]) -> User {
    let mut user = User { credential: 0, password: Secret::Old, sessions: vec![0, 1] };
    for event in log {
        match event {
            Event::SignedIn { session, .. } => user.sessions.push(*session),
            Event::CredentialChanged { credential, password, ended, .. } => {
                (user.credential, user.password) = (*credential, *password);
                user.sessions.retain(|session| !ended.contains(session));
            }
            Event::OthersEnded { ended, .. } => user.sessions.retain(|session| !ended.contains(session)),
        }
    }
    user
}

impl Actor {
    fn name(self) -> String {
        match self {
            Self::SignIn { password: Secret::Old, .. } => "the old password's sign-in".into(),
            Self::SignIn { password: Secret::New, .. } => "the new password's sign-in".into(),
            Self::Change => "the change".into(),
            Self::Rehash => "the better hash".into(),
            Self::EndOthers { acting } => format!("session {acting}'s end of all others"),
            Self::Refresh { session } => format!("session {session}'s refresh"),
            Self::Rewrap { key } => format!("the re-wrapping under key {key}"),
        }
    }

    /// The password that its command rests on; `None` if it rests on none.
    const fn password(self) -> Option<Secret> {
        match self {
            Self::SignIn { password, .. } => Some(password),
            Self::Change | Self::Rehash => Some(Secret::Old),
            Self::EndOthers { .. } | Self::Refresh { .. } | Self::Rewrap { .. } => None,
        }
    }

    /// The session in which it acts.
    const fn acting(self) -> Option<u8> {
        match self {
            Self::Change => Some(0),
            Self::EndOthers { acting } => Some(acting),
            Self::SignIn { .. } | Self::Rehash | Self::Refresh { .. } | Self::Rewrap { .. } => None,
        }
    }
}

impl Password {
    /// Signing in with the old password and the new one, beside a change and a better hash.
    pub fn sign_ins(without: Option<Guard>) -> Self {
        let actors = vec![
            Actor::SignIn { password: Secret::Old, session: 2 },
            Actor::SignIn { password: Secret::New, session: 3 },
            Actor::Change,
            Actor::Rehash,
        ];
        Self { without, actors }
    }

    /// A thief's session and the old password, beside a change.
    pub fn sessions(without: Option<Guard>) -> Self {
        let actors = vec![
            Actor::SignIn { password: Secret::Old, session: 2 },
            Actor::SignIn { password: Secret::New, session: 3 },
            Actor::Change,
            Actor::EndOthers { acting: 1 },
            Actor::Refresh { session: 1 },
        ];
        Self { without, actors }
    }

    /// Two runs that re-wrap, beside a change.
    pub fn keys(without: Option<Guard>) -> Self {
        let actors = vec![
            Actor::Change,
            Actor::Rewrap { key: 1 },
            Actor::Rewrap { key: 2 },
            Actor::SignIn { password: Secret::New, session: 2 },
        ];
        Self { without, actors }
    }

    fn has(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }
}

impl Model for Password {
    type State = State;
    type Invariant = Invariant;

    fn start(&self) -> State {
        let verifier = Verifier { credential: 0, password: Secret::Old, sealed: 0 };
        State {
            log: Vec::new(),
            vault: Vault { wrapped: 0, verifier },
            rows: BTreeSet::from([0, 1]),
            phases: vec![Phase::Idle; self.actors.len()],
            right: vec![false; self.actors.len()],
            acknowledged: (0, 0),
            crashes: 0,
        }
    }

    fn steps(&self, state: &State) -> Vec<Step<State>> {
        let mut steps = Vec::new();
        for (index, (actor, phase)) in self.actors.iter().zip(&state.phases).enumerate() {
            let name = actor.name();
            match (phase, actor) {
                (Phase::Idle, _) => self.begin(index, state, &mut steps),
                (Phase::Loaded(loaded), _) => steps.push(self.decide(index, state, loaded)),
                (Phase::Appended { vault, ended }, _) => {
                    let mut to = state.clone();
                    to.vault = vault.unwrap_or(to.vault);
                    to.rows.retain(|row| !ended.contains(row));
                    to.phases[index] = Phase::Done;
                    steps.push(Step::new(format!("{name} writes the rest"), to));
                }
                (Phase::Wrapping(read) | Phase::Sealing(read), Actor::Rewrap { key }) => {
                    steps.push(self.rewrap(index, state, *read, *key));
                }
                _ => {}
            }
            if !matches!(phase, Phase::Idle | Phase::Done | Phase::Refused | Phase::Dead)
                && state.crashes < CRASHES
            {
                let mut to = state.clone();
                to.crashes += 1;
                to.phases[index] = Phase::Dead;
                steps.push(Step::new(format!("{name} dies"), to));
            }
        }
        steps
    }

    fn broken(&self, state: &State) -> Option<Invariant> {
        for (place, event) in state.log.iter().enumerate() {
            let before = fold(&state.log[..place]);
            let acts = |by: &u8| before.sessions.contains(by);
            match event {
                Event::SignedIn { password, .. } if *password != before.password => {
                    return Some(Invariant::OldPasswordBeginsNothing);
                }
                Event::CredentialChanged { by: Some(by), .. } | Event::OthersEnded { by, .. }
                    if !acts(by) =>
                {
                    return Some(Invariant::RevokedSessionsChangeNothing);
                }
                _ => {}
            }
            if let Event::CredentialChanged { by: Some(by), .. } = event
                && fold(&state.log[..=place]).sessions.iter().any(|session| session != by)
            {
                return Some(Invariant::EndedSessionsAreGone);
            }
        }
        let user = fold(&state.log);
        if state.rows.iter().any(|row| !user.sessions.contains(row)) {
            return Some(Invariant::EndedSessionsAreGone);
        }
        let Verifier { credential, password, sealed } = state.vault.verifier;
        if (credential, password) != (user.credential, user.password) {
            return Some(Invariant::VerifierIsTheFolds);
        }
        if state.vault.wrapped < state.acknowledged.0 || sealed < state.acknowledged.1 {
            return Some(Invariant::KeysDoNotGoBack);
        }
        let refused = state.phases.iter().zip(&state.right).zip(&self.actors);
        let wrongly = refused.into_iter().any(|((phase, right), actor)| {
            *right && *phase == Phase::Refused && matches!(actor, Actor::SignIn { .. })
        });
        wrongly.then_some(Invariant::RightPasswordIsNotRefused)
    }
}

impl State {
    /// Whether all actors have done what they wanted.
    pub fn all_done(&self) -> bool {
        self.phases.iter().all(|phase| *phase == Phase::Done)
    }

    /// Whether the password has been changed, and a session begun with the new one.
    pub fn new_password_is_used(&self) -> bool {
        let begun = |event: &Event| matches!(event, Event::SignedIn { password: Secret::New, .. });
        self.log.iter().any(begun)
    }

    /// Whether everybody has done or been refused what they wanted, and only session 0 is left.
    pub fn only_the_owner_is_left(&self) -> bool {
        let over = |phase: &Phase| matches!(phase, Phase::Done | Phase::Refused);
        self.phases.iter().all(over) && self.rows == BTreeSet::from([0])
    }

    /// Whether data key and verifier are both under the last service key, and the password is the new one.
    pub fn rewrapped_and_changed(&self) -> bool {
        let Verifier { password, sealed, .. } = self.vault.verifier;
        (self.vault.wrapped, sealed, password) == (2, 2, Secret::New)
    }
}
