use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use chrono::{DateTime, Utc};
use lambda_runtime::Diagnostic;
use serde::Deserialize;
use serde_json::Value;
use storage::{Usage, usage_of};
use telemetry::{Measure, measure};

use crate::catch_up::with_causes;
use crate::replay::{Replay, ReplayError, RetryReport};
use crate::{ReadModel, handle};

/// Why an invocation failed: Lambda gives the same event again.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// It is of something else. What was wrong with it is not said: that could quote it.
    #[error("neither a batch of a DynamoDB stream nor {{\"retry\": \"parked\"}}")]
    NotAnEvent,
    /// The parked could not all be tried.
    #[error("the parked could not all be tried again")]
    Retry(#[source] ReplayError),
    /// The answer cannot be written.
    #[error("the answer cannot be written")]
    Answer(#[source] serde_json::Error),
}

/// A batch, as far as it is of use: what else a record says, or leaves out, must not hold up a shard.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(default)]
    event_name: String,
    dynamodb: Change,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    keys: serde_dynamo::Item,
    sequence_number: Option<String>,
}

/// The schedule's event.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Schedule {
    retry: Retried,
}

/// Who is tried again.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Retried {
    Parked,
}

/// Whatever the function is invoked with: a batch of the log's stream ([`handle`]), or the schedule's
/// `{"retry": "parked"}`, which tries all parked users again and answers with a [`RetryReport`].
pub async fn answer(model: &ReadModel, event: Value, now: DateTime<Utc>) -> Result<Value, InvocationError> {
    if event.get("retry").is_some() {
        let Schedule { retry: Retried::Parked } =
            Schedule::deserialize(event).map_err(|_| InvocationError::NotAnEvent)?;
        let report = retry(model, now).await?;
        return serde_json::to_value(report).map_err(InvocationError::Answer);
    }
    let Batch { records } = Batch::deserialize(event).map_err(|_| InvocationError::NotAnEvent)?;
    let mut batch = Event::default();
    batch.records = records.into_iter().map(EventRecord::from).collect();
    serde_json::to_value(handle(model, batch, now).await).map_err(InvocationError::Answer)
}

async fn retry(model: &ReadModel, now: DateTime<Utc>) -> Result<RetryReport, InvocationError> {
    model.log.refresh_keys().await;
    let (report, usage) = usage_of(Replay::of(model.clone()).retry_parked(now)).await;
    let report = report.map_err(|error| {
        tracing::error!(error = with_causes(&error), "the parked were not all tried again");
        InvocationError::Retry(error)
    })?;
    measure(Measure::Parked(report.parked));
    let (RetryReport { freed, parked }, Usage { requests, read_units, write_units }) = (report, usage);
    tracing::info!(freed, parked, dynamodb_requests = requests, read_units, write_units, "retry");
    Ok(report)
}

impl From<Record> for EventRecord {
    fn from(Record { event_name, dynamodb }: Record) -> Self {
        let mut record = Self::default();
        record.event_name = event_name;
        record.change.keys = dynamodb.keys;
        record.change.sequence_number = dynamodb.sequence_number;
        record
    }
}

impl From<InvocationError> for Diagnostic {
    fn from(error: InvocationError) -> Self {
        Self { error_type: "InvocationError".to_owned(), error_message: error.to_string() }
    }
}
