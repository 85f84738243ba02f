//! Texts near a genuine access token: none says anything that was not signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::Index;
use storage::keys::{KeyId, Ring, SigningSecret};

use super::AccessTokens;
use super::forgeries::{at, claims, tokens};

const NOW: i64 = 1_000_000;

/// The order of P-256's base point. [SEC 2, section 2.4.2]
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

fn issuer() -> AccessTokens {
    tokens(&Ring::of(KeyId::parse("k1").unwrap(), SigningSecret::random().unwrap()))
}

fn changes() -> impl Strategy<Value = Vec<(Index, usize, String)>> {
    let few = prop_oneof!["[A-Za-z0-9_.=+/-]{0,3}", "\\PC{0,2}", "[ \t\n\u{0}%]"];
    vec((any::<Index>(), 0..3_usize, few), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_access_token_is_taken_as_it_was_signed_or_not_at_all(changes in changes()) {
        let tokens = issuer();
        let token = tokens.issue(&claims(NOW)).unwrap();
        let mut text: Vec<char> = token.chars().collect();
        for (at, length, few) in changes {
            let at = at.index(text.len() + 1);
            text.splice(at..(at + length).min(text.len()), few.chars());
        }
        let text: String = text.into_iter().collect();
        prop_assert_eq!(tokens.verify(&text, at(NOW)).is_ok(), text == token);
    }

    #[test]
    fn any_text_at_all_is_no_access_token(text in prop_oneof!["\\PC{0,400}", "[A-Za-z0-9_-]{0,60}[.][A-Za-z0-9_-]{0,60}[.][A-Za-z0-9_-]{0,90}"]) {
        prop_assert!(issuer().verify(&text, at(NOW)).is_err());
    }
}

#[test]
fn the_bits_that_base64_leaves_over_make_no_second_token() {
    let tokens = issuer();
    let token = tokens.issue(&claims(NOW)).unwrap();
    let ends: Vec<usize> =
        token.match_indices('.').map(|(index, _)| index - 1).chain([token.len() - 1]).collect();
    for end in ends {
        let alphabet = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*b"-_");
        let good = alphabet.filter(|other| {
            let mut text = token.clone().into_bytes();
            text[end] = *other;
            tokens.verify(&String::from_utf8(text).unwrap(), at(NOW)).is_ok()
        });
        assert_eq!(good.collect::<Vec<_>>(), [token.as_bytes()[end]]);
    }
}

/// Of every signature by an elliptic curve anybody can make one more, of the same message: (r, n − s). It says nothing
/// else, and nothing here tells tokens apart by their signatures.
#[test]
fn the_twin_of_a_signature_says_the_same_and_nothing_else() {
    let tokens = issuer();
    let token = tokens.issue(&claims(NOW)).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut octets = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for index in (0..32).rev() {
        let difference = i16::from(ORDER[index]) - i16::from(octets[32 + index]) - borrow;
        borrow = i16::from(difference < 0);
        octets[32 + index] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let twin = format!("{message}.{}", URL_SAFE_NO_PAD.encode(octets));
    assert_ne!(twin, token);
    assert_eq!(tokens.verify(&twin, at(NOW)), tokens.verify(&token, at(NOW)));
}
