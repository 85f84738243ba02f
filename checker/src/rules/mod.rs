//! What must hold of a history and the tables it left, whatever went wrong in between.
//!
//! The log says of every commit which request caused it, so each answer can be held against what really happened, and
//! each thing that happened against what was asked.

mod addresses;
mod between;
mod devices;
mod ending;
mod log;
mod looking_back;
mod passwords;
mod reading;
mod registering;
mod renaming;
mod resetting;
mod sessions;
mod signing_in;
#[cfg(test)]
mod tampering;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use domain::{UserId, Version};

use crate::history::{Answer, Entry};
use crate::truth::Truth;
use between::{Beginnings, beginnings};

/// A history to be judged, and what is held against it.
pub(crate) struct Case<'a> {
    pub entries: &'a [Entry],
    pub truth: &'a Truth,
    pub findings: Vec<String>,
    beginnings: Beginnings,
    /// The password of each user, by its number, after each of their commits.
    passwords: BTreeMap<UserId, Vec<Option<usize>>>,
}

/// Everything that does not fit together, in words; nothing if all is well.
pub(crate) fn judge(
    entries: &[Entry],
    truth: &Truth,
    delivered: &BTreeSet<(UserId, Version)>,
) -> Vec<String> {
    let passwords = truth.users.iter().map(|(user, told)| (*user, told.passwords(entries)));
    let mut case = Case {
        entries,
        truth,
        findings: Vec::new(),
        beginnings: beginnings(truth),
        passwords: passwords.collect(),
    };
    case.no_answer_is_absurd();
    case.log();
    case.views(delivered);
    case.registering();
    case.signing_in();
    case.guessing();
    case.sessions();
    case.reading();
    case.passwords();
    case.resetting();
    case.addresses();
    case.renaming();
    case.ending();
    case.devices();
    case.looking_back();
    case.findings
}

impl Case<'_> {
    fn no_answer_is_absurd(&mut self) {
        for entry in self.entries {
            let absurd = matches!(entry.answer, Answer::Absurd(_));
            self.require(!absurd, || format!("an answer that must never be given: {entry}"));
        }
    }

    fn require(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.findings.push(otherwise());
        }
    }

    fn complain(&mut self, entry: &Entry, about: impl Display) {
        self.findings.push(format!("{about}: {entry}"));
    }
}
