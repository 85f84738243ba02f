use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use aws_lambda_events::event::streams::DynamoDbEventResponse;
use aws_sdk_dynamodbstreams::error::{DisplayErrorContext, SdkError};
use aws_sdk_dynamodbstreams::operation::get_records::GetRecordsError;
use aws_sdk_dynamodbstreams::operation::get_shard_iterator::GetShardIteratorError;
use aws_sdk_dynamodbstreams::types::ShardIteratorType;

use super::{Pump, delivery, record};

/// Records asked for at once: as many as the service gives.
const PAGE: i32 = 1_000;
/// How long to wait after a request that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What reading a page came to, and the iterator of the next one.
enum Page {
    /// There may be more at once.
    Records(Option<String>),
    /// There was nothing new.
    Empty(Option<String>),
    /// The shard will never have more.
    Ended,
}

/// What a failed request means for the reading of a shard.
enum Setback {
    /// The iterator is too old; the checkpoint gives a new one.
    IteratorExpired,
    /// The records after the checkpoint are gone; what is left begins later.
    Trimmed,
    /// The shard itself is gone.
    Gone,
    /// Anything that may pass.
    Passing,
}

impl<H, F, E> Pump<H>
where
    H: Fn(Event) -> F + Send + Sync + 'static,
    F: Future<Output = Result<DynamoDbEventResponse, E>> + Send + 'static,
    E: Display + Send + 'static,
{
    /// Reads a shard from its checkpoint until its end, until it is gone, or until the pump stops.
    pub(super) async fn read(self: Arc<Self>, shard: String) {
        let mut iterator = None;
        while !self.is_stopped() {
            // Taken, so that whatever goes wrong, the next try begins at the checkpoint.
            match self.read_page(&shard, iterator.take()).await {
                Ok(Page::Ended) => return,
                Ok(Page::Records(next)) => iterator = next,
                Ok(Page::Empty(next)) => {
                    iterator = next;
                    self.empty_reads.send_modify(|count| *count += 1);
                    self.pause(self.settings.idle).await;
                }
                Err(Setback::IteratorExpired) => {
                    self.pause(self.settings.idle).await;
                }
                Err(Setback::Trimmed) => {
                    tracing::warn!(
                        shard,
                        "stream records were trimmed unread; going on with the oldest left"
                    );
                    self.checkpoint.forget(&shard);
                    self.pause(self.settings.idle).await;
                }
                Err(Setback::Gone) => {
                    self.pause(AFTER_FAILURE).await;
                    return;
                }
                Err(Setback::Passing) => {
                    self.pause(AFTER_FAILURE).await;
                }
            }
        }
    }

    async fn read_page(&self, shard: &str, iterator: Option<String>) -> Result<Page, Setback> {
        let iterator = match iterator {
            Some(iterator) => iterator,
            None => self.iterator(shard).await?,
        };
        let request = self.streams.get_records().shard_iterator(iterator).limit(PAGE);
        let page = request.send().await.map_err(|error| records_setback(shard, &error))?;

        let records = page.records.unwrap_or_default();
        let empty = records.is_empty();
        let end = records.last().and_then(record::sequence_number).map(str::to_owned);
        let commits: Vec<EventRecord> = records
            .into_iter()
            .filter(record::concerns_a_log)
            .map(|record| record::for_lambda(record, &self.stream))
            .collect();
        if delivery::deliver(self, shard, commits).await.is_break() {
            return Ok(Page::Records(None));
        }
        if let Some(end) = end {
            self.checkpoint.advance(shard, &end);
        }

        let next = page.next_shard_iterator;
        if next.is_none() {
            self.checkpoint.finish(shard);
            return Ok(Page::Ended);
        }
        Ok(if empty { Page::Empty(next) } else { Page::Records(next) })
    }

    /// An iterator at the checkpoint, or at the oldest record.
    async fn iterator(&self, shard: &str) -> Result<String, Setback> {
        let after = self.checkpoint.after(shard);
        let kind = if after.is_some() {
            ShardIteratorType::AfterSequenceNumber
        } else {
            ShardIteratorType::TrimHorizon
        };
        let answer = self
            .streams
            .get_shard_iterator()
            .stream_arn(&self.stream)
            .shard_id(shard)
            .shard_iterator_type(kind)
            .set_sequence_number(after)
            .send()
            .await
            .map_err(|error| iterator_setback(shard, &error))?;
        answer.shard_iterator.ok_or(Setback::Passing)
    }
}

fn records_setback(shard: &str, error: &SdkError<GetRecordsError>) -> Setback {
    match error.as_service_error() {
        Some(GetRecordsError::ExpiredIteratorException(_)) => Setback::IteratorExpired,
        Some(GetRecordsError::TrimmedDataAccessException(_)) => Setback::Trimmed,
        Some(GetRecordsError::ResourceNotFoundException(_)) => Setback::Gone,
        _ => {
            tracing::warn!(shard, error = %DisplayErrorContext(error), "cannot read the stream");
            Setback::Passing
        }
    }
}

fn iterator_setback(shard: &str, error: &SdkError<GetShardIteratorError>) -> Setback {
    match error.as_service_error() {
        Some(GetShardIteratorError::TrimmedDataAccessException(_)) => Setback::Trimmed,
        Some(GetShardIteratorError::ResourceNotFoundException(_)) => Setback::Gone,
        _ => {
            tracing::warn!(shard, error = %DisplayErrorContext(error), "cannot find the place in the stream");
            Setback::Passing
        }
    }
}
