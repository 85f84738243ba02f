//! The embedded engine has one shard a table. Here its records are dealt out to two, the second the child of the first,
//! and the answers say so.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use annals::local::engine::LocalEngine;
use annals::local::pump::{Pump, stream_of};
use aws_lambda_events::event::dynamodb::Event;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::answers::with_answers;
use crate::source::{Answer, Batches, commit, handled, settings};

const PARENT: &str = "shardId-00000000-parent";

async fn write(engine: &LocalEngine, numbers: impl IntoIterator<Item = usize>) {
    let client = engine.client();
    for number in numbers {
        let put = client.put_item().table_name(engine.tables().events);
        let put = put.item("user", AttributeValue::S("ada".into()));
        put.item("item", AttributeValue::S(commit(number))).send().await.unwrap();
    }
}

/// Moves every record there is to the parent.
fn split_here(data: &Path) {
    let file = rusqlite::Connection::open(data.join("dynamodb.sqlite")).unwrap();
    file.busy_timeout(Duration::from_secs(5)).unwrap();
    assert!(file.execute("UPDATE _stream_records SET shard_id = ?1", [PARENT]).unwrap() > 0);
}

/// Lists the two shards, each on a page of its own and the child first, and closes the parent after this record.
fn two_shards(last_of_parent: usize) -> impl Fn(&str, Value) -> Option<(u16, Value)> + Send + Sync + 'static {
    let first_page = AtomicBool::new(true);
    move |operation, mut answer| {
        match operation {
            "DescribeStream" => {
                let description = &mut answer["StreamDescription"];
                if first_page.fetch_not(Ordering::Relaxed) {
                    description["Shards"][0]["ParentShardId"] = PARENT.into();
                    description["LastEvaluatedShardId"] = description["Shards"][0]["ShardId"].clone();
                } else {
                    description["Shards"] = json!([{ "ShardId": PARENT }]);
                }
            }
            "GetRecords" => {
                let records = answer["Records"].as_array().unwrap();
                let last = Value::from(commit(last_of_parent));
                if records.iter().any(|record| record["dynamodb"]["Keys"]["item"]["S"] == last) {
                    answer.as_object_mut().unwrap().remove("NextShardIterator").unwrap();
                }
            }
            _ => {}
        }
        Some((200, answer))
    }
}

async fn pump_until<F>(
    engine: &LocalEngine,
    data: &Path,
    batches: &Batches,
    handler: impl Fn(Event) -> F + Send + Sync + 'static,
    last: usize,
) where
    F: Future<Output = Answer> + Send + 'static,
{
    let stream = stream_of(&engine.client(), &engine.tables().events).await.unwrap();
    let streams = with_answers(&engine.streams_client(), two_shards(3));
    let (stop, stopped) = watch::channel(false);
    let run = tokio::spawn(Pump::new(streams, stream, handler, data, settings(), stopped).run());
    batches.until_all([last]).await;
    stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(30), run).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_child_shard_waits_for_its_parent_and_a_finished_shard_is_not_read_again() {
    let data = tempfile::tempdir().unwrap();
    let engine = LocalEngine::open(data.path()).await.unwrap();
    write(&engine, 1..=3).await;
    split_here(data.path());
    write(&engine, 4..=6).await;

    let batches = Batches::new();
    let seen = batches.clone();
    let failures = AtomicUsize::new(3);
    let handler = move |event: Event| {
        seen.add(&event);
        let fails =
            failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        async move { if fails { Err("not yet") } else { handled() } }
    };
    pump_until(&engine, data.path(), &batches, handler, 6).await;
    let of_child = |batch: &Vec<String>| batch.iter().any(|item| *item > commit(3));
    let given = batches.seen();
    let (parents, children) = given.split_at(given.iter().position(of_child).unwrap());
    assert!(parents.len() > 3, "the parent's records failed at first");
    assert_eq!(parents.last().unwrap().last(), Some(&commit(3)));
    assert_eq!(children.concat(), [commit(4), commit(5), commit(6)]);

    write(&engine, [7]).await;
    let batches = Batches::new();
    let seen = batches.clone();
    let handler = move |event: Event| {
        seen.add(&event);
        async { handled() }
    };
    pump_until(&engine, data.path(), &batches, handler, 7).await;
    assert_eq!(batches.items(), [commit(7)]);
}
