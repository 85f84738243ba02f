//! What the local stack keeps in files besides tables. Lines are only ever added to the files in `tests/golden`.

use annals::local::pump::DeadLetter;
use serde_dynamo::AttributeValue;

const DEAD_LETTERS: &str = include_str!("../golden/dead-letters.jsonl");

/// What each line means.
fn letters() -> Vec<DeadLetter> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let keys = [("user", text("01935a00-0000-7000-8000-000000000ada")), ("item", text("commit-0000000001"))];
    let keys: std::collections::HashMap<String, AttributeValue> =
        keys.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    vec![DeadLetter {
        at: "2026-11-22T12:00:00.250Z".parse().unwrap(),
        reason: "the handler reported it".to_owned(),
        attempts: 3,
        stream: "arn:aws:dynamodb:local:0:table/events/stream/1".to_owned(),
        shard: "shardId-1".to_owned(),
        sequence_number: "000000000000000000042".to_owned(),
        written: "2026-11-22T11:59:59Z".parse().unwrap(),
        keys: keys.into(),
    }]
}

#[test]
fn a_dead_letter_is_read_and_written_as_it_was() {
    let read: Vec<DeadLetter> =
        DEAD_LETTERS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, letters());
    for letter in letters() {
        // Of two keys, no order is promised.
        let written = serde_json::to_value(&letter).unwrap();
        let same = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap() == written;
        assert!(DEAD_LETTERS.lines().any(same), "not in tests/golden/dead-letters.jsonl: {written}");
    }
}
