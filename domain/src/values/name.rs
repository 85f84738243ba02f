use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::Fault;

/// The longest name, in code points.
const MAX: usize = 200;

/// What a user wants to be called: 1 to 200 code points of any alphabet, NFC, without control characters.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DisplayName(String);

impl DisplayName {
    /// Parses a name. White space around it is taken away.
    pub fn parse(input: &str) -> Result<Self, Fault> {
        let name: String = input.trim().nfc().collect();
        if name.is_empty() {
            return Err(Fault::Empty);
        }
        if name.chars().any(char::is_control) {
            return Err(Fault::ControlCharacter);
        }
        if name.chars().count() > MAX {
            return Err(Fault::TooLong(MAX));
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Redacted: names do not belong into logs.
impl fmt::Debug for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DisplayName(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::{DisplayName, Fault};

    #[test]
    fn a_name_of_any_alphabet_is_kept_as_nfc() {
        assert_eq!(DisplayName::parse(" 李 小龍 ").unwrap().as_str(), "李 小龍");
        assert_eq!(DisplayName::parse("Ame\u{301}lie").unwrap().as_str(), "Am\u{e9}lie");
    }

    #[test]
    fn a_name_is_not_empty_nor_endless_nor_full_of_control_characters() {
        assert_eq!(DisplayName::parse(" \u{2003} "), Err(Fault::Empty));
        assert_eq!(DisplayName::parse(&"x".repeat(201)), Err(Fault::TooLong(200)));
        assert!(DisplayName::parse(&"字".repeat(200)).is_ok());
        assert_eq!(DisplayName::parse("Ada\u{7}"), Err(Fault::ControlCharacter));
        assert_eq!(DisplayName::parse("A\0da"), Err(Fault::ControlCharacter));
    }
}
