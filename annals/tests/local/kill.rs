use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use annals::local::engine::LocalEngine;
use aws_sdk_dynamodb::types::AttributeValue;

/// Tells the victim which folder to write to.
const DATA: &str = "ANNALS_TEST_VICTIM_DATA";

/// Writes until it is killed, and says each number once it has been acknowledged.
#[tokio::test]
#[ignore = "runs in the process that the test below kills"]
async fn victim() {
    let data = std::env::var(DATA).unwrap();
    let engine = LocalEngine::open(data.as_ref()).await.unwrap();
    let client = engine.client();
    for number in 1_u32.. {
        let put = client.put_item().table_name(engine.tables().events);
        let put = put.item("user", AttributeValue::S("ada".into()));
        put.item("item", AttributeValue::S(format!("commit-{number:010}"))).send().await.unwrap();
        println!("acknowledged {number}");
    }
}

#[tokio::test]
async fn a_kill_loses_nothing_acknowledged_and_leaves_the_folder_free() {
    let data = tempfile::tempdir().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::victim", "--ignored", "--nocapture"])
        .env(DATA, data.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let number =
        |line: std::io::Result<String>| line.unwrap().split_once("acknowledged ")?.1.parse::<u32>().ok();
    lines.by_ref().filter_map(number).find(|number| *number >= 50).unwrap();
    // SIGKILL, in the middle of whatever it does.
    victim.kill().unwrap();
    victim.wait().unwrap();
    let acknowledged = lines.filter_map(number).last().unwrap_or(50);
    assert!(data.path().join("engine.url").exists(), "it had no time to tidy up");

    let engine = LocalEngine::attach_or_open(data.path(), Duration::ZERO, || ()).await.unwrap();
    assert!(engine.is_own());
    let query = engine.client().query().table_name(engine.tables().events);
    let query = query.key_condition_expression("#user = :user").expression_attribute_names("#user", "user");
    let query = query.expression_attribute_values(":user", AttributeValue::S("ada".into()));
    let kept = query.send().await.unwrap().count();
    assert!(kept >= i32::try_from(acknowledged).unwrap(), "{kept} of {acknowledged}");
}
