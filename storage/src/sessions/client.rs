use std::fmt;

/// The client that a session's tokens are issued to: 1 to 32 lower-case letters, digits, and `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(String);

/// Annals' own sign-in, a public client: whoever signs in for themselves does so with it.
const OWN: &str = "annals";

impl ClientId {
    /// The longest id, in octets: a refresh token stays within its limit.
    const MAX: usize = 32;

    /// Takes an id, if it has the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let of_the_alphabet = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
        ((1..=Self::MAX).contains(&text.len()) && of_the_alphabet).then(|| Self(text.to_owned()))
    }

    /// Annals' own sign-in.
    pub fn own() -> Self {
        Self(OWN.to_owned())
    }

    /// Whether it is Annals' own sign-in.
    pub fn is_own(&self) -> bool {
        self.0 == OWN
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ClientId;

    #[test]
    fn an_id_is_short_and_of_one_alphabet() {
        for right in ["annals", "a", "shop-api.v2_test", &"x".repeat(32)] {
            assert_eq!(ClientId::parse(right).map(|id| id.to_string()).as_deref(), Some(right));
        }
        for wrong in ["", "Annals", "a b", "a:b", "ä", "a\n", &"x".repeat(33)] {
            assert_eq!(ClientId::parse(wrong), None, "{wrong:?}");
        }
        assert!(ClientId::own().is_own() && ClientId::parse("annals").is_some_and(|id| id.is_own()));
        assert!(ClientId::parse("annals2").is_some_and(|id| !id.is_own()));
    }
}
