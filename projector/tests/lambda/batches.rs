use std::time::Duration;

use domain::Version;
use serde_json::{Value, json};
use testkit::Outcome;

use crate::stream::{FIRST, Stream, batch, failed, processed};

const SECOND: &str = "commit-0000000002";

#[tokio::test(flavor = "multi_thread")]
async fn the_views_of_a_batch_appear() {
    let mut stream = Stream::start().await;
    let (ada, bob) = (stream.ground.register(1).await, stream.ground.register(2).await);
    let mut event = batch(&[
        ("INSERT", ada.to_string(), FIRST),
        ("INSERT", ada.to_string(), "vault"),
        ("INSERT", bob.to_string(), FIRST),
        ("INSERT", ada.to_string(), FIRST),
    ]);
    // Some records come without a time.
    event["Records"][2]["dynamodb"].as_object_mut().unwrap().remove("ApproximateCreationDateTime");
    assert_eq!(stream.ground.shown(ada).await, None);
    assert_eq!(stream.send(event).await, processed());
    for user in [ada, bob] {
        assert_eq!(stream.ground.shown(user).await, Some(Version::new(1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tells_of_no_commit_is_done_with_at_once() {
    let mut stream = Stream::start().await;
    let user = stream.ground.register(1).await;
    let mut removed = batch(&[("REMOVE", user.to_string(), "note")]);
    removed["Records"][0]["userIdentity"] =
        json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"});
    let vault = batch(&[("MODIFY", user.to_string(), "vault")]);
    for event in [removed, vault, json!({"Records": []})] {
        assert_eq!(stream.send(event).await, processed());
    }
    assert_eq!(stream.ground.shown(user).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_earliest_commit_that_could_not_be_processed_is_reported() {
    let mut stream = Stream::start().await;
    let user = stream.ground.register(1).await;
    let client = stream.ground.engine.client();
    client.delete_table().table_name(&stream.ground.tables.views).send().await.unwrap();
    let event = batch(&[
        ("INSERT", user.to_string(), "vault"),
        ("INSERT", user.to_string(), FIRST),
        ("INSERT", user.to_string(), SECOND),
    ]);
    assert_eq!(stream.send(event).await, failed(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_gone_holds_nobody_up_and_one_that_is_removed_is_a_hint() {
    let mut stream = Stream::start().await;
    let mut users = Vec::new();
    for number in 1..=3 {
        users.push(stream.ground.register(number).await);
    }
    let event = batch(&[
        ("INSERT", users[0].to_string(), SECOND),
        ("REMOVE", users[1].to_string(), SECOND),
        ("INSERT", users[2].to_string(), FIRST),
    ]);
    assert_eq!(stream.send(event).await, processed());
    for user in users {
        assert_eq!(stream.ground.shown(user).await, Some(Version::new(1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_batch_fails_alone() {
    let mut stream = Stream::start().await;
    let user = stream.ground.register(1).await;
    for event in [json!({}), json!([]), json!({"Records": [{"eventName": "INSERT"}]}), Value::Null] {
        assert!(matches!(stream.function.invoke(event).await, Outcome::Failed(_)));
    }
    assert_eq!(stream.send(batch(&[("INSERT", user.to_string(), FIRST)])).await, processed());
    assert_eq!(stream.ground.shown(user).await, Some(Version::new(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_are_json_and_hold_no_address() {
    let mut stream = Stream::start().await;
    let user = stream.ground.register(1).await;
    stream.send(batch(&[("INSERT", user.to_string(), FIRST)])).await;
    stream.send(batch(&[("INSERT", user.to_string(), SECOND)])).await;
    let log = stream.function.stop().await;
    let mut messages = Vec::new();
    for line in &log {
        let fields: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(!line.contains("user-1@"), "{line}");
        if fields["_aws"].is_object() {
            assert!(!line.contains(&user.to_string()), "a metric of one user: {line}");
            continue;
        }
        messages.push(fields["message"].as_str().unwrap().to_owned());
        assert!(fields["message"] == "batch" || line.contains(&user.to_string()), "{line}");
    }
    assert_eq!(messages, ["batch", "a commit is gone from the log", "batch"], "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_function_is_ready_before_lambda_gives_it_up() {
    let started_in = Stream::start().await.function.started_in;
    println!("projector asked for its first event after {started_in:?}");
    assert!(started_in < Duration::from_secs(10), "{started_in:?}");
}
