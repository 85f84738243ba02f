//! What must hold of a history and the tables it left, whatever went wrong in between.
//!
//! The log says of every commit which request caused it, so each answer can be held against what really happened, and
//! each thing that happened against what was asked.

mod log;
mod reading;
mod registering;
mod sessions;
mod signing_in;
#[cfg(test)]
mod tampering;

use std::collections::BTreeSet;
use std::fmt::Display;

use domain::{UserId, Version};

use crate::history::{Answer, Entry};
use crate::truth::Truth;

/// A history to be judged, and what is held against it.
pub(crate) struct Case<'a> {
    pub entries: &'a [Entry],
    pub truth: &'a Truth,
    pub findings: Vec<String>,
}

/// Everything that does not fit together, in words; nothing if all is well.
pub(crate) fn judge(
    entries: &[Entry],
    truth: &Truth,
    delivered: &BTreeSet<(UserId, Version)>,
) -> Vec<String> {
    let mut case = Case { entries, truth, findings: Vec::new() };
    case.no_answer_is_absurd();
    case.log();
    case.views(delivered);
    case.registering();
    case.signing_in();
    case.guessing();
    case.sessions();
    case.reading();
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
