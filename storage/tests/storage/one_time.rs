//! One-time tokens: good for what they were made for and for nothing else, and texts that are none of ours.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{CredentialId, Email, UserId, Version};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use storage::keys::{KeyId, Ring, Secret};
use storage::one_time::{Bound, OneTimeError, OneTimeKeys, OneTimePurpose};
use uuid::Uuid;

use crate::fixture::{World, noon};

const PURPOSES: [OneTimePurpose; 3] =
    [OneTimePurpose::PasswordReset, OneTimePurpose::EmailVerification, OneTimePurpose::EmailChange];

fn ring(id: &str) -> Ring<Secret> {
    Ring::of(KeyId::parse(id).unwrap(), Secret::new([7; 32]))
}

fn keys() -> OneTimeKeys {
    OneTimeKeys::new("tests".to_owned(), ring("k1"))
}

fn user(number: u128) -> UserId {
    UserId::new(Uuid::from_u128(number))
}

fn credential(number: u128) -> CredentialId {
    CredentialId::new(Uuid::from_u128(number))
}

fn address(name: &str) -> Email {
    Email::parse(&format!("{name}@example.com")).unwrap()
}

fn in_ten_minutes() -> DateTime<Utc> {
    noon() + TimeDelta::minutes(10)
}

/// One of each purpose for the same people and times.
fn of_each<'a>(email: &'a Email, to: &'a Email) -> [Bound<'a>; 3] {
    let credential = credential(1);
    [
        Bound::PasswordReset { email, credential, since: None },
        Bound::EmailVerification { email, credential },
        Bound::EmailChange { from: email, to, credential },
    ]
}

#[test]
fn a_token_is_good_for_its_own_purpose_until_its_end() {
    let (ada, augusta) = (address("ada"), address("augusta"));
    for (bound, purpose) in of_each(&ada, &augusta).iter().zip(PURPOSES) {
        assert_eq!(bound.purpose(), purpose);
        let text = keys().make(user(1), bound, in_ten_minutes()).unwrap();
        assert_eq!(*text, *keys().make(user(1), bound, in_ten_minutes()).unwrap(), "made again, the same");
        for other in PURPOSES {
            match keys().parse(&text, other) {
                Ok(_) => assert_eq!(other, purpose),
                Err(error) => assert_eq!((error, other == purpose), (OneTimeError::OtherPurpose, false)),
            }
        }
        let token = keys().parse(&text, purpose).unwrap();
        assert_eq!(token.user(), user(1));
        assert!(keys().binds(&token, bound));
        // To the second.
        let ends = DateTime::from_timestamp(in_ten_minutes().timestamp(), 0).unwrap();
        assert!(!token.has_ended(ends - TimeDelta::milliseconds(1)));
        assert!(token.has_ended(ends));
        let others = of_each(&ada, &augusta);
        let bound_to = others.iter().filter(|other| keys().binds(&token, other)).count();
        assert_eq!(bound_to, 1, "not to the same of another purpose");
    }
}

#[test]
fn a_token_is_void_once_what_it_is_bound_to_has_changed() {
    let (ada, augusta, eve) = (address("ada"), address("augusta"), address("eve"));
    let parsed = |bound: &Bound<'_>| {
        let text = keys().make(user(1), bound, in_ten_minutes()).unwrap();
        keys().parse(&text, bound.purpose()).unwrap()
    };
    let (mine, other) = (credential(1), credential(2));
    let reset = parsed(&Bound::PasswordReset { email: &ada, credential: mine, since: None });
    assert!(!keys().binds(&reset, &Bound::PasswordReset { email: &eve, credential: mine, since: None }));
    assert!(!keys().binds(&reset, &Bound::PasswordReset { email: &ada, credential: other, since: None }));
    let since =
        |version| Bound::PasswordReset { email: &ada, credential: mine, since: Some(Version::new(version)) };
    assert!(!keys().binds(&reset, &since(4)) && !keys().binds(&parsed(&since(4)), &since(9)));
    let change = parsed(&Bound::EmailChange { from: &ada, to: &augusta, credential: mine });
    for bound in [
        Bound::EmailChange { from: &eve, to: &augusta, credential: mine },
        Bound::EmailChange { from: &ada, to: &eve, credential: mine },
        Bound::EmailChange { from: &augusta, to: &ada, credential: mine },
        Bound::EmailChange { from: &ada, to: &augusta, credential: other },
    ] {
        assert!(!keys().binds(&change, &bound), "{bound:?}");
    }
}

#[test]
fn no_octet_of_a_token_can_be_changed_and_none_left_out() {
    let ada = address("ada");
    let bound = Bound::PasswordReset { email: &ada, credential: credential(1), since: None };
    let text = keys().make(user(1), &bound, in_ten_minutes()).unwrap();
    let refused = |text: &str| keys().parse(text, OneTimePurpose::PasswordReset).is_err();
    for index in 0..text.len() {
        assert!(refused(&text[..index]), "cut off at {index}");
        for other in [b'A', b'a', b'0', b'_', b'.', b'=', b' ', text.as_bytes()[index] ^ 1] {
            let mut changed = text.as_bytes().to_vec();
            if changed[index] == other {
                continue;
            }
            changed[index] = other;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            assert!(refused(&changed), "octet {index} is {}", char::from(other));
        }
    }
    for other in [
        format!("{}=", *text),
        format!("{}{}", *text, *text),
        format!("{}.x", *text),
        format!(" {}", *text),
        text.replace(".reset.", ".Reset."),
        text.replace(".reset.", ".verify."),
        String::new(),
        "...".to_owned(),
        "k1.reset.a.b".to_owned(),
        "x".repeat(10_000),
    ] {
        assert!(refused(&other), "{other:?}");
    }
}

#[test]
fn a_token_of_another_deployment_or_of_an_unknown_key_is_none() {
    let ada = address("ada");
    let bound = Bound::PasswordReset { email: &ada, credential: credential(1), since: None };
    let text = keys().make(user(1), &bound, in_ten_minutes()).unwrap();
    let refused = |keys: &OneTimeKeys| keys.parse(&text, OneTimePurpose::PasswordReset).err();
    assert_eq!(refused(&OneTimeKeys::new("other".to_owned(), ring("k1"))), Some(OneTimeError::Forged));
    assert_eq!(refused(&OneTimeKeys::new("tests".to_owned(), ring("k2"))), Some(OneTimeError::UnknownKey));
    let another = Ring::of(KeyId::parse("k1").unwrap(), Secret::new([8; 32]));
    assert_eq!(refused(&OneTimeKeys::new("tests".to_owned(), another)), Some(OneTimeError::Forged));
    // A ring that goes on opens what it made before.
    let rotated = ring("k1").rotated(KeyId::parse("k2").unwrap(), Secret::new([8; 32]));
    let rotated = OneTimeKeys::new("tests".to_owned(), rotated);
    let token = rotated.parse(&text, OneTimePurpose::PasswordReset).unwrap();
    assert!(rotated.binds(&token, &bound));
    assert_ne!(*rotated.make(user(1), &bound, in_ten_minutes()).unwrap(), *text);
}

#[test]
fn a_token_fits_into_a_line_of_a_mail_and_shows_nothing_in_debug_output() {
    let ada = address("ada");
    let bound = Bound::PasswordReset { email: &ada, credential: credential(1), since: None };
    let text = keys().make(user(1), &bound, in_ten_minutes()).unwrap();
    assert_eq!(text.len(), "k1.reset.".len() + 72 + 1 + 43);
    let token = keys().parse(&text, OneTimePurpose::PasswordReset).unwrap();
    let shown = format!("{token:?} {:?} {bound:?}", keys());
    for part in text.split('.').skip(2).chain(["ada@example.com"]) {
        assert!(!shown.contains(part), "{shown}");
    }
    assert_eq!(
        format!("{token:?}"),
        format!("OneTimeToken {{ purpose: PasswordReset, user: {:?}, .. }}", user(1))
    );
}

#[test]
fn a_token_that_would_end_before_1970_is_not_made() {
    let ada = address("ada");
    let bound = Bound::PasswordReset { email: &ada, credential: credential(1), since: None };
    assert!(keys().make(user(1), &bound, DateTime::from_timestamp(-1, 0).unwrap()).is_err());
    assert!(keys().make(user(1), &bound, DateTime::<Utc>::MAX_UTC).is_ok());
}

#[tokio::test]
async fn garbage_asks_no_table() {
    let world = World::start().await;
    let bound = Bound::PasswordReset { email: &address("ada"), credential: credential(1), since: None };
    let text = world.store.one_time.make(user(1), &bound, in_ten_minutes()).unwrap();
    world.meter.reset();
    let forged = keys().make(user(1), &bound, in_ten_minutes()).unwrap();
    for text in [&*forged, &text[..text.len() - 1]] {
        assert!(world.store.one_time.parse(text, OneTimePurpose::PasswordReset).is_err());
    }
    assert!(world.store.one_time.parse(&text, OneTimePurpose::PasswordReset).is_ok());
    assert_eq!(world.meter.taken().requests, Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_token_says_what_it_was_made_of(bits in any::<u128>(), seconds in 0..4_000_000_000_000_i64, which in 0..3_usize) {
        let (ada, augusta) = (address("ada"), address("augusta"));
        let bound = of_each(&ada, &augusta)[which];
        let ends = DateTime::from_timestamp(seconds, 0).unwrap();
        let text = keys().make(user(bits), &bound, ends).unwrap();
        let token = keys().parse(&text, bound.purpose()).unwrap();
        prop_assert_eq!(token.user(), user(bits));
        prop_assert!(keys().binds(&token, &bound));
        prop_assert!(token.has_ended(ends) && !token.has_ended(ends - TimeDelta::seconds(1)));
    }

    #[test]
    fn no_text_but_our_own_is_a_token(text in "(k1\\.(reset|verify|confirm)\\.[A-Za-z0-9_-]{72}\\.[A-Za-z0-9_-]{43}|\\PC{0,200}|[a-z0-9.]{0,170})") {
        for purpose in PURPOSES {
            prop_assert!(keys().parse(&text, purpose).is_err());
        }
    }

    #[test]
    fn parts_of_two_tokens_make_no_third(first in any::<u128>(), second in any::<u128>()) {
        let ada = address("ada");
        let made = |number| {
            let bound = Bound::PasswordReset { email: &ada, credential: credential(number), since: None };
            keys().make(user(number), &bound, in_ten_minutes()).unwrap().to_string()
        };
        let (one, two) = (made(first), made(second));
        let (readable, _) = one.rsplit_once('.').unwrap();
        let (_, tag) = two.rsplit_once('.').unwrap();
        let spliced = format!("{readable}.{tag}");
        let taken = keys().parse(&spliced, OneTimePurpose::PasswordReset).is_ok();
        prop_assert_eq!(taken, first == second);
    }
}
