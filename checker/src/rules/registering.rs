use std::collections::BTreeMap;

use super::Case;
use crate::history::{Answer, Command, Entry};
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
            let owner = truth.owner(&address(*of));
            let owned_by = owner.and_then(|(_, told)| told.registered_name());
            let own = entry.registered_name();
            match &entry.answer {
                Answer::Registered { user, version } => {
                    let holds = owner.map(|(owner, _)| owner) == Some(*user)
                        && owned_by == own.as_deref()
                        && *version == 1;
                    self.require(holds, || format!("registered, and the log knows nothing of it: {entry}"));
                }
                Answer::Refused(409) => {
                    let another = owned_by.is_some() && owned_by != own.as_deref();
                    self.require(another, || format!("taken by nobody else: {entry}"));
                    let in_time = self.registrations(*of, owned_by).any(|other| other.may_affect(entry));
                    self.require(in_time, || format!("not taken yet: {entry}"));
                }
                _ => {}
            }
        }
    }

    /// The requests that were the registration of this name.
    fn registrations<'a>(&'a self, of: usize, name: Option<&'a str>) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| {
            matches!(&entry.command, Command::Register { address, .. } if *address == of)
                && entry.registered_name().as_deref() == name
        })
    }
}
