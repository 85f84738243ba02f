use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use annals::local::pump::PumpSettings;
use aws_lambda_events::event::dynamodb::Event;

use crate::source::{Batches, Source, commit, failed, handled, item, settings};

#[tokio::test]
async fn commits_come_in_order_and_nothing_else_comes() {
    let source = Source::new().await;
    source.commit([1]).await;
    source.write("vault").await;
    source.commit([2]).await;
    let batches = Batches::new();
    let pump = source.pump(&batches, |_| handled()).await;
    batches.until_all([2]).await;
    // What is written while the pump runs comes, too.
    source.write("vault").await;
    source.commit([3]).await;
    batches.until_all([3]).await;
    pump.stop().await;
    assert_eq!(batches.items(), [commit(1), commit(2), commit(3)]);
}

#[tokio::test]
async fn a_record_tells_what_lambda_would_tell() {
    let source = Source::new().await;
    source.commit([1]).await;
    let (events, mut came) = tokio::sync::mpsc::unbounded_channel();
    let pump = source.pump_with(settings(), move |event: Event| {
        let sent = events.send(event);
        async move {
            sent.unwrap();
            handled()
        }
    });
    let pump = pump.await;
    let record =
        tokio::time::timeout(Duration::from_secs(30), came.recv()).await.unwrap().unwrap().records.remove(0);
    pump.stop().await;
    assert_eq!(record.event_name, "INSERT");
    assert_eq!(record.event_source.as_deref(), Some("aws:dynamodb"));
    assert!(record.event_source_arn.unwrap().contains(&source.tables.events));
    assert!(record.change.new_image.is_empty(), "the stream holds keys only");
    assert_eq!(
        serde_json::to_value(&record.change.keys).unwrap(),
        serde_json::json!({ "user": { "S": "ada" }, "item": { "S": commit(1) } })
    );
    assert!(record.change.approximate_creation_date_time.timestamp() > 1_700_000_000);
}

#[tokio::test]
async fn many_commits_come_in_batches_of_at_most_a_hundred() {
    let source = Source::new().await;
    source.commit(1..=1_250).await;
    let batches = Batches::new();
    let pump = source.pump(&batches, |_| handled()).await;
    batches.until_all(1..=1_250).await;
    pump.stop().await;
    assert_eq!(batches.items(), (1..=1_250).map(commit).collect::<Vec<_>>());
    assert!(batches.seen().iter().all(|batch| batch.len() <= 100));
    assert_eq!(batches.seen()[0].len(), 100);
}

#[tokio::test]
async fn a_partial_failure_brings_back_everything_from_the_lowest_one_named() {
    let source = Source::new().await;
    source.commit(1..=10).await;
    let batches = Batches::new();
    let failures = AtomicUsize::new(1);
    let pump = source
        .pump(&batches, move |records| {
            if failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                // Named out of order.
                failed([7, 3, 5].map(|place: usize| records[place].change.sequence_number.clone()))
            } else {
                handled()
            }
        })
        .await;
    batches.until(|batches| batches.len() == 2).await;
    pump.stop().await;
    let expected: Vec<Vec<String>> = vec![(1..=10).map(commit).collect(), (4..=10).map(commit).collect()];
    assert_eq!(batches.seen(), expected);
}

#[tokio::test]
async fn a_poison_record_ends_among_the_dead_letters_and_all_others_get_through() {
    let source = Source::new().await;
    source.commit(1..=40).await;
    let batches = Batches::new();
    let pump = source
        .pump(&batches, |records| {
            if records.iter().any(|record| item(record) == commit(23)) { Err("poison") } else { handled() }
        })
        .await;
    batches.until_all(1..=40).await;
    source.commit([41]).await;
    batches.until_all([41]).await;
    pump.stop().await;

    let letters = source.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "poison");
    assert_eq!(letters[0].attempts, settings().attempts);
    assert!(letters[0].stream.contains(&source.tables.events));
    assert!(!letters[0].shard.is_empty() && !letters[0].sequence_number.is_empty());
    assert!(letters[0].at >= letters[0].written);
    assert_eq!(serde_json::to_value(&letters[0].keys).unwrap()["item"]["S"], commit(23));

    let alone = batches.seen().iter().filter(|batch| **batch == [commit(23)]).count();
    assert_eq!(alone, usize::try_from(settings().attempts).unwrap());
    let fine: Vec<Vec<String>> =
        batches.seen().into_iter().filter(|batch| !batch.contains(&commit(23))).collect();
    let others: Vec<String> = (1..=41).filter(|number| *number != 23).map(commit).collect();
    assert_eq!(fine.concat(), others, "each other record was handled once, in order");
}

#[tokio::test]
async fn a_record_that_is_always_reported_ends_among_the_dead_letters() {
    let source = Source::new().await;
    source.commit(1..=10).await;
    let batches = Batches::new();
    let pump = source
        .pump(&batches, |records| {
            let bad = records.iter().filter(|record| item(record) == commit(4));
            failed(bad.map(|record| record.change.sequence_number.clone()))
        })
        .await;
    batches.until_all(1..=10).await;
    source.commit([11]).await;
    batches.until_all([11]).await;
    pump.stop().await;
    let letters = source.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(serde_json::to_value(&letters[0].keys).unwrap()["item"]["S"], commit(4));
}

#[tokio::test]
async fn a_failure_without_a_known_name_fails_the_whole_batch() {
    for name in [None, Some(String::new()), Some("1234".to_owned())] {
        let source = Source::new().await;
        source.commit(1..=4).await;
        let batches = Batches::new();
        let first = AtomicUsize::new(1);
        let pump = source
            .pump(&batches, move |records| {
                if first.swap(0, Ordering::Relaxed) == 1 {
                    failed([records[2].change.sequence_number.clone(), name.clone()])
                } else {
                    handled()
                }
            })
            .await;
        batches.until(|batches| batches.len() == 3).await;
        pump.stop().await;
        let halves = [vec![commit(1), commit(2)], vec![commit(3), commit(4)]];
        assert_eq!(batches.seen()[1..], halves, "all of it came again, in halves");
    }
}

#[tokio::test]
async fn a_panic_of_the_handler_is_a_failure_like_any_other() {
    let source = Source::new().await;
    source.commit(1..=4).await;
    let batches = Batches::new();
    let pump = source
        .pump(&batches, |records| {
            assert!(records.iter().all(|record| item(record) != commit(2)), "the handler breaks");
            handled()
        })
        .await;
    batches.until_all(1..=4).await;
    source.commit([5]).await;
    batches.until_all([5]).await;
    pump.stop().await;
    assert_eq!(source.dead_letters().len(), 1);
    assert_eq!(source.dead_letters()[0].reason, "the handler panicked");
}

#[tokio::test]
async fn a_handler_that_hangs_is_given_up_after_its_time_limit() {
    let source = Source::new().await;
    source.commit([1]).await;
    let batches = Batches::new();
    let seen = batches.clone();
    let settings = PumpSettings { time_limit: Duration::from_millis(20), ..settings() };
    let pump = source.pump_with(settings, move |event: Event| {
        seen.add(&event);
        let first = seen.seen().len() == 1;
        async move { if first { std::future::pending().await } else { handled() } }
    });
    let pump = pump.await;
    batches.until(|batches| batches.len() == 2).await;
    pump.stop().await;
    assert_eq!(source.dead_letters(), []);
}

#[tokio::test]
async fn a_handler_that_fails_at_first_gets_everything_in_the_end() {
    let source = Source::new().await;
    source.commit(1..=100).await;
    let batches = Batches::new();
    // Six bring a hundred records down to one, which then fails twice.
    let failures = AtomicUsize::new(8);
    let pump = source
        .pump(&batches, move |_| {
            let fails = failures
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok();
            if fails { Err("not yet") } else { handled() }
        })
        .await;
    let last = commit(100);
    batches.until(|batches| batches.iter().skip(8).any(|batch| batch.contains(&last))).await;
    pump.stop().await;
    assert_eq!(source.dead_letters(), []);
    let handled: Vec<String> = batches.seen()[8..].concat();
    assert_eq!(handled, (1..=100).map(commit).collect::<Vec<_>>());
}
