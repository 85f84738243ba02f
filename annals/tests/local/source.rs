//! A stream of commits, and a handler that remembers what it was given and fails as it is told.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals::local::pump::{Consumer, DeadLetter, Pump, PumpSettings, dead_letters_in, stream_of};
use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use aws_sdk_dynamodb::types::AttributeValue;
use storage::tables::Tables;
use testkit::Engine;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a condition may take to come true on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// An engine with tables, and a data folder for the pump.
pub(crate) struct Source {
    pub(crate) engine: Engine,
    pub(crate) tables: Tables,
    pub(crate) data: tempfile::TempDir,
}

/// The items of each batch that a handler was given, in order.
#[derive(Clone)]
pub(crate) struct Batches(watch::Sender<Vec<Vec<String>>>);

/// A pump at work; stops with this value.
pub(crate) struct Pumping {
    stop: watch::Sender<bool>,
    run: JoinHandle<()>,
}

pub(crate) type Answer = Result<DynamoDbEventResponse, &'static str>;

impl Source {
    pub(crate) async fn new() -> Self {
        let engine = Engine::start().await;
        let tables = engine.tables().await;
        Self { engine, tables, data: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// Writes this item of the events table.
    pub(crate) async fn write(&self, item: &str) {
        let put = self.engine.client().put_item().table_name(&self.tables.events);
        let put =
            put.item("user", AttributeValue::S("ada".into())).item("item", AttributeValue::S(item.into()));
        put.send().await.unwrap();
    }

    /// Writes the commits with these numbers.
    pub(crate) async fn commit(&self, numbers: impl IntoIterator<Item = usize>) {
        let client = self.engine.client();
        for number in numbers {
            let put = client.put_item().table_name(&self.tables.events);
            let put = put.item("user", AttributeValue::S("ada".into()));
            put.item("item", AttributeValue::S(commit(number))).send().await.unwrap();
        }
    }

    /// Starts a pump that answers each batch as `answer` says, and tells `batches` of it first.
    pub(crate) async fn pump(
        &self,
        batches: &Batches,
        answer: impl Fn(&[EventRecord]) -> Answer + Send + Sync + 'static,
    ) -> Pumping {
        let batches = batches.clone();
        let answer = Arc::new(answer);
        self.pump_with(settings(), move |event: Event| {
            let (batches, answer) = (batches.clone(), Arc::clone(&answer));
            async move {
                batches.add(&event);
                answer(&event.records)
            }
        })
        .await
    }

    pub(crate) async fn pump_with<H, F>(&self, settings: PumpSettings, handler: H) -> Pumping
    where
        H: Fn(Event) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.pump_from(self.engine.streams_client(), settings, handler).await
    }

    pub(crate) async fn pump_from<H, F>(
        &self,
        streams: aws_sdk_dynamodbstreams::Client,
        settings: PumpSettings,
        handler: H,
    ) -> Pumping
    where
        H: Fn(Event) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let stream = stream_of(&self.engine.client(), &self.tables.events).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let pump = Pump::new(streams, stream, handler, self.data(), settings, stopped);
        Pumping { stop, run: tokio::spawn(pump.run()) }
    }

    pub(crate) fn dead_letters(&self) -> Vec<DeadLetter> {
        let text =
            std::fs::read_to_string(dead_letters_in(self.data(), Consumer::Projector)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Pumping {
    pub(crate) fn tell_to_stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.run.is_finished()
    }

    /// Waits for the batch under way.
    pub(crate) async fn stop(self) {
        self.tell_to_stop();
        tokio::time::timeout(DEADLINE, self.run).await.unwrap().unwrap();
    }

    /// Ends it where it stands, as a kill would.
    pub(crate) async fn kill(self) {
        self.run.abort();
        assert!(self.run.await.unwrap_err().is_cancelled());
    }
}

impl Batches {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }

    pub(crate) fn add(&self, event: &Event) {
        self.0.send_modify(|batches| batches.push(event.records.iter().map(item).collect()));
    }

    pub(crate) fn seen(&self) -> Vec<Vec<String>> {
        self.0.borrow().clone()
    }

    /// Every item in the order it was given, as often as it was.
    pub(crate) fn items(&self) -> Vec<String> {
        self.0.borrow().concat()
    }

    pub(crate) async fn until(&self, condition: impl Fn(&[Vec<String>]) -> bool) {
        let mut batches = self.0.subscribe();
        let came = batches.wait_for(|batches| condition(batches));
        let came = tokio::time::timeout(DEADLINE, came).await.is_ok();
        assert!(came, "did not come: only {:?}", self.seen());
    }

    /// Waits until all these commits have been given at least once.
    pub(crate) async fn until_all(&self, numbers: impl IntoIterator<Item = usize>) {
        let all: HashSet<String> = numbers.into_iter().map(commit).collect();
        self.until(|batches| {
            let given: HashSet<&String> = batches.iter().flatten().collect();
            all.iter().all(|item| given.contains(item))
        })
        .await;
    }
}

/// As in production, without the waiting.
pub(crate) fn settings() -> PumpSettings {
    PumpSettings {
        attempts: 3,
        back_off: Duration::from_millis(1),
        back_off_limit: Duration::from_millis(4),
        idle: Duration::from_millis(5),
        ..PumpSettings::default()
    }
}

pub(crate) fn commit(number: usize) -> String {
    format!("commit-{number:010}")
}

pub(crate) fn item(record: &EventRecord) -> String {
    let keys = serde_json::to_value(&record.change.keys).unwrap();
    keys["item"]["S"].as_str().unwrap().to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "this is what a handler answers")]
pub(crate) fn handled() -> Answer {
    Ok(DynamoDbEventResponse::default())
}

/// The handler could not process these.
#[expect(clippy::unnecessary_wraps, reason = "this is what a handler answers")]
pub(crate) fn failed(sequence_numbers: impl IntoIterator<Item = Option<String>>) -> Answer {
    let mut response = DynamoDbEventResponse::default();
    response.batch_item_failures = sequence_numbers
        .into_iter()
        .map(|named| {
            let mut failure = DynamoDbBatchItemFailure::default();
            failure.item_identifier = named;
            failure
        })
        .collect();
    Ok(response)
}
