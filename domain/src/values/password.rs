use std::fmt;

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::Fault;

/// The least length of a password that is the only factor, in code points. [NIST SP 800-63B-4, section 3.1.1.2]
const MIN: usize = 15;
/// The greatest length in code points.
const MAX: usize = 1_024;
/// The greatest length in octets of UTF-8.
const MAX_BYTES: usize = 4_096;

/// A password as somebody presents it to sign in. Only its size is bounded; whether it would be allowed today is
/// judged when a password is set, never here.
#[derive(Clone)]
pub struct PresentedPassword(Zeroizing<String>);

impl PresentedPassword {
    /// Takes a password: NFC, so that two keyboards agree on it, and otherwise exactly as typed.
    pub fn parse(input: &str) -> Result<Self, Fault> {
        // Before normalising, which may grow a string threefold: its cost is bounded, too.
        if input.len() > MAX_BYTES {
            return Err(Fault::TooManyBytes(MAX_BYTES));
        }
        let mut normal = Zeroizing::new(String::with_capacity(3 * input.len()));
        normal.extend(input.nfc());
        if normal.len() > MAX_BYTES {
            return Err(Fault::TooManyBytes(MAX_BYTES));
        }
        if normal.chars().count() > MAX {
            return Err(Fault::TooLong(MAX));
        }
        Ok(Self(normal))
    }

    /// The octets to hash.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A password that may be set: 15 to 1,024 code points and at most 4,096 octets, in NFC; never truncated, trimmed
/// or changed in case, and without rules of composition.
#[derive(Clone)]
pub struct NewPassword(PresentedPassword);

impl NewPassword {
    /// The password, to be judged.
    pub fn as_str(&self) -> &str {
        &self.0.0
    }

    /// Judges a password by the rules for setting one.
    pub fn parse(input: &str) -> Result<Self, Fault> {
        let password = PresentedPassword::parse(input)?;
        if password.0.chars().count() < MIN {
            return Err(Fault::TooShort(MIN));
        }
        Ok(Self(password))
    }

    /// The octets to hash.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for PresentedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedPassword(…)")
    }
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPassword(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, NewPassword, PresentedPassword};

    #[test]
    fn a_new_password_has_at_least_15_code_points() {
        assert_eq!(NewPassword::parse("fourteen chars").unwrap_err(), Fault::TooShort(15));
        assert!(NewPassword::parse("fifteen chars !").is_ok());
        assert!(NewPassword::parse(&"字".repeat(15)).is_ok());
        // Fifteen as typed, eight as they count: one accent and its letter are one code point.
        assert_eq!(NewPassword::parse(&"e\u{301}".repeat(8)).unwrap_err(), Fault::TooShort(15));
    }

    #[test]
    fn a_password_is_bounded_and_never_truncated() {
        assert!(NewPassword::parse(&"x".repeat(1_024)).is_ok());
        assert_eq!(NewPassword::parse(&"x".repeat(1_025)).unwrap_err(), Fault::TooLong(1_024));
        assert!(NewPassword::parse(&"\u{1F600}".repeat(1_024)).is_ok());
        assert_eq!(PresentedPassword::parse(&"x".repeat(4_097)).unwrap_err(), Fault::TooManyBytes(4_096));
    }

    #[test]
    fn a_password_in_nfd_is_the_password_in_nfc() {
        let composed = NewPassword::parse("crème brûlée à la carte").unwrap();
        let decomposed =
            PresentedPassword::parse("cre\u{300}me bru\u{302}le\u{301}e a\u{300} la carte").unwrap();
        assert_eq!(composed.as_bytes(), decomposed.as_bytes());
    }

    #[test]
    fn a_password_is_kept_as_typed() {
        let typed = "  Spaces And CASE stay  ";
        assert_eq!(NewPassword::parse(typed).unwrap().as_bytes(), typed.as_bytes());
        // Compatibility forms are other characters: NFKC would make them one.
        assert_ne!(
            PresentedPassword::parse("ﬁ").unwrap().as_bytes(),
            PresentedPassword::parse("fi").unwrap().as_bytes()
        );
    }

    #[test]
    fn a_short_password_may_be_presented() {
        assert!(PresentedPassword::parse("").is_ok());
    }
}
