use domain::{DisplayName, Email, NewPassword};
use zeroize::Zeroizing;
use zxcvbn::matching::Match;
use zxcvbn::matching::patterns::MatchPattern;
use zxcvbn::zxcvbn;

/// A password that takes fewer guesses than this is refused. Whoever has stolen verifiers, the key that seals them and
/// the pepper spends some 25 ms of a core on each guess at the least cost of a hash: eight years. At the next power of
/// ten below, two much used words with a space between would pass.
const ENOUGH_GUESSES: f64 = 10.0;
/// So many code points of a password are judged. What is guessable for so long is refused, whatever follows: the
/// estimator's time grows with the square and more of the length.
const JUDGED: usize = 32;
/// Of how many substitutions of signs for letters the estimator tries every combination. Digits alone make 4, a
/// password of all signs 3,456, with which 48 code points took half a second.
const MOST_READINGS: usize = 8;
/// What is left of a password when the user's own words are taken out must have so many letters and digits.
const LEFT: usize = 8;
/// Shorter parts of an address, a name or a host are no words of their own.
const SHORTEST_WORD: usize = 3;
/// The name of the software, which stands for the service where it is called nothing else.
const SERVICE: &str = "annals";

/// Letters and the signs that are read as each, as the estimator has them.
const READ_AS: [&str; 12] = ["4@", "8", "({[<", "3", "69", "1!|", "1|7", "0", "$5", "+7", "%", "2"];
/// Those signs which are no digits, and what is judged in their place: signs of the same kind that are read as nothing.
const SIGNS: [(char, char); 10] = [
    ('@', '_'),
    ('(', '='),
    ('{', '~'),
    ('[', '^'),
    ('<', '>'),
    ('!', '?'),
    ('|', '/'),
    ('$', '&'),
    ('+', '*'),
    ('%', '#'),
];

/// Why a password is too easy to guess, in words that can be shown to whoever wants to set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Guessable {
    /// It is, or is made of, much used passwords and words.
    #[error("is made of much used passwords or words")]
    MuchUsed,
    /// It is the same over and over.
    #[error("repeats itself")]
    Repeats,
    /// It goes up or down an alphabet, or along a keyboard.
    #[error("is a sequence of characters or keys")]
    Sequence,
    /// It is dates or years.
    #[error("is made of dates")]
    Dates,
    /// There is little in it but the user's own address.
    #[error("is made of your own address")]
    OwnAddress,
    /// There is little in it but the user's own name.
    #[error("is made of your own name")]
    OwnName,
    /// There is little in it but the name of the service.
    #[error("is made of the name of this service")]
    ServiceName,
}

/// What others know of a user, and would try first.
#[derive(Clone, Copy)]
pub struct KnownWords<'a> {
    /// The address.
    pub email: Option<&'a Email>,
    /// The name.
    pub name: Option<&'a DisplayName>,
    /// The URL of the service.
    pub issuer: &'a str,
}

impl KnownWords<'_> {
    /// The words in lower case, each with what a password made of it is refused for: whole ones before their parts.
    fn words(&self) -> Vec<(String, Guessable)> {
        let address = self.email.map_or("", Email::as_str);
        let name = self.name.map_or("", DisplayName::as_str);
        let host = self.issuer.split("://").last().unwrap_or_default();
        let mut words: Vec<(String, Guessable)> = Vec::new();
        for (whole, reason) in [
            (address, Guessable::OwnAddress),
            (name, Guessable::OwnName),
            (SERVICE, Guessable::ServiceName),
            (host, Guessable::ServiceName),
        ] {
            let whole = whole.to_lowercase();
            let parts = whole.split(['@']).chain(whole.split(|c: char| !c.is_alphanumeric()));
            for word in std::iter::once(&*whole).chain(parts) {
                let new = words.iter().all(|(known, _)| known != word);
                if new && word.chars().count() >= SHORTEST_WORD {
                    words.push((word.to_owned(), reason));
                }
            }
        }
        words
    }
}

/// Whether a password is hard enough to guess to be set, for this user. Never asked when one is presented.
///
/// It takes a fifth of a millisecond, and for the worst of passwords that were found about as long as a hash.
// The estimator's own copies of parts of the password are not wiped from memory.
pub fn judge(password: &NewPassword, known: &KnownWords<'_>) -> Result<(), Guessable> {
    let words = known.words();
    if let Some(reason) = made_of(password.as_str(), &words) {
        return Err(reason);
    }
    let judged = judged(password.as_str());
    let inputs: Vec<&str> = words.iter().map(|(word, _)| &**word).collect();
    let estimate = zxcvbn(&judged, &inputs);
    if estimate.guesses_log10() >= ENOUGH_GUESSES {
        return Ok(());
    }
    Err(reason(estimate.sequence(), &words))
}

/// Has the estimator read its lists, so that the first password need not wait for that.
pub(super) fn warm() {
    zxcvbn("annals", &[]);
}

/// What a password is made of if little is left of it without these words.
fn made_of(password: &str, words: &[(String, Guessable)]) -> Option<Guessable> {
    let mut rest = Zeroizing::new(password.to_lowercase());
    let mut longest_first: Vec<_> = words.iter().collect();
    longest_first.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
    let mut found = None;
    for (word, reason) in longest_first {
        if rest.contains(&**word) {
            // A blank in its place, so that what stood around it makes no new word.
            rest = Zeroizing::new(rest.replace(&**word, " "));
            found = found.or(Some(*reason));
        }
    }
    let left = rest.chars().filter(|c| c.is_alphanumeric()).count();
    found.filter(|_| left < LEFT)
}

/// What the estimator is shown of a password.
fn judged(password: &str) -> Zeroizing<String> {
    let beginning: Zeroizing<String> = Zeroizing::new(password.chars().take(JUDGED).collect());
    let readings: usize = READ_AS
        .iter()
        .map(|signs| signs.chars().filter(|sign| beginning.contains(*sign)).count().max(1))
        .product();
    if readings <= MOST_READINGS {
        return beginning;
    }
    let plain = |c| SIGNS.iter().find(|(sign, _)| *sign == c).map_or(c, |(_, other)| *other);
    Zeroizing::new(beginning.chars().map(plain).collect())
}

/// The reason for refusing a password, by the longest part of it that was recognised.
fn reason(parts: &[Match], words: &[(String, Guessable)]) -> Guessable {
    let recognised = parts.iter().filter(|part| part.pattern != MatchPattern::BruteForce);
    let Some(longest) = recognised.max_by_key(|part| part.token.chars().count()) else {
        return Guessable::MuchUsed;
    };
    match &longest.pattern {
        MatchPattern::Dictionary(found) => words
            .iter()
            .find(|(word, _)| *word == found.matched_word)
            .map_or(Guessable::MuchUsed, |(_, reason)| *reason),
        MatchPattern::Repeat(_) => Guessable::Repeats,
        MatchPattern::Sequence(_) | MatchPattern::Spatial(_) => Guessable::Sequence,
        MatchPattern::Date(_) | MatchPattern::Regex(_) => Guessable::Dates,
        MatchPattern::BruteForce => Guessable::MuchUsed,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use domain::{DisplayName, Email, NewPassword};

    use super::{Guessable, KnownWords, judge};

    const ISSUER: &str = "https://accounts.bigcorp.example";

    fn judged(password: &str) -> Result<(), Guessable> {
        let email = Email::parse("augusta.king@lovelace.example").unwrap();
        let name = DisplayName::parse("Ada Noël").unwrap();
        let known = KnownWords { email: Some(&email), name: Some(&name), issuer: ISSUER };
        judge(&NewPassword::parse(password).unwrap(), &known)
    }

    #[track_caller]
    fn refused(reason: Guessable, passwords: &[&str]) {
        for password in passwords {
            assert_eq!(judged(password), Err(reason), "{password:?}");
        }
    }

    #[test]
    fn much_used_passwords_and_words_are_refused() {
        refused(
            Guessable::MuchUsed,
            &[
                "qwertyuiopasdfgh",
                "1q2w3e4r5t6y7u8i",
                "password password",
                "iloveyou forever",
                "zxcvbnmasdfghjkl",
            ],
        );
    }

    #[test]
    fn what_repeats_itself_is_refused() {
        let long = "a".repeat(1_024);
        refused(
            Guessable::Repeats,
            &[
                "aaaaaaaaaaaaaaa",
                "字字字字字字字字字字字字字字字",
                "passwordpassword",
                "P4ssw0rdP4ssw0rd",
                "abababababababab",
                &long,
            ],
        );
    }

    #[test]
    fn sequences_are_refused() {
        refused(Guessable::Sequence, &["abcdefghijklmno", "zyxwvutsrqponmlk", "qwertyuiop[]asd"]);
        // Sequences and much used passwords, both.
        for password in ["123456789012345", "Password12345678"] {
            assert!(judged(password).is_err(), "{password:?}");
        }
    }

    #[test]
    fn dates_are_refused() {
        refused(Guessable::Dates, &["22.11.2026 1999"]);
    }

    #[test]
    fn what_is_made_of_the_users_own_address_is_refused() {
        refused(
            Guessable::OwnAddress,
            &[
                "augusta.king@lovelace.example",
                "augusta.king@lovelace.exampleaugusta.king@lovelace.example",
                "Augusta.King@Lovelace.Example!",
                "augusta king 1815",
                "Lovelace1815-Augusta",
                "kingkingkingkingking",
            ],
        );
    }

    #[test]
    fn what_is_made_of_the_users_own_name_is_refused() {
        refused(Guessable::OwnName, &["ada noëlada noël", "AdaNoëlAdaNoël2026", "noël noël noël ada"]);
    }

    #[test]
    fn what_is_made_of_the_services_name_is_refused() {
        refused(
            Guessable::ServiceName,
            &["annalsannalsannals", "Annals-2026-Annals", "accounts.bigcorp.example", "bigcorp bigcorp 1"],
        );
    }

    #[test]
    fn passphrases_of_any_alphabet_are_taken() {
        for password in [
            "correct horse battery",
            "correct horse battery staple",
            "thequickbrownfoxjumpsoverthelazydog",
            "мама мыла раму вчера",
            "我的密码是一个很长的句子不是吗",
            "παράδειγμα φράσης πρόσβασης",
            "こんにちは世界のみなさん今日は",
            "كلمة المرور الخاصة بي طويلة",
            "x7#kQ9!vLm2@pRw",
            "\u{1F600}\u{1F40E}\u{1F50B}\u{1F4CE} grin horse clip",
            "nothing of king and all of battery horses",
        ] {
            assert_eq!(judged(password), Ok(()), "{password:?}");
        }
        // Long ones, too.
        let long = "no two of these sentences are the same; ".repeat(25);
        assert_eq!(judged(&long), Ok(()));
    }

    #[test]
    fn who_has_no_name_and_no_known_address_is_judged_by_the_rest() {
        let known = KnownWords { email: None, name: None, issuer: "" };
        let judged = |password| judge(&NewPassword::parse(password).unwrap(), &known);
        assert_eq!(judged("correct horse battery"), Ok(()));
        assert_eq!(judged("annalsannalsannals"), Err(Guessable::ServiceName));
    }

    #[test]
    fn the_worst_of_passwords_is_judged_in_no_time() {
        super::warm();
        // All signs that are read as letters, twice each: as it came, the first took seconds.
        let signs = "0123456789@({[<!|$+%".repeat(51);
        let letters = "abcdefghijklmnopqrstuvwxyz!@$".repeat(35);
        let digits = "3141592653589793238462643383279502884197169399".repeat(22);
        // Found by a search for slow ones.
        let searched = "g9i615ol2!9078tAuia$1pepf6q1s!eg!oAlro4kk!58rdk7".to_owned();
        let runs = ["ab".repeat(512), "12".repeat(512), "\u{130}".repeat(1_024)];
        for password in [signs, letters, digits, searched].into_iter().chain(runs) {
            let started = Instant::now();
            let _ = judged(&password);
            // Unoptimised, and on a busy machine.
            assert!(started.elapsed() < Duration::from_secs(5), "{password}: {:?}", started.elapsed());
        }
    }
}
