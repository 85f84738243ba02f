//! Texts near a genuine refresh token, and texts near a file of service keys.

use std::error::Error as _;
use std::os::unix::fs::PermissionsExt as _;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;
use storage::keys::{KeyFileError, ServiceKeys};
use storage::{Lifetimes, Rotation, TokenError};

use crate::fixture::second;
use crate::sessions::{present, signed_in};

#[derive(Debug, Clone)]
enum Change {
    Replace(Index, String),
    Insert(Index, String),
    Remove(Index),
    Case(Index),
    CutOff(Index),
    /// A part between dots, in the place of another.
    Part(Index, Index),
    Whole(String),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let few = || prop_oneof!["[A-Za-z0-9_.=+/-]{1,3}", "\\PC{1,2}", "[ \t\n\u{0}%]"];
    let change = prop_oneof![
        6 => (any::<Index>(), few()).prop_map(|(at, text)| Change::Replace(at, text)),
        2 => (any::<Index>(), few()).prop_map(|(at, text)| Change::Insert(at, text)),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => any::<Index>().prop_map(Change::Case),
        1 => any::<Index>().prop_map(Change::CutOff),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(to, from)| Change::Part(to, from)),
        1 => "[a-z0-9]{0,17}[.][A-Za-z0-9_-]{0,120}[.][A-Za-z0-9_-]{0,44}".prop_map(Change::Whole),
        1 => "\\PC{0,300}".prop_map(Change::Whole),
    ];
    vec(change, 1..4)
}

fn changed(token: &str, changes: Vec<Change>) -> String {
    let mut text: Vec<char> = token.chars().collect();
    for change in changes {
        let length = text.len();
        let within = |at: Index| at.index(length.max(1));
        match change {
            Change::Whole(other) => text = other.chars().collect(),
            Change::Insert(at, few) => {
                let at = at.index(length + 1);
                text.splice(at..at, few.chars());
            }
            _ if length == 0 => {}
            Change::Replace(at, few) => {
                text.splice(within(at)..=within(at), few.chars());
            }
            Change::Remove(at) => {
                text.remove(within(at));
            }
            Change::Case(at) => {
                let one = &mut text[within(at)];
                *one = if one.is_lowercase() { one.to_ascii_uppercase() } else { one.to_ascii_lowercase() };
            }
            Change::CutOff(at) => text.truncate(within(at)),
            Change::Part(to, from) => {
                let whole: String = text.iter().collect();
                let mut parts: Vec<&str> = whole.split('.').collect();
                let (to, from) = (to.index(parts.len()), from.index(parts.len()));
                parts[to] = parts[from];
                text = parts.join(".").chars().collect();
            }
        }
    }
    text.into_iter().collect()
}

#[test]
fn a_refresh_token_is_taken_octet_for_octet_or_not_at_all() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (world, ada, begun) = runtime.block_on(signed_in(Lifetimes::default()));
    let (sessions, token) = (&world.store.sessions, begun.token.as_str());
    world.meter.reset();
    let cases = ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(cases).run(&changes(), |changes| {
        let text = changed(token, changes);
        match sessions.parse(&text) {
            Ok(read) => {
                prop_assert_eq!(&text, token);
                prop_assert_eq!((read.user(), read.session()), (ada.user, begun.id));
            }
            Err(TokenError::Form | TokenError::UnknownKey | TokenError::Forged) => {
                prop_assert!(text != token);
            }
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    assert_eq!(world.meter.taken().requests, Vec::<String>::new(), "no table is asked");
    let spent = runtime.block_on(present(sessions, token, second(1)));
    assert!(matches!(spent, Rotation::Next { .. }), "and nothing has ended");
}

/// The last character of a part of base64 has bits that no octet holds: of the characters that decode to the same
/// octets only one is right.
#[tokio::test]
async fn the_bits_that_base64_leaves_over_make_no_second_token() {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (world, _, begun) = signed_in(Lifetimes::default()).await;
    let token = &begun.token;
    for end in [token.rfind('.').unwrap() - 1, token.len() - 1] {
        let mut good = Vec::new();
        for other in ALPHABET {
            let mut text = token.clone().into_bytes();
            text[end] = *other;
            let text = String::from_utf8(text).unwrap();
            good.extend(world.store.sessions.parse(&text).is_ok().then_some(text));
        }
        assert_eq!(good, std::slice::from_ref(token));
        for padding in ["=", "==", "%3D"] {
            let mut text = token.clone();
            text.insert_str(end + 1, padding);
            assert_eq!(world.store.sessions.parse(&text).err(), Some(TokenError::Form));
        }
    }
}

fn key_files() -> impl Strategy<Value = Vec<u8>> {
    let keys = serde_json::to_string_pretty(&ServiceKeys::random().unwrap()).unwrap();
    let few = prop_oneof![
        select(vec!["\"", "{", "}", "[", "]", ",", ":", "null", "0", "\\u0000", "\\ud800", "\n", "\"a\":1,"])
            .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..6),
    ];
    let mutated = vec((any::<Index>(), 0..80_usize, few), 0..4).prop_map(move |changes| {
        let mut text = keys.clone().into_bytes();
        for (at, length, few) in changes {
            let at = at.index(text.len() + 1);
            text.splice(at..(at + length).min(text.len()), few);
        }
        text
    });
    prop_oneof![6 => mutated, 1 => vec(any::<u8>(), 0..300), 1 => "\\PC{0,200}".prop_map(String::into_bytes)]
}

#[test]
fn a_file_that_holds_no_keys_is_refused_without_a_word_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let cases = ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(cases).run(&key_files(), |text| {
        std::fs::write(&path, &text).unwrap();
        match ServiceKeys::open(&path) {
            Ok(keys) => {
                // What is taken is the keys and nothing else: they are written and read again.
                let read: ServiceKeys = serde_json::from_slice(&text).unwrap();
                prop_assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&keys).unwrap());
            }
            Err(error @ KeyFileError::Malformed(..)) => {
                let cause = error.source().unwrap();
                prop_assert!(cause.source().is_none());
                let (fault, place) = cause
                    .to_string()
                    .split_once(" at line ")
                    .map(|(a, b)| (a.to_owned(), b.to_owned()))
                    .unwrap();
                prop_assert!(
                    ["not JSON", "not the keys of a deployment", "cut off"].contains(&&*fault),
                    "{fault}"
                );
                prop_assert!(
                    place.bytes().all(|octet| octet.is_ascii_digit() || b", column".contains(&octet))
                );
                prop_assert!(format!("{cause:?}").len() < 100, "{cause:?}");
            }
            Err(error) => prop_assert!(false, "{error:?}"),
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
