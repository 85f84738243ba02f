//! Whatever is read as an event or a document: mutations of the golden lines and plain garbage. What is taken is in one
//! of the forms that are known, and what is not known is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use domain::{User, UserEvent};
use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseResult;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

const EVENTS: &str = include_str!("../golden/events.jsonl");
const DOCUMENTS: &str = include_str!("../golden/documents.jsonl");

/// Stored forms that this code writes: golden lines that it reads and writes again as they are.
fn written_today<T: DeserializeOwned + Serialize>(ever: &[Value]) -> Vec<Value> {
    let same = |line: &&Value| {
        serde_json::from_value::<T>((*line).clone())
            .is_ok_and(|read| serde_json::to_value(read).unwrap() == **line)
    };
    ever.iter().filter(same).cloned().collect()
}

fn golden_events() -> Vec<Value> {
    EVENTS.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn golden_documents() -> Vec<Value> {
    DOCUMENTS.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["document"].clone()).collect()
}

/// What stands where, and of which type.
fn shape(value: &Value) -> BTreeMap<String, &'static str> {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let mut shape = BTreeMap::from([(String::new(), kind(value))]);
    for (variant, fields) in value.as_object().into_iter().flatten() {
        shape.insert(variant.clone(), kind(fields));
        for (name, field) in fields.as_object().into_iter().flatten() {
            shape.insert(format!("{variant}.{name}"), kind(field));
        }
    }
    shape
}

/// Whether a form lies between the leanest and the fullest of the known ones of its variant.
fn is_known(form: &Value, known: &[Value]) -> bool {
    let (form, known) = (shape(form), known.iter().map(shape).collect::<Vec<_>>());
    let variant = |shape: &BTreeMap<String, &'static str>| shape.keys().nth(1).cloned();
    let alike: Vec<_> = known.iter().filter(|shape| variant(shape) == variant(&form)).collect();
    let possible: BTreeSet<_> = alike.iter().flat_map(|shape| shape.iter()).collect();
    let necessary = possible.iter().filter(|(name, _)| alike.iter().all(|shape| shape.contains_key(*name)));
    !alike.is_empty()
        && form.iter().all(|part| possible.contains(&part))
        && necessary.copied().all(|(name, _)| form.contains_key(name))
}

fn garbage() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        "[ -~]{0,12}".prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        // Packed sessions, and what looks like them.
        "[A-Za-z0-9_=-]{0,90}".prop_map(Value::from),
        "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9][.0-9Z+-]{0,7}".prop_map(Value::from),
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let fields = vec(("[a-zA-Z_]{1,12}", inner.clone()), 0..4);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

#[derive(Debug, Clone)]
enum Change {
    Set(Index, Value),
    Remove(Index),
    Add(String, Value),
    /// The field under the name of another one.
    Rename(Index, Index),
    /// The fields under another variant's name.
    Variant(String),
    Around(Value),
}

fn changes() -> impl Strategy<Value = Change> {
    let names =
        ["session", "email", "name", "ends", "attempt", "evicted", "lapsed", "credential", "method", "x"];
    let variants =
        ["UserRegistered", "UserSignedIn", "UserSignedOut", "RefreshTokenReused", "Registered", "UserErased"];
    prop_oneof![
        4 => (any::<Index>(), garbage()).prop_map(|(index, value)| Change::Set(index, value)),
        2 => any::<Index>().prop_map(Change::Remove),
        2 => (select(names.to_vec()), garbage()).prop_map(|(name, value)| Change::Add(name.to_owned(), value)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Rename(from, to)),
        1 => select(variants.to_vec()).prop_map(|name| Change::Variant(name.to_owned())),
        1 => garbage().prop_map(Change::Around),
    ]
}

fn change(value: Value, change: Change) -> Value {
    let Some((variant, Value::Object(mut fields))) =
        value.as_object().and_then(|object| object.clone().into_iter().next())
    else {
        return value;
    };
    let names: Vec<String> = fields.keys().cloned().collect();
    let name = |index: Index| names.get(index.index(names.len().max(1))).cloned().unwrap_or_default();
    match change {
        Change::Set(index, value) => {
            fields.insert(name(index), value);
        }
        Change::Remove(index) => {
            fields.remove(&name(index));
        }
        Change::Add(name, value) => {
            fields.insert(name, value);
        }
        Change::Rename(from, to) => {
            let moved = fields.remove(&name(from)).unwrap_or_default();
            fields.insert(name(to), moved);
        }
        Change::Variant(variant) => return json!({ variant: fields }),
        Change::Around(other) => return json!({ variant: fields, "other": other }),
    }
    json!({ variant: fields })
}

fn mutations(lines: Vec<Value>) -> impl Strategy<Value = Value> {
    let mutated = (select(lines), vec(changes(), 0..4))
        .prop_map(|(line, changes)| changes.into_iter().fold(line, change));
    prop_oneof![9 => mutated, 1 => garbage()]
}

/// What is read was stored in a known form, is written in one, and read again as the same.
fn is_read_as_known_or_not_at_all<T>(stored: &Value, ever: &[Value]) -> TestCaseResult
where
    T: DeserializeOwned + Serialize + Debug + PartialEq,
{
    let Ok(read) = serde_json::from_value::<T>(stored.clone()) else { return Ok(()) };
    prop_assert!(is_known(&without_nulls(stored, ever), ever), "{stored} is read as {read:?}");
    let written = serde_json::to_value(&read).unwrap();
    prop_assert!(is_known(&written, &written_today::<T>(ever)), "{stored} is written as {written}");
    prop_assert_eq!(serde_json::from_value::<T>(written.clone()).unwrap(), read, "{}", written);
    Ok(())
}

/// A field that is null says the same as none, unless a known form has it so.
fn without_nulls(stored: &Value, ever: &[Value]) -> Value {
    let known: BTreeSet<String> = ever
        .iter()
        .flat_map(|form| form.as_object().into_iter().flatten())
        .flat_map(|(_, fields)| fields.as_object().into_iter().flatten())
        .filter(|(_, field)| field.is_null())
        .map(|(name, _)| name.clone())
        .collect();
    let mut stored = stored.clone();
    for fields in
        stored.as_object_mut().into_iter().flatten().filter_map(|(_, fields)| fields.as_object_mut())
    {
        fields.retain(|name, value| !value.is_null() || known.contains(name));
    }
    stored
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_event_is_read_in_a_known_form_or_not_at_all(stored in mutations(golden_events())) {
        is_read_as_known_or_not_at_all::<UserEvent>(&stored, &golden_events())?;
    }

    #[test]
    fn a_document_is_read_in_a_known_form_or_not_at_all(stored in mutations(golden_documents())) {
        // Of nobody, there is a document without fields and no golden line.
        if stored != "Unregistered" {
            is_read_as_known_or_not_at_all::<User>(&stored, &golden_documents())?;
        }
    }

    #[test]
    fn octets_changed_in_a_stored_line_do_no_harm(
        line in select(EVENTS.lines().chain(DOCUMENTS.lines()).collect::<Vec<_>>()),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut octets = line.as_bytes().to_vec();
        for (index, octet) in changes {
            let index = index.index(octets.len());
            octets[index] = octet;
        }
        let golden = golden_events();
        if let Ok(stored) = serde_json::from_slice::<Value>(&octets) {
            is_read_as_known_or_not_at_all::<UserEvent>(&stored, &golden)?;
        }
        // Straight from the octets, as the log is read: a name that stands there twice shows only here.
        if let Ok(read) = serde_json::from_slice::<UserEvent>(&octets) {
            prop_assert!(is_known(&serde_json::to_value(&read).unwrap(), &golden));
        }
    }
}

#[test]
fn the_golden_lines_themselves_are_known_forms() {
    let known = written_today::<UserEvent>(&golden_events());
    assert!(known.len() >= 4, "{known:?}");
    assert!(known.iter().all(|line| is_known(line, &known)));
    for unknown in
        [json!({"UserSignedOut": {}}), json!({"UserErased": {}}), json!("UserSignedOut"), json!(null)]
    {
        assert!(!is_known(&unknown, &known), "{unknown}");
    }
}
