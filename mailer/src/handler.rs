use std::collections::HashSet;

use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use chrono::{DateTime, Utc};
use domain::{UserId, Version};
use futures::{StreamExt as _, stream};
use serde_dynamo::AttributeValue;
use storage::version_of;

use crate::mailer::{AttendError, Attended, Clock, Mailer};

/// Commits attended to at the same time.
const AT_ONCE: usize = 8;

/// A commit that a record of the batch says was appended.
struct Named {
    user: UserId,
    version: Version,
    /// The place of its first record in the batch.
    place: usize,
}

/// Sends the mails that the commits in a batch of the log's stream call for.
///
/// The answer names the earliest record whose mails could not be sent this time: the stream sends it and all that
/// follow it again, of which those that were sent are not sent again. A commit that cannot be read holds nobody up.
pub async fn handle(mailer: &Mailer, event: Event, now: DateTime<Utc>) -> DynamoDbEventResponse {
    let clock = Clock::at(now);
    mailer.log.refresh_keys().await;
    let outcomes: Vec<_> = stream::iter(named(&event.records))
        .map(|named| async move {
            let outcome = mailer.attend(named.user, named.version, &clock).await;
            (named, outcome)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    report(&outcomes);
    let failed = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).map(|(named, _)| named.place).min();
    let mut response = DynamoDbEventResponse::default();
    if let Some(earliest) = failed {
        let record = event.records.into_iter().nth(earliest);
        // Without a number, Lambda takes the whole batch to have failed.
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = record.and_then(|record| record.change.sequence_number);
        response.batch_item_failures.push(failure);
    }
    response
}

fn report(outcomes: &[(Named, Result<Attended, AttendError>)]) {
    let (mut mails, mut refusals, mut too_late, mut before, mut unreadable, mut gone, mut failed) =
        (0, 0, 0, 0, 0, 0, 0);
    for (named, outcome) in outcomes {
        match outcome {
            Ok(Attended::Silent) => {}
            Ok(Attended::Sent { sent, refused, late }) => {
                mails += sent;
                refusals += refused;
                too_late += late;
            }
            Ok(Attended::Before) => before += 1,
            Ok(Attended::TooOld) => too_late += 1,
            Ok(Attended::Unreadable) => unreadable += 1,
            Ok(Attended::Gone) => gone += 1,
            Err(error) => {
                failed += 1;
                let (user, version) = (named.user, named.version.number());
                tracing::warn!(%user, version, error = with_causes(error), "mails are left for later");
            }
        }
    }
    if !outcomes.is_empty() {
        tracing::info!(
            sent = mails,
            refused = refusals,
            late = too_late,
            before,
            unreadable,
            gone,
            failed,
            "batch"
        );
    }
}

/// The commits of a batch, each once, in the order of their first records.
fn named(records: &[EventRecord]) -> Vec<Named> {
    let mut seen = HashSet::new();
    let commits = records.iter().enumerate().filter_map(|(place, record)| {
        let (user, version) = commit(record)?;
        seen.insert((user, version)).then_some(Named { user, version, place })
    });
    commits.collect()
}

/// The user and the commit that a record says was appended. `None` for whatever else a record can say: no commit is
/// changed, and one that was removed is nothing to tell anybody of.
fn commit(record: &EventRecord) -> Option<(UserId, Version)> {
    let key = |name: &str| match record.change.keys.get(name) {
        Some(AttributeValue::S(text)) => Some(text.as_str()),
        _ => None,
    };
    let appended = record.event_name == "INSERT";
    let (user, version) = (key("user")?.parse().ok()?, version_of(key("item")?)?);
    appended.then_some((user, version))
}

/// An error with its causes, for a log line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    line
}
