//! Stored forms, written down. Lines are only ever added to the files in `tests/golden`: what was stored once is read
//! for ever. When a test here asks for a line, the code writes a form that the file does not hold yet; append it. When
//! a line no longer loads, the code cannot read what is in people's logs; mend the code.

use std::collections::BTreeSet;

use domain::{FOLD, User, UserEvent};
use serde::{Deserialize, Serialize};

use crate::fixture::{
    a_month_later, ada, change_requested, changed, credential, device, disabled, ended_others, ended_session,
    given, password, password_changed, password_reset, registered, registered_again, released, renamed,
    reset_requested, reused, session, signed_in, signed_out, verification_requested, verified,
};

const EVENTS: &str = include_str!("../golden/events.jsonl");
const DOCUMENTS: &str = include_str!("../golden/documents.jsonl");

/// Every form of every event that this code writes; the fullest form of an event last.
fn written_today() -> Vec<UserEvent> {
    let mut written =
        vec![UserEvent::UserRegistered { email: ada(), name: None, credential: credential(1) }, registered()];
    written.extend(sign_ins());
    written.extend(sign_ins_at_a_device());
    written.extend([signed_out(1), reused(1), renamed(None), renamed(Some("Ada Lovelace"))]);
    written.extend([password_changed(12, []), password_changed(12, [1, 3])]);
    written.extend([ended_session(1), ended_others([1, 3])]);
    written.extend([
        reset_requested(),
        password_reset(2, 7, []),
        password_reset(2, 7, [1, 3]),
        disabled(107),
    ]);
    written.extend(addresses());
    written
}

/// A sign-in without and with what it may leave out.
fn sign_ins() -> [UserEvent; 4] {
    let sign_in = |evicted, lapsed| UserEvent::UserSignedIn {
        session: session(3),
        ends: a_month_later(),
        password: password(12),
        evicted,
        lapsed,
    };
    [
        sign_in(None, vec![]),
        sign_in(Some(session(1)), vec![]),
        sign_in(None, vec![session(2)]),
        sign_in(Some(session(1)), vec![session(2), session(4)]),
    ]
}

/// What happens to addresses.
fn addresses() -> [UserEvent; 7] {
    [
        verification_requested(),
        verified(),
        change_requested(),
        changed(),
        registered_again(),
        released([]),
        released([1, 3]),
    ]
}

/// The leanest and the fullest of those that were counted at a device.
fn sign_ins_at_a_device() -> [UserEvent; 2] {
    let [lean, _, _, full] = sign_ins();
    [lean, full].map(|mut event| {
        if let UserEvent::UserSignedIn { password, .. } = &mut event {
            password.device = Some(device(1));
        }
        event
    })
}

/// The stored names of all variants, which serde tells whoever asks for one that does not exist.
fn names_of_all_events() -> BTreeSet<String> {
    let error = serde_json::from_str::<UserEvent>(r#"{"":{}}"#).unwrap_err().to_string();
    error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

/// What each line of the file means, in the file's order: old forms mean what they meant when they were written.
fn what_the_lines_mean() -> Vec<UserEvent> {
    let mut meant =
        vec![UserEvent::UserRegistered { email: ada(), name: None, credential: credential(1) }, registered()];
    // With `credential` and `attempt` among the event's own fields.
    meant.extend(sign_ins());
    meant.extend([signed_out(1), reused(1), renamed(None), renamed(Some("Ada Lovelace"))]);
    // With both in `password`.
    meant.extend(sign_ins());
    meant.extend([password_changed(12, []), password_changed(12, [1, 3])]);
    meant.extend([ended_session(1), ended_others([1, 3])]);
    meant.extend([reset_requested(), password_reset(2, 7, []), password_reset(2, 7, [1, 3]), disabled(107)]);
    meant.extend(addresses());
    // With `device` in `password`.
    meant.extend(sign_ins_at_a_device());
    meant
}

#[test]
fn every_event_ever_stored_loads_as_what_it_meant() {
    let loaded: Vec<UserEvent> = EVENTS
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    assert_eq!(loaded, what_the_lines_mean(), "say what each line of tests/golden/events.jsonl means");
}

#[test]
fn what_was_read_in_an_old_form_is_written_in_todays() {
    let mut superseded = 0;
    for line in EVENTS.lines() {
        let event: UserEvent = serde_json::from_str(line).unwrap();
        let today = serde_json::to_string(&event).unwrap();
        if today != line {
            superseded += 1;
            let later = EVENTS.lines().skip_while(|other| *other != line).any(|other| other == today);
            assert!(later, "no later line of tests/golden/events.jsonl: {today}");
        }
    }
    assert_eq!(superseded, 4, "the flat sign-ins");
}

#[test]
fn every_event_is_among_the_golden_lines() {
    let names = |events: Vec<UserEvent>| -> BTreeSet<String> {
        events.iter().map(|event| event.name().to_owned()).collect()
    };
    let stored = EVENTS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(names_of_all_events().contains("UserRegistered"));
    assert_eq!(names(stored), names_of_all_events());
    assert_eq!(names(written_today()), names_of_all_events());
}

#[test]
fn what_is_stored_today_is_among_the_golden_lines_and_its_fullest_form_is_the_last() {
    let events = written_today();
    for event in &events {
        let line = serde_json::to_string(event).unwrap();
        assert!(EVENTS.lines().any(|golden| golden == line), "not in tests/golden/events.jsonl: {line}");
    }
    for name in names_of_all_events() {
        let prefix = format!("{{\"{name}\":");
        let fullest = events.iter().rfind(|event| event.name() == name).unwrap();
        let last = EVENTS.lines().rfind(|line| line.starts_with(&prefix));
        assert_eq!(last, Some(&*serde_json::to_string(fullest).unwrap()));
    }
}

#[derive(Serialize, Deserialize)]
struct Golden {
    /// The number of the code that made the document.
    fold: u32,
    document: User,
}

/// Documents of histories that pass every branch of the fold, as this code stores them.
fn folded_today() -> Vec<String> {
    let nameless = UserEvent::UserRegistered { email: ada(), name: None, credential: credential(1) };
    let making_room = UserEvent::UserSignedIn {
        session: session(5),
        ends: a_month_later(),
        password: password(4),
        evicted: Some(session(1)),
        lapsed: vec![session(2)],
    };
    let [lean, _] = sign_ins_at_a_device();
    let histories = [
        vec![nameless],
        vec![registered()],
        vec![registered(), signed_in(1)],
        vec![registered(), signed_in(1), signed_in(2), signed_in(7), making_room],
        vec![registered(), signed_in(1), signed_in(2), signed_in(3), signed_out(1), reused(3)],
        vec![registered(), signed_in(1), registered(), signed_out(9)],
        vec![registered(), signed_in(1), renamed(Some("Ada Lovelace"))],
        vec![registered(), renamed(None)],
        vec![registered(), signed_in(1), signed_in(2), signed_in(3), password_changed(5, [1, 3])],
        vec![
            registered(),
            signed_in(1),
            signed_in(2),
            signed_in(3),
            signed_in(4),
            ended_session(3),
            ended_others([1, 4]),
        ],
        vec![registered(), signed_in(1), reset_requested()],
        vec![registered(), signed_in(1), disabled(101)],
        vec![registered(), signed_in(1), disabled(101), reset_requested(), password_reset(2, 101, [1])],
        vec![registered(), password_reset(2, 0, []), signed_in(7), password_reset(3, 6, [7])],
        vec![registered(), verification_requested(), verified(), registered_again()],
        vec![registered(), signed_in(1), change_requested()],
        vec![registered(), signed_in(1), change_requested(), changed()],
        vec![registered(), signed_in(1), change_requested(), password_changed(5, [])],
        vec![registered(), signed_in(1), signed_in(2), change_requested(), released([1, 2])],
        vec![registered(), signed_in(2), lean],
    ];
    histories
        .into_iter()
        .map(|history| serde_json::to_string(&Golden { fold: FOLD, document: given(history).user }).unwrap())
        .collect()
}

#[test]
fn a_document_that_changes_has_another_fold_number() {
    let tag = format!("{{\"fold\":{FOLD},");
    let golden: Vec<&str> = DOCUMENTS.lines().filter(|line| line.starts_with(&tag)).collect();
    let today = folded_today();
    assert_eq!(golden, today, "raise FOLD and append to tests/golden/documents.jsonl:\n{}", today.join("\n"));
}

#[test]
fn every_document_of_this_fold_loads_and_is_stored_the_same_way() {
    for line in DOCUMENTS.lines() {
        let fold = serde_json::from_str::<serde_json::Value>(line).unwrap()["fold"].as_u64().unwrap();
        assert!(fold <= FOLD.into(), "FOLD was lowered: {line}");
        if fold == u64::from(FOLD) {
            let golden: Golden = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&golden).unwrap(), line);
        }
    }
}
