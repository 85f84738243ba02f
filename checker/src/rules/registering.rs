use std::collections::BTreeMap;

use super::Case;
use crate::history::{Answer, Command};
use crate::world::address;

impl Case<'_> {
    /// An address has one owner, who is whoever was told so; who was told that it is taken had not taken it themselves.
    pub(super) fn registering(&mut self) {
        let mut owners = BTreeMap::new();
        let truth = self.truth;
        for (user, told) in &truth.users {
            let account = told.states.last().and_then(|state| state.account());
            let Some(email) = account.and_then(|account| account.email.clone()) else { continue };
            let email = email.as_str().to_owned();
            if let Some(other) = owners.insert(email.clone(), user) {
                self.findings.push(format!("{email:?} belongs to {other} and to {user}"));
            }
        }
        for entry in self.entries {
            let Command::Register { address: of, .. } = &entry.command else { continue };
            let (of, own) = (address(*of), entry.registered_name());
            match &entry.answer {
                Answer::Registered { user, version } => {
                    let holds = truth.users.get(user).is_some_and(|told| {
                        told.has(&of, 1) && told.registered_name() == own.as_deref() && *version == 1
                    });
                    self.require(holds, || format!("registered, and the log knows nothing of it: {entry}"));
                }
                Answer::Refused(409) => {
                    let others = || {
                        truth.users.values().filter(|told| {
                            told.registered_name() != own.as_deref()
                                && (1..=told.commits.len()).any(|commits| told.has(&of, commits))
                        })
                    };
                    self.require(others().next().is_some(), || format!("taken by nobody else: {entry}"));
                    let in_time = others().any(|told| self.may_have_had(told, &of, entry));
                    self.require(in_time, || format!("not taken yet: {entry}"));
                }
                _ => {}
            }
        }
    }
}
