//! What AWS answers and the embedded engine never does.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::answers::with_answers;
use crate::source::{Batches, Pumping, Source, commit, handled, settings};

/// A pump whose n-th call of this operation (from 0) is answered with this error.
async fn pump_with_setback(
    source: &Source,
    batches: &Batches,
    (operation, call, error): (&'static str, usize, &'static str),
) -> Pumping {
    let calls = AtomicUsize::new(0);
    let streams = with_answers(&source.engine.streams_client(), move |called, _| {
        let strikes = called == operation && calls.fetch_add(1, Ordering::Relaxed) == call;
        strikes.then(|| (400, json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{error}") })))
    });
    let batches = batches.clone();
    let handler = move |event| {
        batches.add(&event);
        async { handled() }
    };
    source.pump_from(streams, settings(), handler).await
}

#[tokio::test]
async fn an_expired_iterator_is_replaced_at_the_checkpoint() {
    let source = Source::new().await;
    source.commit(1..=3).await;
    let batches = Batches::new();
    let pump = pump_with_setback(&source, &batches, ("GetRecords", 1, "ExpiredIteratorException")).await;
    batches.until_all(1..=3).await;
    source.commit([4]).await;
    batches.until_all([4]).await;
    pump.stop().await;
    assert_eq!(batches.items(), (1..=4).map(commit).collect::<Vec<_>>(), "nothing came twice");
}

#[tokio::test]
async fn an_iterator_that_expires_before_the_first_record_starts_over() {
    let source = Source::new().await;
    source.commit(1..=3).await;
    let batches = Batches::new();
    let pump = pump_with_setback(&source, &batches, ("GetRecords", 0, "ExpiredIteratorException")).await;
    batches.until_all(1..=3).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_checkpoint_whose_successors_were_trimmed_means_the_oldest_record_left() {
    for operation in ["GetShardIterator", "GetRecords"] {
        let source = Source::new().await;
        source.commit(1..=2).await;
        let before = Batches::new();
        let pump = source.pump(&before, |_| handled()).await;
        before.until_all(1..=2).await;
        pump.stop().await;

        source.commit([3]).await;
        let batches = Batches::new();
        let pump = pump_with_setback(&source, &batches, (operation, 0, "TrimmedDataAccessException")).await;
        batches.until_all([3]).await;
        pump.stop().await;
        assert_eq!(batches.items(), (1..=3).map(commit).collect::<Vec<_>>(), "{operation}");
    }
}

#[tokio::test]
async fn any_other_refusal_is_waited_out() {
    for operation in ["DescribeStream", "GetShardIterator", "GetRecords"] {
        let source = Source::new().await;
        source.commit(1..=2).await;
        let batches = Batches::new();
        let pump = pump_with_setback(&source, &batches, (operation, 0, "ResourceNotFoundException")).await;
        batches.until_all(1..=2).await;
        pump.stop().await;
        assert_eq!(batches.items(), [commit(1), commit(2)], "{operation}");
    }
}
