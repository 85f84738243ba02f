//! Whatever a client sends, mutations of good requests and plain garbage: to the router as it comes, and as an event of
//! API Gateway. No answer is a defect of ours, and all have the one form.

mod asked;
mod ground;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::{TestCaseResult, TestError, TestRunner};
use serde_json::{Value, json};
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::fmt::MakeWriter;

use self::asked::{Asked, MARK, PASSWORD, good, good_requests, json_value, requests};
use self::ground::{Ground, promised};

/// Log lines, as they are written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// So many cases, or what `PROPTEST_CASES` says where that is more.
fn cases(cases: u32) -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let asked_for = std::env::var_os("PROPTEST_CASES").map_or(0, |_| default.cases);
    ProptestConfig { cases: cases.max(asked_for), ..default }
}

/// Tells of the smallest case that failed.
fn told<T: Debug>(outcome: Result<(), TestError<T>>) {
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn whatever_is_sent_is_answered_in_one_form_and_never_with_a_defect() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(lines.clone()).finish();
    // With a second subscriber in the process, each thread decides for itself whether a line is written.
    let _second = tracing::Dispatch::new(NoSubscriber::new());
    let _guard = tracing::subscriber::set_default(subscriber);
    let ground = Ground::new();
    let seen = RefCell::new(BTreeSet::new());
    let ask = |asked: Asked| -> TestCaseResult {
        for answer in ground.ask(&asked) {
            promised(&asked, &answer)?;
            seen.borrow_mut().insert(answer.status);
        }
        Ok(())
    };
    // Each as it is, so that no kind of answer is left to chance that only such a one gets.
    good_requests().into_iter().try_for_each(ask).unwrap();
    told(TestRunner::new(cases(192)).run(&requests(), ask));
    let usual = BTreeSet::from([200, 201, 202, 204, 400, 401, 404, 405, 409, 413, 415, 422]);
    assert!(seen.borrow().is_superset(&usual), "the cases reach everything: {:?}", seen.borrow());
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("\"signed in\""), "the log was captured");
    for line in log.lines() {
        assert!(!line.contains(MARK) && !line.contains("panicked"), "{line}");
        assert!(!line.contains("\"ERROR\""), "{line}");
    }
}

/// Events with members that are missing, of another type, or not of API Gateway at all.
fn events() -> impl Strategy<Value = Value> {
    let members = select(vec![
        "/rawPath",
        "/rawQueryString",
        "/headers",
        "/headers/user-agent",
        "/requestContext",
        "/requestContext/http",
        "/requestContext/http/method",
        "/requestContext/http/sourceIp",
        "/body",
        "/isBase64Encoded",
        "/version",
    ]);
    let changed = (requests(), vec((members, json_value()), 1..4)).prop_map(|(asked, changes)| {
        let mut event = asked.event();
        for (member, value) in changes {
            if let Some(place) = event.pointer_mut(member) {
                *place = value;
            }
        }
        event
    });
    let cut = (requests(), any::<Index>()).prop_map(|(asked, index)| {
        let mut event = asked.event();
        let members = event.as_object_mut().unwrap();
        let name = members.keys().nth(index.index(members.len())).unwrap().clone();
        members.remove(&name);
        event
    });
    prop_oneof![3 => changed, 1 => cut, 1 => json_value()]
}

#[test]
fn what_is_no_event_of_the_gateway_is_told_so_and_not_quoted() {
    let ground = Ground::new();
    let refused = RefCell::new(0);
    let outcome = TestRunner::new(cases(256)).run(&events(), |event| {
        let path = event["rawPath"].as_str().unwrap_or("/").to_owned();
        match ground.invoke(event) {
            // Whatever method it was: an answer to HEAD is the same without a body.
            Ok(answer) if answer.body.is_empty() => prop_assert!(answer.status < 500),
            Ok(answer) => promised(&good("GET", &path, None), &answer)?,
            Err(error) => {
                prop_assert_eq!(format!("{error:?}"), "NotARequest");
                *refused.borrow_mut() += 1;
            }
        }
        Ok(())
    });
    told(outcome);
    assert!(*refused.borrow() > 0);
}

#[test]
fn ten_thousand_headers_and_a_header_of_a_megabyte_are_only_a_request() {
    let ground = Ground::new();
    let mut many = good("GET", "/me", None);
    many.headers.extend((0..10_000).map(|number| (format!("x-{number}"), b"x".to_vec())));
    let mut long = good("GET", "/me", None);
    long.headers.push(("x-long".to_owned(), vec![b'x'; 1 << 20]));
    let mut key = good("POST", "/register", Some(json!({"email": "{fresh}", "password": PASSWORD})));
    key.headers.push(("idempotency-key".to_owned(), vec![b'k'; 1 << 20]));
    let mut token = good("GET", "/me", None);
    token.headers = vec![("authorization".to_owned(), [b"Bearer ", &vec![b'x'; 1 << 20][..]].concat())];
    let mut query = good("GET", "/me", None);
    query.query = format!("{}min_version=1", "x=y&".repeat(15_000));
    for (asked, status) in [(many, 200), (long, 200), (key, 422), (token, 401), (query, 200)] {
        let answers = ground.ask(&asked);
        assert_eq!(answers.len(), 2);
        for answer in answers {
            promised(&asked, &answer).unwrap();
            assert_eq!(answer.status, status, "{:?}", answer.headers);
        }
    }
}

/// A `min_version`, and the rest of a query, as somebody might write it.
fn queries() -> impl Strategy<Value = String> {
    prop_oneof![
        "(min_version|=|&|[0-9]{1,3}|[+%-]|%31|x){0,8}",
        "min_version=[0-9]{1,22}",
        "(&?min_version=[0-9]){1,3}"
    ]
}

#[test]
fn a_min_version_is_one_number_in_digits_or_not_acceptable() {
    let ground = Ground::new();
    let outcome = TestRunner::new(cases(64)).run(&queries(), |query| {
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let values: Vec<&str> =
            pairs.filter(|(name, _)| *name == "min_version").map(|(_, value)| value).collect();
        let is_number = |digits: &str| digits.parse::<u64>().is_ok() && !digits.starts_with('+');
        let acceptable = values.len() <= 1 && values.iter().all(|value| is_number(value));
        let mut asked = good("GET", "/me", None);
        asked.query.clone_from(&query);
        for answer in ground.ask(&asked) {
            prop_assert_eq!(answer.status, if acceptable { 200 } else { 422 }, "{}", query);
        }
        Ok(())
    });
    told(outcome);
}

#[test]
fn an_authorization_is_one_bearer_token_or_none() {
    let ground = Ground::new();
    let values = prop_oneof![
        "[Bb][Ee][Aa][Rr][Ee][Rr] {0,2}[{]access[}]",
        "(Bearer|Basic|DPoP|Bearer:)?[ \t]?[{]access[}][ ,;=.A-Za-z]{0,3}",
        "Bearer [!-~]{0,60}",
        "[ -~]{0,30}",
    ];
    let outcome = TestRunner::new(cases(64)).run(&vec(values, 0..3), |values| {
        let mut asked = good("GET", "/me", None);
        asked.headers =
            values.iter().map(|value| ("authorization".to_owned(), value.clone().into_bytes())).collect();
        // White space around a value is not part of it, where HTTP comes first.
        let alone = matches!(&values[..], [value] if value.eq_ignore_ascii_case("bearer {access}"));
        for answer in ground.ask(&asked) {
            promised(&asked, &answer)?;
            prop_assert_eq!(answer.status, if alone { 200 } else { 401 });
        }
        Ok(())
    });
    told(outcome);
}

#[test]
fn an_idempotency_key_makes_one_user_however_it_is_written() {
    let ground = Ground::new();
    let keys = prop_oneof![vec(any::<u8>(), 0..6), "[ -~]{0,300}".prop_map(String::into_bytes)];
    let outcome = TestRunner::new(cases(48)).run(&(any::<u64>(), keys), |(number, key)| {
        let body = json!({"email": format!("key{number}@example.com"), "password": PASSWORD});
        let mut asked = good("POST", "/register", Some(body));
        asked.headers.push(("idempotency-key".to_owned(), key.clone()));
        let visible =
            !key.is_empty() && key.iter().all(|octet| matches!(octet, b' '..=b'~') && *octet != b',');
        let mut users = Vec::new();
        for _ in 0..2 {
            // A line break cannot come over HTTP.
            let Some(request) = asked.request() else { return Ok(()) };
            let answer = ground.send(request);
            promised(&asked, &answer)?;
            prop_assert_eq!(answer.status, if visible && key.len() <= 255 { 201 } else { 422 });
            users.push(serde_json::from_slice::<Value>(&answer.body).unwrap()["user_id"].clone());
        }
        prop_assert_eq!(&users[0], &users[1]);
        Ok(())
    });
    told(outcome);
}
