//! Stream records, and the filter that the deployed mapping applies to them.

use aws_lambda_events::event::dynamodb::{EventRecord, StreamRecord, StreamViewType};
use aws_sdk_dynamodbstreams::types::{AttributeValue, OperationType, Record};

/// What the sort key of every commit begins with.
const COMMIT: &str = "commit-";
/// The sort key of every vault.
const VAULT: &str = "vault";

/// Whether the record says something to a handler: it is about a commit, or about a vault that was removed. Others,
/// such as those of new vaults, come with a commit.
///
/// As filters of a Lambda event source mapping: `{"dynamodb":{"Keys":{"item":{"S":[{"prefix":"commit-"}]}}}}` or
/// `{"eventName":["REMOVE"],"dynamodb":{"Keys":{"item":{"S":["vault"]}}}}`.
pub(super) fn concerns_a_log(record: &Record) -> bool {
    let keys = record.dynamodb().and_then(|change| change.keys());
    let Some(AttributeValue::S(item)) = keys.and_then(|keys| keys.get("item")) else { return false };
    item.starts_with(COMMIT) || (item == VAULT && record.event_name() == Some(&OperationType::Remove))
}

/// The record's place in its shard.
pub(super) fn sequence_number(record: &Record) -> Option<&str> {
    record.dynamodb()?.sequence_number()
}

/// The record as Lambda gives it to a function. The stream holds keys only, so there are no images.
pub(super) fn for_lambda(record: Record, stream: &str) -> EventRecord {
    let mut event = EventRecord::default();
    event.aws_region = record.aws_region.unwrap_or_default();
    event.event_id = record.event_id.unwrap_or_default();
    event.event_name = record.event_name.map(|name| name.as_str().to_owned()).unwrap_or_default();
    event.event_source = record.event_source;
    event.event_version = record.event_version;
    event.event_source_arn = Some(stream.to_owned());
    if let Some(change) = record.dynamodb {
        event.change = StreamRecord::default();
        event.change.approximate_creation_date_time = change
            .approximate_creation_date_time
            .and_then(|time| chrono::DateTime::from_timestamp(time.secs(), time.subsec_nanos()))
            .unwrap_or_default();
        event.change.keys = change.keys.unwrap_or_default().into();
        event.change.sequence_number = change.sequence_number;
        event.change.size_bytes = change.size_bytes.unwrap_or_default();
        event.change.stream_view_type = Some(StreamViewType::KeysOnly);
    }
    event
}
