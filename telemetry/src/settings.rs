use std::cell::RefCell;
use std::collections::BTreeSet;

/// How the names of our settings begin.
const OURS: &str = "ANNALS_";

/// The environment, as the settings of a function. A setting that nobody asks for is misspelt, or meant for something
/// else: what it was to change, perhaps to something safer, stays as it was, so the function does not start.
#[derive(Debug, Default)]
pub struct Settings {
    asked: RefCell<BTreeSet<String>>,
}

/// These are set, and are no settings of this function.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a setting of this function: {}", .0.join(", "))]
pub struct UnknownSettings(pub Vec<String>);

impl Settings {
    /// The value of a setting; `None` if it is not set, or no text.
    pub fn get(&self, name: &str) -> Option<String> {
        self.asked.borrow_mut().insert(name.to_owned());
        std::env::var(name).ok()
    }

    /// To be asked when all settings have been read.
    pub fn all_known(&self) -> Result<(), UnknownSettings> {
        let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let asked = self.asked.borrow();
        let unknown: Vec<String> =
            set.filter(|name| name.starts_with(OURS) && !asked.contains(name)).collect();
        if unknown.is_empty() { Ok(()) } else { Err(UnknownSettings(unknown)) }
    }
}
