//! What each actor does next.

use super::{Actor, Event, Guard, Loaded, Password, Phase, Secret, State, User, Vault, Verifier, fold};
use crate::explore::Step;

impl Password {
    pub(super) fn begin(&self, index: usize, state: &State, steps: &mut Vec<Step<State>>) {
        let actor = self.actors[index];
        let name = actor.name();
        match actor {
            Actor::Refresh { session } => {
                let mut to = state.clone();
                let found = state.rows.contains(&session) || !self.has(Guard::RefreshCondition);
                to.phases[index] = if found { Phase::Done } else { Phase::Refused };
                if found {
                    to.rows.insert(session);
                }
                steps.push(Step::new(format!("{name} updates its row"), to));
            }
            Actor::Rewrap { .. } => {
                let mut to = state.clone();
                to.phases[index] = Phase::Wrapping(state.vault);
                steps.push(Step::new(format!("{name} reads the vault"), to));
            }
            Actor::SignIn { .. } | Actor::Change | Actor::Rehash | Actor::EndOthers { .. } => {
                // The view may be as old as it likes.
                for read in 0..=state.log.len() {
                    let mut to = state.clone();
                    let verifies = actor.password().is_none_or(|it| it == state.vault.verifier.password);
                    let alive = actor.acting().is_none_or(|session| state.rows.contains(&session));
                    to.phases[index] = if verifies && alive {
                        Phase::Loaded(Loaded {
                            read,
                            fresh: false,
                            vault: state.vault,
                            verified: state.vault.verifier.credential,
                            again: false,
                            first_read: fold(&state.log[..read]).sessions,
                        })
                    } else {
                        Phase::Refused
                    };
                    let now = fold(&state.log).password;
                    to.right[index] = actor.password() == Some(now);
                    let what = if verifies && alive { "may go on" } else { "is refused" };
                    steps.push(Step::new(
                        format!("{name} loads the user as of commit {read}, and {what}"),
                        to,
                    ));
                }
            }
        }
    }

    /// Decides on what was read, and sends the transaction.
    pub(super) fn decide(&self, index: usize, state: &State, loaded: &Loaded) -> Step<State> {
        let actor = self.actors[index];
        let name = actor.name();
        let user = fold(&state.log[..loaded.read]);
        let mismatch = actor.password().is_some() && user.credential != loaded.verified;
        let mut to = state.clone();
        if mismatch && self.has(Guard::CredentialCompared) {
            if !loaded.fresh && self.has(Guard::TailQueried) {
                return self.freshened(index, to, loaded, "finds another credential in the view");
            }
            let verifier = state.vault.verifier;
            if !loaded.again && self.has(Guard::VerifiedAgain) && actor.password() == Some(verifier.password)
            {
                let again = Loaded {
                    verified: verifier.credential,
                    vault: state.vault,
                    again: true,
                    ..loaded.clone()
                };
                to.phases[index] = Phase::Loaded(again);
                return Step::new(format!("{name} finds another credential, and verifies its password"), to);
            }
            to.phases[index] = Phase::Refused;
            return Step::new(format!("{name} finds another credential, and is refused"), to);
        }
        if loaded.read < state.log.len() {
            return self.freshened(index, to, loaded, "meets another commit");
        }
        let acting = actor.acting();
        if acting.is_some_and(|session| !state.rows.contains(&session))
            && self.has(Guard::ActingSessionChecked)
        {
            to.phases[index] = Phase::Refused;
            return Step::new(format!("{name} finds its session ended"), to);
        }
        self.append(index, &mut to, loaded, &user);
        Step::new(format!("{name} is appended as commit {}", to.log.len()), to)
    }

    fn freshened(&self, index: usize, mut to: State, loaded: &Loaded, why: &str) -> Step<State> {
        let fresh = Loaded { read: to.log.len(), fresh: true, vault: to.vault, ..loaded.clone() };
        to.phases[index] = Phase::Loaded(fresh);
        Step::new(format!("{} {why}, and reads the tail", self.actors[index].name()), to)
    }

    fn append(&self, index: usize, to: &mut State, loaded: &Loaded, user: &User) {
        let actor = self.actors[index];
        let listed = if self.has(Guard::ListFromTheFold) { &user.sessions } else { &loaded.first_read };
        let others = |acting: u8| listed.iter().copied().filter(|it| *it != acting).collect::<Vec<_>>();
        let (event, ended, change) = match actor {
            Actor::SignIn { password, session } => {
                to.rows.insert(session);
                (Event::SignedIn { session, password }, Vec::new(), None)
            }
            Actor::EndOthers { acting } => {
                let ended = others(acting);
                (Event::OthersEnded { by: acting, ended: ended.clone() }, ended, None)
            }
            Actor::Change | Actor::Rehash | Actor::Refresh { .. } | Actor::Rewrap { .. } => {
                let password = if actor == Actor::Change { Secret::New } else { Secret::Old };
                let ended = actor.acting().map(others).unwrap_or_default();
                let credential = u8::try_from(index).unwrap_or(u8::MAX) + 10;
                let by = actor.acting();
                let event = Event::CredentialChanged { credential, password, by, ended: ended.clone() };
                (event, ended, Some(Verifier { credential, password, sealed: to.vault.verifier.sealed }))
            }
        };
        to.log.push(event);
        let now = fold(&to.log).password;
        for (right, actor) in to.right.iter_mut().zip(&self.actors) {
            *right &= actor.password() == Some(now);
        }
        let rest_of_it = if self.has(Guard::AttributeByAttribute) { to.vault } else { loaded.vault };
        let vault = change.map(|verifier| Vault { verifier, ..rest_of_it });
        let mut rest = (None, Vec::new());
        if self.has(Guard::VerifierInTheTransaction) {
            to.vault = vault.unwrap_or(to.vault);
        } else {
            rest.0 = vault;
        }
        if self.has(Guard::RowsInTheTransaction) {
            to.rows.retain(|row| !ended.contains(row));
        } else {
            rest.1 = ended;
        }
        let whole = rest.0.is_none() && rest.1.is_empty();
        to.phases[index] = if whole { Phase::Done } else { Phase::Appended { vault: rest.0, ended: rest.1 } };
    }

    /// Puts the wrapped data key, then the verifier, under another service key; from the start if either has changed.
    pub(super) fn rewrap(&self, index: usize, state: &State, read: Vault, key: u8) -> Step<State> {
        let name = self.actors[index].name();
        let mut to = state.clone();
        let wraps = matches!(state.phases[index], Phase::Wrapping(_));
        let mut put = if self.has(Guard::AttributeByAttribute) { state.vault } else { read };
        let (changed, done, guard) = if wraps {
            put.wrapped = key;
            (state.vault.wrapped != read.wrapped, read.wrapped >= key, Guard::WrappedKeyCondition)
        } else {
            put.verifier = Verifier { sealed: key, ..read.verifier };
            (state.vault.verifier != read.verifier, read.verifier.sealed >= key, Guard::VerifierCondition)
        };
        let part = if wraps { "data key" } else { "verifier" };
        if !done && changed && self.has(guard) {
            to.phases[index] = if wraps { Phase::Wrapping(state.vault) } else { Phase::Sealing(state.vault) };
            return Step::new(format!("{name} finds another {part}, and reads the vault again"), to);
        }
        let mut read = read;
        if !done {
            to.vault = put;
            let (wrapped, sealed) = &mut to.acknowledged;
            let acknowledged = if wraps { wrapped } else { sealed };
            *acknowledged = (*acknowledged).max(key);
            read.wrapped = put.wrapped;
        }
        to.phases[index] = if wraps { Phase::Sealing(read) } else { Phase::Done };
        let what = if done { "has nothing to do with" } else { "replaces" };
        Step::new(format!("{name} {what} the {part}"), to)
    }
}
