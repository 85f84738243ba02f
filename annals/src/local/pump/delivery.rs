use std::fmt::Display;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use aws_lambda_events::event::streams::DynamoDbEventResponse;
use futures::FutureExt as _;

use super::Pump;
use super::dead_letters::DeadLetter;

/// Records that are handed over together, and how often they have failed as they are.
struct Batch {
    records: Vec<EventRecord>,
    failures: u32,
}

impl Batch {
    fn new(records: Vec<EventRecord>) -> Self {
        Self { records, failures: 0 }
    }

    fn last(&self) -> Option<&str> {
        self.records.last().and_then(|record| record.change.sequence_number.as_deref())
    }
}

/// What the handler made of a batch.
enum Outcome {
    Done,
    /// Everything before this place in the batch is done; it is not the first.
    DoneBefore(usize),
    Failed(String),
}

/// Hands the records over in order until each is done or among the dead letters, and moves the checkpoint along. Broken
/// off only when the pump stops; what is left then comes again after the next start.
pub(super) async fn deliver<H, F, E>(
    pump: &Pump<H>,
    shard: &str,
    mut records: Vec<EventRecord>,
) -> ControlFlow<()>
where
    H: Fn(Event) -> F + Send + Sync + 'static,
    F: Future<Output = Result<DynamoDbEventResponse, E>> + Send + 'static,
    E: Display + Send + 'static,
{
    while !records.is_empty() {
        let rest = records.split_off(records.len().min(pump.settings.batch.max(1)));
        // The batch and what it was split into; the next one is the last.
        let mut waiting = vec![Batch::new(records)];
        records = rest;
        while let Some(mut batch) = waiting.pop() {
            if pump.is_stopped() {
                return ControlFlow::Break(());
            }
            match invoke(pump, &batch.records).await {
                Outcome::Done => advance(pump, shard, batch.last()),
                Outcome::DoneBefore(failed) => {
                    let rest = batch.records.split_off(failed);
                    advance(pump, shard, batch.last());
                    waiting.push(Batch::new(rest));
                    pump.pause(pump.settings.back_off).await;
                }
                Outcome::Failed(reason) if batch.records.len() > 1 => {
                    tracing::warn!(
                        shard,
                        records = batch.records.len(),
                        reason,
                        "a batch failed; splitting it"
                    );
                    let half = batch.records.len() / 2;
                    waiting.push(Batch::new(batch.records.split_off(half)));
                    waiting.push(batch);
                    pump.pause(pump.settings.back_off).await;
                }
                Outcome::Failed(reason) => {
                    batch.failures += 1;
                    if batch.failures < pump.settings.attempts {
                        tracing::warn!(shard, failures = batch.failures, reason, "a record failed");
                        pump.pause(back_off(pump, batch.failures)).await;
                        waiting.push(batch);
                    } else if bury(pump, shard, &batch, &reason) {
                        advance(pump, shard, batch.last());
                    } else {
                        // Not to be passed over in silence: tried again until there is room for the letter.
                        pump.pause(pump.settings.back_off_limit).await;
                        waiting.push(batch);
                    }
                }
            }
        }
    }
    ControlFlow::Continue(())
}

/// One invocation, as Lambda makes it: a panic and a time-out are failures like any other.
async fn invoke<H, F, E>(pump: &Pump<H>, records: &[EventRecord]) -> Outcome
where
    H: Fn(Event) -> F,
    F: Future<Output = Result<DynamoDbEventResponse, E>>,
    E: Display,
{
    let mut event = Event::default();
    event.records = records.to_vec();
    let handled = AssertUnwindSafe(async { (pump.handler)(event).await }).catch_unwind();
    match tokio::time::timeout(pump.settings.time_limit, handled).await {
        Ok(Ok(Ok(response))) => judge(&response, records),
        Ok(Ok(Err(error))) => Outcome::Failed(error.to_string()),
        Ok(Err(_)) => Outcome::Failed("the handler panicked".to_owned()),
        Err(_) => Outcome::Failed("the handler took too long".to_owned()),
    }
}

/// Reads the partial failures: the earliest record named is where to go on. A name that is missing, empty or unknown
/// fails the batch as a whole.
fn judge(response: &DynamoDbEventResponse, records: &[EventRecord]) -> Outcome {
    let mut earliest = None;
    for failure in &response.batch_item_failures {
        let place = failure.item_identifier.as_deref().and_then(|named| {
            records.iter().position(|record| record.change.sequence_number.as_deref() == Some(named))
        });
        let Some(place) = place else {
            return Outcome::Failed("the handler named a record that is not in the batch".to_owned());
        };
        earliest = Some(earliest.map_or(place, |earliest: usize| earliest.min(place)));
    }
    match earliest {
        None => Outcome::Done,
        Some(0) => Outcome::Failed("the handler reported the record".to_owned()),
        Some(place) => Outcome::DoneBefore(place),
    }
}

fn advance<H>(pump: &Pump<H>, shard: &str, last: Option<&str>) {
    if let Some(last) = last {
        pump.checkpoint.advance(shard, last);
    }
}

/// Writes the dead letters of a batch that is given up, and says whether that worked.
fn bury<H>(pump: &Pump<H>, shard: &str, batch: &Batch, reason: &str) -> bool {
    batch.records.iter().all(|record| {
        let letter = DeadLetter::new(record, &pump.stream, shard, batch.failures, reason);
        match pump.dead_letters.append(&letter) {
            Ok(()) => {
                tracing::error!(
                    shard,
                    sequence_number = letter.sequence_number,
                    reason,
                    "a record is given up"
                );
                true
            }
            Err(error) => {
                tracing::error!(shard, %error, "cannot write a dead letter");
                false
            }
        }
    })
}

fn back_off<H>(pump: &Pump<H>, failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
    pump.settings.back_off.saturating_mul(factor).min(pump.settings.back_off_limit)
}
