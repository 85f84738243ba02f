use std::fmt;

use email_address::{EmailAddress, Options};
use serde::{Deserialize, Serialize};

use super::Fault;

/// The longest address that can be delivered to, in octets: the path of RFC 5321, section 4.5.3.1.3, without its
/// angle brackets.
const MAX_OCTETS: usize = 254;

/// An e-mail address in the one form in which it is stored and compared: local part in ASCII, domain in ASCII
/// (IDNA), all of it in lower case.
///
/// Lower-casing the local part is a deviation from RFC 5321, section 2.4, which every large mail provider shares:
/// two people who differ only in case do not exist, one person who types it both ways does.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// Parses and normalises an address. White space around it is taken away.
    pub fn parse(input: &str) -> Result<Self, Fault> {
        let input = input.trim();
        if input.is_empty() {
            return Err(Fault::Empty);
        }
        if input.chars().any(char::is_control) {
            return Err(Fault::ControlCharacter);
        }
        let (local, domain) = input.rsplit_once('@').ok_or(Fault::NotAnAddress)?;
        if !local.is_ascii() {
            return Err(Fault::LocalPartNotAscii);
        }
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| Fault::NotAnAddress)?;
        // A top-level domain begins with a letter (RFC 1123, section 2.1); `127.0.0.1` and `0x7f.1` are hosts.
        if !domain.rsplit('.').next().is_some_and(|top| top.starts_with(|c: char| c.is_ascii_lowercase())) {
            return Err(Fault::NotAnAddress);
        }
        let address = format!("{}@{domain}", local.to_ascii_lowercase());
        if address.len() > MAX_OCTETS {
            return Err(Fault::TooManyBytes(MAX_OCTETS));
        }
        let accepted = Options::default().without_display_text().without_domain_literal().with_required_tld();
        let parsed = EmailAddress::parse_with_options(&address, accepted).map_err(|_| Fault::NotAnAddress)?;
        if parsed.local_part().contains('"') {
            return Err(Fault::NotAnAddress);
        }
        Ok(Self(address))
    }

    /// The normalised address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Redacted: addresses do not belong into logs.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::{Email, Fault};

    fn parsed(input: &str) -> Result<String, Fault> {
        Email::parse(input).map(|email| email.as_str().to_owned())
    }

    #[test]
    fn an_address_is_compared_in_lower_case() {
        assert_eq!(parsed(" Ada@Example.COM "), Ok("ada@example.com".into()));
    }

    #[test]
    fn an_international_domain_becomes_ascii() {
        assert_eq!(parsed("ada@Bücher.example"), Ok("ada@xn--bcher-kva.example".into()));
        assert_eq!(Email::parse("ada@bu\u{308}cher.example"), Email::parse("ada@bücher.example"));
    }

    #[test]
    fn a_local_part_outside_ascii_is_refused() {
        assert_eq!(parsed("ädä@example.com"), Err(Fault::LocalPartNotAscii));
        // Cyrillic a: it looks like ada@example.com and is not.
        assert_eq!(parsed("аda@example.com"), Err(Fault::LocalPartNotAscii));
    }

    #[test]
    fn an_address_has_at_most_254_octets() {
        let domain = format!("{}.{}.{}.com", "d".repeat(63), "e".repeat(63), "f".repeat(57));
        let of = |octets: usize| format!("{}@{domain}", "l".repeat(octets - domain.len() - 1));
        assert_eq!(of(254).len(), 254);
        assert!(parsed(&of(254)).is_ok());
        assert_eq!(parsed(&of(255)), Err(Fault::TooManyBytes(254)));
    }

    #[test]
    fn what_is_no_plain_address_is_refused() {
        assert_eq!(parsed("  "), Err(Fault::Empty));
        assert_eq!(parsed("ada\0@example.com"), Err(Fault::ControlCharacter));
        for input in [
            "ada",
            "ada@",
            "@example.com",
            "ada@@example.com",
            "ada@example",
            "ada@exa mple.com",
            "ada lovelace@example.com",
            "\"ada lovelace\"@example.com",
            "ada@[127.0.0.1]",
            "ada@127.0.0.1",
            "ada@１２７.0.0.1",
            "ada@0x7f.1",
            "ada@example.com.",
            "Ada <ada@example.com>",
            "ada@-example.com",
            "ada..l@example.com",
            ".ada@example.com",
        ] {
            assert_eq!(parsed(input), Err(Fault::NotAnAddress), "{input:?}");
        }
    }

    #[test]
    fn an_address_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Email::parse("ada@example.com").unwrap()), "Email(…)");
    }
}
