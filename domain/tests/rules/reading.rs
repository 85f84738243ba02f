//! What deserialising takes and what it refuses. Values are trusted, forms are not: code that would overlook a part
//! of an event would fold it wrongly, so it must fail to read the event, and the user is parked until code that knows
//! it runs again.

use domain::{User, UserEvent};
use serde_json::{Value, json};

use crate::fixture::{
    a_month_later, credential, ended_others, ended_session, given, password, password_changed, registered,
    renamed, reused, session, signed_in, signed_out,
};

fn event(stored: &Value) -> Result<UserEvent, String> {
    serde_json::from_value(stored.clone()).map_err(|error| error.to_string())
}

#[test]
fn an_event_that_this_code_does_not_know_is_refused() {
    assert!(event(&json!({"UserFlewToTheMoon": {"session": session(1)}})).is_err());
}

#[test]
fn an_event_that_lacks_a_field_is_refused() {
    let whole = serde_json::to_value(signed_in(1)).unwrap();
    assert_eq!(event(&whole), Ok(signed_in(1)));
    for field in ["session", "ends", "password"] {
        let mut stored = whole.clone();
        stored["UserSignedIn"].as_object_mut().unwrap().remove(field).unwrap();
        assert!(event(&stored).is_err(), "{stored} was taken");
    }
}

#[test]
fn the_proof_of_a_password_is_read_in_either_form_and_in_no_mixture_of_them() {
    let (proof, credential_1) = (serde_json::to_value(password(12)).unwrap(), json!(credential(1)));
    let sign_in = |fields: &[(&str, &Value)]| {
        let mut stored =
            json!({"UserSignedIn": {"session": session(12), "ends": a_month_later().timestamp()}});
        for (name, value) in fields {
            stored["UserSignedIn"][name] = (*value).clone();
        }
        event(&stored)
    };
    let (twelve, null) = (json!(12), json!(null));
    let whole = [("credential", &credential_1), ("attempt", &twelve)];
    assert_eq!(sign_in(&[("password", &proof)]), Ok(signed_in(12)));
    assert_eq!(sign_in(&whole), Ok(signed_in(12)));

    let fuller = json!({"credential": credential(1), "attempt": 12, "since_then": true});
    let emptier = json!({"credential": credential(1)});
    let mixtures: [&[(&str, &Value)]; 11] = [
        &[],
        &whole[..1],
        &whole[1..],
        &[("password", &proof), whole[0], whole[1]],
        &[("password", &proof), whole[0]],
        &[("password", &proof), whole[1]],
        &[("password", &proof), ("attempt", &null)],
        &[("password", &null), whole[0], whole[1]],
        &[("password", &fuller)],
        &[("password", &emptier)],
        &[whole[0], whole[1], ("since_then", &twelve)],
    ];
    for mixture in mixtures {
        assert!(sign_in(mixture).is_err(), "{mixture:?} was taken");
    }
}

#[test]
fn an_event_with_a_field_of_newer_code_is_refused_instead_of_folded_without_it() {
    for known in [
        registered(),
        signed_in(1),
        renamed(Some("Augusta")),
        password_changed(2, [1]),
        signed_out(1),
        ended_session(1),
        ended_others([1]),
        reused(1),
    ] {
        let mut stored = serde_json::to_value(&known).unwrap();
        assert_eq!(event(&stored), Ok(known.clone()));
        stored[known.name()]["since_then"] = json!(true);
        assert!(event(&stored).is_err(), "{stored} was taken");
    }
}

#[test]
fn a_stored_value_that_today_would_be_refused_is_trusted() {
    let stored = json!({"UserRegistered": {
        "email": "\"ada lovelace\"@localhost",
        "name": "x".repeat(300),
        "credential": credential(1),
    }});
    assert_eq!(serde_json::to_value(event(&stored).unwrap()).unwrap(), stored);
}

#[test]
fn a_document_of_another_form_is_refused() {
    let whole = serde_json::to_value(given([registered(), signed_in(1)]).user).unwrap();
    assert!(serde_json::from_value::<User>(whole.clone()).is_ok());
    let mut more = whole.clone();
    more["Registered"]["since_then"] = json!(true);
    assert!(serde_json::from_value::<User>(more).is_err());
    for field in ["email", "credential", "last_success", "created_at", "updated_at", "profile_version"] {
        let mut less = whole.clone();
        less["Registered"].as_object_mut().unwrap().remove(field).unwrap();
        assert!(serde_json::from_value::<User>(less).is_err(), "taken without {field}");
    }
}

#[test]
fn a_document_whose_sessions_are_cut_off_is_refused() {
    let mut stored = serde_json::to_value(given([registered(), signed_in(1), signed_in(2)]).user).unwrap();
    let packed = stored["Registered"]["sessions"].as_str().unwrap().to_owned();
    assert_eq!(packed.len(), 59, "two sessions of 22 octets, in base64");
    for cut in ["A", "AAAA", &packed[..58], &packed[..56], "not base64!"] {
        stored["Registered"]["sessions"] = json!(cut);
        assert!(serde_json::from_value::<User>(stored.clone()).is_err(), "{cut:?} was taken");
    }
}
