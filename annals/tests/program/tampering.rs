//! What the operator is told of a log that somebody changed.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use crate::client::{Client, emails};
use crate::poison::{delete, get, put};
use crate::process::Data;

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_names_whose_log_was_changed_and_the_first_broken_link() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    let users = client.populate(emails(5)).await;
    for email in emails(5) {
        client.login(&email).await;
    }
    data.settled().await;
    assert_eq!(data.run(&["verify"]).await.code, Some(0));
    let tables = data.tables();
    let [edited, swapped, moved, cut, sound] = &users[..] else { panic!("{users:?}") };
    let text = |text: &str| AttributeValue::S(text.to_owned());

    let mut commit = get(&tables, edited, "commit-0000000002").await;
    commit.insert("at".to_owned(), text("2026-01-01T00:00:00.000Z"));
    put(&tables, commit).await;
    let (second, third) =
        (get(&tables, swapped, "commit-0000000002").await, get(&tables, swapped, "commit-0000000003").await);
    for (mut commit, place) in [(second, "commit-0000000003"), (third, "commit-0000000002")] {
        commit.insert("item".to_owned(), text(place));
        put(&tables, commit).await;
    }
    let mut commit = get(&tables, sound, "commit-0000000003").await;
    commit.insert("user".to_owned(), text(moved));
    put(&tables, commit).await;
    delete(&tables, cut, "commit-0000000003").await;

    let verified = data.run(&["verify", "--json"]).await;
    assert_eq!(verified.code, Some(1), "{verified:?}");
    let mut differences: Vec<Value> = verified.json()["differences"].as_array().unwrap().clone();
    differences.sort_by_key(|difference| users.iter().position(|user| *user == difference["user"]));
    let broken =
        |user: &str, version| json!({"user": user, "kind": "log_broken", "code": "seal", "version": version});
    let ends = json!({"user": cut, "kind": "log_ends_before_view", "log": 2, "view": 3});
    assert_eq!(differences, [broken(edited, 2), broken(swapped, 2), broken(moved, 3), ends]);
    let verified = data.run(&["verify"]).await;
    for line in [
        format!("{edited}: the log cannot be read from commit 2 on (seal)"),
        format!("{moved}: the log cannot be read from commit 3 on (seal)"),
        format!("{cut}: the log ends with commit 2, before its view, which shows commit 3"),
    ] {
        assert!(verified.out.contains(&line), "{line}: {verified:?}");
    }

    // What is appended after the view leaves the gap where the commit was.
    assert_eq!(client.login("user-4@example.com").await.status, 200);
    let verified = data.run(&["verify"]).await;
    let line = format!("{cut}: the log cannot be read from commit 3 on (gap)");
    assert!(verified.out.contains(&line), "{verified:?}");
}
