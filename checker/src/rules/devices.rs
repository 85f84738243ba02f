use std::collections::{BTreeMap, BTreeSet};

use domain::UserEvent;

use super::Case;
use crate::truth::{events, request_of};

impl Case<'_> {
    /// A sign-in is counted at the device whose token came with it, if that was one of the user's own and as it was
    /// given; and each attempt succeeds once at most.
    pub(super) fn devices(&mut self) {
        let (mut ids, mut attempts) = (BTreeMap::new(), BTreeSet::new());
        for commit in self.truth.commits() {
            let Some(entry) = request_of(commit).and_then(|request| self.entries.get(request)) else {
                continue;
            };
            for event in events(commit) {
                let (UserEvent::UserSignedIn { password, .. }
                | UserEvent::UserPasswordChanged { password, .. }) = event
                else {
                    continue;
                };
                let known = entry.command.known_device(commit.user);
                self.require(known.is_some() == password.device.is_some(), || {
                    format!("counted at another place than it should have been: {entry}")
                });
                if let (Some(known), Some(device)) = (known, password.device) {
                    let same = *ids.entry(known.first).or_insert(device) == device;
                    self.require(same, || format!("one device under two ids: {entry}"));
                }
                let once = attempts.insert((commit.user, password.device, password.attempt));
                self.require(once, || format!("an attempt that succeeded twice: {entry}"));
            }
        }
        let different: BTreeSet<_> = ids.values().collect();
        if different.len() != ids.len() {
            self.findings.push(format!("two devices under one id: {ids:?}"));
        }
    }
}
