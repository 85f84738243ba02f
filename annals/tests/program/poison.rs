//! Poison in the tables of a running server: what its users and its operator meet, until the cause is gone.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client as Tables;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use testkit::commit_after;

use crate::client::{ADA, Answer, Client, emails};
use crate::process::{Data, Ended, until};

pub(crate) type Item = HashMap<String, AttributeValue>;

const EVENTS: &str = "annals-events";

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn key(user: &str, item: &str) -> Item {
    Item::from([("user".to_owned(), text(user)), ("item".to_owned(), text(item))])
}

pub(crate) async fn get(tables: &Tables, user: &str, item: &str) -> Item {
    let get = tables.get_item().table_name(EVENTS).set_key(Some(key(user, item))).consistent_read(true);
    get.send().await.unwrap().item.unwrap()
}

pub(crate) async fn put(tables: &Tables, item: Item) {
    tables.put_item().table_name(EVENTS).set_item(Some(item)).send().await.unwrap();
}

pub(crate) async fn delete(tables: &Tables, user: &str, item: &str) {
    tables.delete_item().table_name(EVENTS).set_key(Some(key(user, item))).send().await.unwrap();
}

async fn items_of(tables: &Tables, user: &str) -> Vec<Item> {
    let query = tables.query().table_name(EVENTS).key_condition_expression("#user = :user");
    let query = query.expression_attribute_names("#user", "user");
    query.expression_attribute_values(":user", text(user)).send().await.unwrap().items.unwrap()
}

/// The list of the parked, once it is as long as this.
async fn parked(data: &Data, long: usize) -> (Ended, Vec<Value>) {
    let waiting = async {
        loop {
            let listed = data.run(&["parked", "--json"]).await;
            if listed.out.lines().count() == long {
                let users = listed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                return (listed, users);
            }
        }
    };
    let patience = std::time::Duration::from_mins(1);
    tokio::time::timeout(patience, waiting).await.unwrap_or_else(|_| panic!("never {long} are parked"))
}

#[track_caller]
fn assert_fails_cleanly(answer: &Answer) {
    assert_eq!(answer.status, 500, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.json()["type"], "urn:annals:problem:internal");
    for told in ["commit", "seal", "event", "vault", "broken"] {
        assert!(!answer.text.contains(told), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poisoned_users_are_parked_listed_and_repaired_and_nobody_else_notices() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    let users = client.populate(emails(4)).await;
    let [unknown, broken, vaultless, sound] = &users[..] else { panic!("{users:?}") };
    data.settled().await;
    let none = data.run(&["parked"]).await;
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (Some(0), "0 users parked\n", ""));
    let tables = data.tables();

    // One gets an event of newer code, the seal of one is broken, one loses the vault.
    let (vault, second) =
        (get(&tables, unknown, "vault").await, get(&tables, unknown, "commit-0000000002").await);
    let event = r#"[{"event":{"UserGrewWings":{}},"meta":{"command":"GrowWings"}}]"#;
    put(&tables, commit_after(&data.keys(), &vault, &second, event)).await;
    let whole = get(&tables, broken, "commit-0000000002").await;
    let mut damaged = whole.clone();
    let mut sealed = whole["sealed"].as_b().unwrap().clone().into_inner();
    *sealed.last_mut().unwrap() ^= 1;
    damaged.insert("sealed".to_owned(), AttributeValue::B(Blob::new(sealed)));
    put(&tables, damaged).await;
    let vault = get(&tables, vaultless, "vault").await;
    delete(&tables, vaultless, "vault").await;

    // The broken commit is one that the view shows: a repair, or a verification, meets it.
    let repaired = data.run(&["repair"]).await;
    assert_eq!(repaired.code, Some(1), "{repaired:?}");
    let (listed, mut found) = parked(&data, 3).await;
    assert_eq!((listed.code, listed.err.as_str()), (Some(1), ""));
    found.sort_by_key(|user| users.iter().position(|id| *id == user["user"]));
    let deploy = "deploy the code that wrote it, then run `annals repair`";
    let put_back =
        "somebody has changed the table: put back what was there, from a backup, then run `annals repair`";
    for (found, expected) in found.iter_mut().zip([
        json!({"user": unknown, "reason": "unknown-event", "log": "broken", "code": "unknown-event",
            "version": 3, "hint": deploy}),
        json!({"user": broken, "reason": "seal", "log": "broken", "code": "seal", "version": 2,
            "hint": put_back}),
        json!({"user": vaultless, "reason": "no-vault", "log": "broken", "code": "no-vault",
            "hint": put_back}),
    ]) {
        let since = found.as_object_mut().unwrap().remove("since").unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(since.as_str().unwrap()).is_ok(), "{since}");
        assert_eq!(*found, expected);
    }
    let listed = data.run(&["parked"]).await;
    let line = format!("{unknown}: parked since 20");
    assert!(listed.out.contains(&line) && listed.out.ends_with("\n3 users parked\n"), "{listed:?}");
    let rest =
        format!("(unknown-event); now the log cannot be read from commit 3 on (unknown-event): {deploy}");
    assert!(listed.out.contains(&rest), "{listed:?}");
    for command in ["verify", "rebuild", "repair"] {
        let ended = data.run(&[command]).await;
        assert_eq!(ended.code, Some(1), "{command}: {ended:?}");
    }
    let alarms = |err: &str| {
        let lines = err.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["alarm"] == "parked" && line["level"] == "ERROR").collect::<Vec<_>>()
    };
    let of_unknown = |line: &Value| line["user"] == **unknown && line["code"] == "unknown-event";
    until("an alarm", || alarms(&server.err()).iter().any(of_unknown)).await;
    assert_eq!(client.login("user-4@example.com").await.status, 200, "{sound} notices nothing");

    // The causes go: two by records of the stream, one for the repair to find out.
    delete(&tables, unknown, "commit-0000000003").await;
    put(&tables, whole).await;
    put(&tables, vault).await;
    let (listed, found) = parked(&data, 1).await;
    assert_eq!((listed.code, &found[0]["user"]), (Some(1), &json!(vaultless)));
    assert_eq!((&found[0]["log"], &found[0]["hint"]), (&json!("readable"), &json!("run `annals repair`")));
    assert_eq!(data.run(&["verify"]).await.code, Some(1), "one is parked without a reason");
    assert_eq!(data.run(&["repair"]).await.code, Some(0));
    let (listed, _) = parked(&data, 0).await;
    assert_eq!(listed.code, Some(0));
    let verified = data.run(&["verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    for email in emails(4) {
        assert_eq!(client.login(&email).await.status, 200, "{email}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_parked_user_asks_for_fails_cleanly_and_loses_nothing() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    let user = client.register(ADA).await.text_of("user_id");
    let signed_in = client.login(ADA).await;
    let (access, refresh) = (signed_in.text_of("access_token"), signed_in.text_of("refresh_token"));
    data.settled().await;
    let profile = client.me(&access).await;
    let tables = data.tables();
    let (vault, second) =
        (get(&tables, &user, "vault").await, get(&tables, &user, "commit-0000000002").await);
    let event = r#"[{"event":{"UserGrewWings":{}},"meta":{"command":"GrowWings"}}]"#;
    let poison = commit_after(&data.keys(), &vault, &second, event);

    for poison in [Some(poison), None] {
        match &poison {
            Some(commit) => put(&tables, commit.clone()).await,
            None => delete(&tables, &user, "vault").await,
        }
        parked(&data, 1).await;
        let before = items_of(&tables, &user).await;
        assert_fails_cleanly(&client.login(ADA).await);
        assert_fails_cleanly(&client.logout(&access).await);
        // What is known to be right is still shown; what would need the log is not made up.
        let shown = client.me(&access).await;
        assert_eq!((shown.status, &shown.text), (profile.status, &profile.text));
        if poison.is_some() {
            assert_fails_cleanly(&client.me_since(&access, 3).await);
        }
        assert_eq!(items_of(&tables, &user).await, before, "nothing is appended, nothing is lost");

        match poison {
            Some(_) => delete(&tables, &user, "commit-0000000003").await,
            None => put(&tables, vault.clone()).await,
        }
        assert_eq!(data.run(&["repair"]).await.code, Some(0));
        parked(&data, 0).await;
        assert_eq!(client.me_since(&access, 2).await.status, 200);
    }
    assert_eq!(client.refresh(&refresh).await.status, 200);
    assert_eq!(client.login(ADA).await.status, 200);
    assert_eq!(client.logout(&access).await.status, 204);
    let events = data.run(&["history", ADA]).await;
    let names: Vec<_> = events.out.lines().map(|line| line.split_whitespace().nth(3).unwrap()).collect();
    assert_eq!(names, ["UserRegistered", "UserSignedIn", "UserSignedIn", "UserSignedOut"]);
    assert_eq!(data.run(&["verify"]).await.code, Some(0));
}
