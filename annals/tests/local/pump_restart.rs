use std::sync::Arc;
use std::time::Duration;

use annals::local::engine::LocalEngine;
use annals::local::pump::{Pump, stream_of};
use aws_sdk_dynamodb::types::AttributeValue;
use tokio::sync::{Notify, watch};

use crate::source::{Batches, Source, commit, handled, settings};

#[tokio::test]
async fn a_restart_goes_on_where_the_last_run_stopped() {
    let source = Source::new().await;
    let before = Batches::new();
    let pump = source.pump(&before, |_| handled()).await;
    source.commit(1..=5).await;
    before.until_all(1..=5).await;
    pump.stop().await;

    source.commit(6..=8).await;
    let after = Batches::new();
    let pump = source.pump(&after, |_| handled()).await;
    after.until_all(6..=8).await;
    pump.stop().await;
    assert_eq!(after.items(), (6..=8).map(commit).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_under_way_at_a_kill_comes_again() {
    let source = Source::new().await;
    source.commit(1..=3).await;
    let begun = Batches::new();
    let seen = begun.clone();
    let pump = source
        .pump_with(settings(), move |event| {
            seen.add(&event);
            std::future::pending()
        })
        .await;
    begun.until_all(1..=3).await;
    pump.kill().await;

    let again = Batches::new();
    let pump = source.pump(&again, |_| handled()).await;
    again.until_all(1..=3).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_the_batch_under_way() {
    let source = Source::new().await;
    source.commit([1]).await;
    let (begun, go_on) = (Batches::new(), Arc::new(Notify::new()));
    let (seen, wait) = (begun.clone(), Arc::clone(&go_on));
    let pump = source
        .pump_with(settings(), move |event| {
            seen.add(&event);
            let wait = Arc::clone(&wait);
            async move {
                wait.notified().await;
                handled()
            }
        })
        .await;
    begun.until_all([1]).await;
    pump.tell_to_stop();
    tokio::task::yield_now().await;
    assert!(!pump.has_stopped());
    go_on.notify_one();
    pump.stop().await;

    source.commit([2]).await;
    let after = Batches::new();
    let pump = source.pump(&after, |_| handled()).await;
    after.until_all([2]).await;
    pump.stop().await;
    assert_eq!(after.items(), [commit(2)], "the first was finished and not given again");
}

#[tokio::test]
async fn a_broken_checkpoint_or_one_of_another_stream_means_the_beginning() {
    let source = Source::new().await;
    source.commit(1..=2).await;
    let other = r#"{"stream":"arn:other","shards":{}}"#;
    for checkpoint in ["{\"stream\":", "", other] {
        std::fs::write(source.data().join("stream.json"), checkpoint).unwrap();
        let batches = Batches::new();
        let pump = source.pump(&batches, |_| handled()).await;
        batches.until_all(1..=2).await;
        pump.stop().await;
        assert_eq!(batches.items(), [commit(1), commit(2)]);
    }
}

#[tokio::test]
async fn the_pump_survives_a_restart_of_the_engine_under_it() {
    let data = tempfile::tempdir().unwrap();
    let write = async |engine: &LocalEngine, number| {
        let put = engine.client().put_item().table_name(engine.tables().events);
        let put = put.item("user", AttributeValue::S("ada".into()));
        put.item("item", AttributeValue::S(commit(number))).send().await.unwrap();
    };
    for number in 1..=3 {
        let engine = LocalEngine::open(data.path()).await.unwrap();
        let stream = stream_of(&engine.client(), &engine.tables().events).await.unwrap();
        write(&engine, number).await;
        let batches = Batches::new();
        let seen = batches.clone();
        let (stop, stopped) = watch::channel(false);
        let handler = move |event| {
            seen.add(&event);
            async { handled() }
        };
        let pump = Pump::new(engine.streams_client(), stream, handler, data.path(), settings(), stopped);
        let run = tokio::spawn(pump.run());
        batches.until_all([number]).await;
        // Dropping the sender is as good as sending.
        drop(stop);
        tokio::time::timeout(Duration::from_secs(30), run).await.unwrap().unwrap();
        engine.stop().await;
        assert_eq!(batches.items(), [commit(number)], "each came once, whatever the engine was");
    }
}
