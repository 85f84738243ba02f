use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use chrono::{DateTime, Utc};
use domain::{UserId, Version};
use futures::{StreamExt as _, stream};
use serde_dynamo::AttributeValue;
use storage::{StoredView, Unavailable, Usage, is_vault, usage_of, version_of};
use telemetry::{Measure, measure};

use crate::catch_up::{CatchUpError, CaughtUp, Named, ReadModel, with_causes};

/// Users caught up at the same time.
const AT_ONCE: usize = 16;

/// What a batch says of one user.
struct Hint {
    user: UserId,
    /// The commits that records say were appended; one that was removed counts as [`Version::NONE`].
    named: Named,
    /// The place of the user's first record in the batch.
    first: usize,
}

/// Brings the views of the users that a batch of the log's stream names to the end of their logs.
///
/// The answer names the earliest record whose user could not be caught up for want of DynamoDB: the stream sends it
/// and all that follow it again. A user whose log cannot be read is parked and holds nobody up; nor does a commit that
/// is named and gone.
pub async fn handle(model: &ReadModel, event: Event, now: DateTime<Utc>) -> DynamoDbEventResponse {
    model.log.refresh_keys().await;
    let mut response = DynamoDbEventResponse::default();
    let hints = hints(&event.records);
    if let Some(earliest) = catch_up_all(model, hints, now).await {
        let record = event.records.into_iter().nth(earliest);
        // Without a number, Lambda takes the whole batch to have failed.
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = record.and_then(|record| record.change.sequence_number);
        response.batch_item_failures.push(failure);
    }
    response
}

/// Returns the place of the earliest record whose user could not be caught up.
async fn catch_up_all(model: &ReadModel, hints: Vec<Hint>, now: DateTime<Utc>) -> Option<usize> {
    let begun = Instant::now();
    let users: Vec<UserId> = hints.iter().map(|hint| hint.user).collect();
    let first = hints.iter().map(|hint| hint.first).min();
    let caught_up = async {
        let views = model.views.read_all(&users, false).await?;
        let outcomes: Vec<_> = stream::iter(hints.into_iter().zip(views))
            .map(|(hint, view): (Hint, StoredView)| async move {
                let outcome = model.catch_up_from(view, hint.named, now + begun.elapsed()).await;
                (hint, outcome)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        Ok::<_, Unavailable>(outcomes)
    };
    match usage_of(caught_up).await {
        (Ok(outcomes), usage) => {
            report(&outcomes, begun.elapsed(), usage);
            outcomes.iter().filter(|(_, outcome)| outcome.is_err()).map(|(hint, _)| hint.first).min()
        }
        (Err(error), _) => {
            tracing::warn!(error = with_causes(&error), "a batch is left for later");
            first
        }
    }
}

fn report(outcomes: &[(Hint, Result<CaughtUp, CatchUpError>)], took: Duration, usage: Usage) {
    let (mut projected, mut current, mut parked, mut left, mut gone, mut failed) = (0, 0, 0, 0, 0, 0);
    for (hint, outcome) in outcomes {
        match outcome {
            Ok(CaughtUp::Projected) => projected += 1,
            Ok(CaughtUp::Current) => current += 1,
            Ok(CaughtUp::Parked) => parked += 1,
            Ok(CaughtUp::OfHigherFold | CaughtUp::BeyondLog) => left += 1,
            Ok(CaughtUp::CommitGone) => gone += 1,
            Err(error) => {
                failed += 1;
                tracing::warn!(user = %hint.user, error = with_causes(error), "a user is left for later");
            }
        }
    }
    if parked > 0 {
        measure(Measure::Parked(parked));
    }
    if !outcomes.is_empty() {
        tracing::info!(
            projected,
            current,
            parked,
            left,
            gone,
            failed,
            latency_ms = took.as_secs_f64() * 1_000.0,
            dynamodb_requests = usage.requests,
            read_units = usage.read_units,
            write_units = usage.write_units,
            "batch"
        );
    }
}

/// The users of a batch, each once, in the order of their first records.
fn hints(records: &[EventRecord]) -> Vec<Hint> {
    let mut users: Vec<Hint> = Vec::new();
    let mut places: HashMap<UserId, usize> = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        let Some((user, version)) = commit(record) else { continue };
        let place = *places.entry(user).or_insert(users.len());
        match users.get_mut(place) {
            Some(Hint { named, .. }) => {
                *named = Named { first: named.first.min(version), last: named.last.max(version) };
            }
            None => users.push(Hint { user, named: Named { first: version, last: version }, first: index }),
        }
    }
    users
}

/// The user and the commit that a record says was appended. One that was removed tells no version, but that the log
/// may have become readable; and a vault that was removed, which nothing of ours does, that it no longer is. `None` for
/// other items.
fn commit(record: &EventRecord) -> Option<(UserId, Version)> {
    let key = |name: &str| match record.change.keys.get(name) {
        Some(AttributeValue::S(text)) => Some(text.as_str()),
        _ => None,
    };
    let (user, item, removed) = (key("user")?.parse().ok()?, key("item")?, record.event_name == "REMOVE");
    if removed && is_vault(item) {
        return Some((user, Version::NONE));
    }
    let version = version_of(item)?;
    Some((user, if removed { Version::NONE } else { version }))
}
