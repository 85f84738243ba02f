use domain::DisplayName;

use super::Case;
use crate::history::{Answer, Command, Entry, Profile};
use crate::truth::Told;

impl Case<'_> {
    /// Who was told of a new name has it, by their own commit or because it was so already. Who was told that the profile
    /// had changed was late.
    pub(super) fn renaming(&mut self) {
        for entry in self.entries {
            let Command::Rename { access, name, if_match } = &entry.command else { continue };
            let Some((_, told)) = self.user_of(access.session) else { continue };
            match &entry.answer {
                Answer::Profile(shown) => {
                    self.was_renamed(entry, told, shown);
                    let asked = *name == shown.name;
                    self.require(asked, || format!("called otherwise than was asked for: {entry}"));
                }
                Answer::Refused(412) => {
                    let late = self.between(told, entry).any(|commits| {
                        !is_called(told, commits, name.as_deref())
                            && !matches_tag(told, commits, if_match.as_deref())
                    });
                    self.require(late, || format!("nobody had changed the profile: {entry}"));
                }
                _ => {}
            }
        }
    }

    fn was_renamed(&mut self, entry: &Entry, told: &Told, shown: &Profile) {
        let Command::Rename { name, if_match, .. } = &entry.command else { return };
        let version = usize::try_from(shown.version).unwrap_or_default();
        if let Some(number) = told.commit_of(entry) {
            let matched = matches_tag(told, number - 1, if_match.as_deref());
            self.require(matched, || format!("renamed against If-Match: {entry}"));
            self.require(version == number, || format!("renamed in v{number}: {entry}"));
        } else {
            let so_already =
                self.between(told, entry).contains(&version) && is_called(told, version, name.as_deref());
            self.require(so_already, || format!("renamed, and the log knows nothing of it: {entry}"));
        }
    }
}

/// Whether the user was called so after so many commits.
fn is_called(told: &Told, commits: usize, name: Option<&str>) -> bool {
    told.account(commits).is_some_and(|account| account.name.as_ref().map(DisplayName::as_str) == name)
}

/// Whether the profile after so many commits is the one that `If-Match` means.
fn matches_tag(told: &Told, commits: usize, if_match: Option<&str>) -> bool {
    let Some(tag) = if_match.filter(|tag| *tag != "*") else { return true };
    told.account(commits).is_some_and(|account| tag == format!("\"{}\"", account.profile_version))
}
