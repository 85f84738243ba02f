//! Properties of values: parsing takes or refuses whatever comes, and what it made it takes again unchanged.

use domain::{
    CommandId, CredentialId, DisplayName, Email, NewPassword, PresentedPassword, SessionId, UserId,
};
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use uuid::Uuid;

/// Anything, and what has at least the outline of an address: most of it is refused, some of it is not.
fn near_addresses() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ \t]?[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~\"@-]{0,70}@[\\PC.]{0,20}[.][a-zA-Z0-9]{0,6}[ .]?",
        "[a-zA-Z0-9+]{1,10}@[a-zA-Z0-9.äÖßéΣςфЖ字。．-]{1,20}[.][a-zA-Z]{2,4}",
        "[a-z]{1,5}@(xn--[a-z0-9-]{1,12}|[a-z]{1,5})[.](xn--[a-z0-9]{1,8}|com)",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_address_that_was_taken_is_taken_again_as_it_is(input in near_addresses()) {
        if let Ok(email) = Email::parse(&input) {
            prop_assert_eq!(Email::parse(email.as_str()), Ok(email.clone()), "{:?}", email.as_str());
            prop_assert!(email.as_str().len() <= 254);
            prop_assert!(email.as_str().bytes().all(|octet| octet.is_ascii_graphic() && !octet.is_ascii_uppercase()));
            prop_assert_eq!(email.as_str().matches('@').count(), 1);
        }
    }

    #[test]
    fn a_plain_address_is_taken_in_any_case_and_is_the_same(
        input in "[a-z0-9]{1,30}([.+_-][a-z0-9]{1,10}){0,2}@([a-z]{1,20}[.]){1,3}[a-z]{2,10}"
    ) {
        let email = Email::parse(&input);
        prop_assert_eq!(email.as_ref().map(Email::as_str), Ok(&*input));
        prop_assert_eq!(Email::parse(&input.to_uppercase()), email);
    }

    #[test]
    fn a_name_that_was_taken_is_taken_again_as_it_is(input in prop_oneof![any::<String>(), "[\\PC\u{300}-\u{36f}]{0,220}"]) {
        if let Ok(name) = DisplayName::parse(&input) {
            prop_assert_eq!(DisplayName::parse(name.as_str()), Ok(name.clone()), "{:?}", name.as_str());
        }
    }

    #[test]
    fn a_password_is_taken_or_refused_and_taken_again_as_it_is(input in prop_oneof![any::<String>(), "[\\PC\u{300}-\u{36f}]{0,1100}"]) {
        if let Ok(password) = PresentedPassword::parse(&input) {
            let text = str::from_utf8(password.as_bytes()).unwrap();
            let again = PresentedPassword::parse(text).unwrap();
prop_assert_eq!(again.as_bytes(), password.as_bytes());
            let set = NewPassword::parse(&input);
            prop_assert_eq!(set.is_ok(), text.chars().count() >= 15);
        } else {
            prop_assert!(NewPassword::parse(&input).is_err());
        }
    }

    #[test]
    fn an_id_is_read_as_it_was_written(bits in any::<u128>()) {
        let bits = Uuid::from_u128(bits);
        prop_assert_eq!(UserId::new(bits).to_string().parse(), Ok(UserId::new(bits)));
        prop_assert_eq!(CommandId::new(bits).to_string().parse(), Ok(CommandId::new(bits)));
        prop_assert_eq!(SessionId::new(bits).to_string().parse(), Ok(SessionId::new(bits)));
        prop_assert_eq!(CredentialId::new(bits).to_string().parse(), Ok(CredentialId::new(bits)));
        let stored = serde_json::to_string(&UserId::new(bits)).unwrap();
        prop_assert_eq!(&stored, &format!("\"{}\"", UserId::new(bits)), "stored as it is shown");
        prop_assert_eq!(serde_json::from_str::<UserId>(&stored).unwrap(), UserId::new(bits));
    }

    #[test]
    fn no_other_text_is_an_id(text in prop_oneof![any::<String>(), "[0-9a-fA-F-]{30,40}"]) {
        if let Ok(id) = text.parse::<UserId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
