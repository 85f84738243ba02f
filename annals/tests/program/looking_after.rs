use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;

use crate::client::{ADA, Client, emails};
use crate::process::Data;

/// Deletes every item of a table; how many there were.
pub(crate) async fn empty(data: &Data, table: &str, keys: &[&str]) -> usize {
    let client = data.tables();
    let items = client.scan().table_name(table).consistent_read(true).send().await.unwrap();
    for item in items.items() {
        let mut delete = client.delete_item().table_name(table);
        for key in keys {
            delete = delete.key(*key, item[*key].clone());
        }
        delete.send().await.unwrap();
    }
    items.items().len()
}

pub(crate) async fn delete_view(data: &Data, user: &str) {
    let delete = data.tables().delete_item().table_name("annals-views");
    delete.key("user", AttributeValue::S(user.to_owned())).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_as_it_should_be_is_said_to_be_beside_the_server_and_after_it() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    client.populate(emails(3)).await;
    client.register(ADA).await;
    data.settled().await;

    let mut server = Some(server);
    for _ in ["beside", "after"] {
        let verified = data.run(&["verify"]).await;
        assert_eq!((verified.code, verified.said().as_str()), (Some(0), ""), "{verified:?}");
        assert_eq!(verified.out, "4 users, 7 events, no difference\n");
        let verified = data.run(&["verify", "--json"]).await;
        let holds = json!({"users": 4, "commits": 7, "events": 7, "total": 0, "differences": []});
        assert_eq!((verified.code, verified.json()), (Some(0), holds.clone()));

        let repaired = data.run(&["repair"]).await;
        assert_eq!(
            (repaired.code, repaired.out.as_str()),
            (Some(0), "4 users, 7 events; views:\n  4 right\n")
        );
        let repaired = data.run(&["repair", "--json"]).await.json();
        assert_eq!((&repaired["found"]["equal"], &repaired["done"]["written"]), (&json!(4), &json!(0)));

        let rebuilt = data.run(&["rebuild"]).await;
        assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
        assert_eq!(
            rebuilt.out,
            "4 users, 7 events; views:\n  4 made anew\nverified: 4 users, 7 events, no difference\n"
        );
        let rebuilt = data.run(&["rebuild", "--json"]).await.json();
        assert_eq!((&rebuilt["written"], &rebuilt["swept"]), (&json!(4), &json!(0)));
        assert_eq!(rebuilt["verified"], holds);
        let dry_run = data.run(&["rebuild", "--dry-run", "--json"]).await.json();
        assert_eq!((&dry_run["users"], &dry_run["equal"]), (&json!(4), &json!(4)));
        if let Some(server) = server.take() {
            server.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_view_is_reported_and_repaired() {
    let data = Data::new();
    let server = data.serve().await;
    let users = Client::of(&server).populate(emails(3)).await;
    data.settled().await;
    delete_view(&data, &users[1]).await;

    let verified = data.run(&["verify"]).await;
    assert_eq!(verified.code, Some(1), "{verified:?}");
    assert_eq!(verified.out, format!("3 users, 6 events, 1 difference\n  {}: there is no view\n", users[1]));
    let verified = data.run(&["verify", "--json"]).await;
    let differences = json!([{"user": users[1], "kind": "view_absent"}]);
    assert_eq!((verified.code, &verified.json()["differences"]), (Some(1), &differences));

    let repaired = data.run(&["repair"]).await;
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    assert_eq!(repaired.out, "3 users, 6 events; views:\n  2 right\n  1 brought up to date\n");
    assert_eq!(data.run(&["verify"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing() {
    let data = Data::new();
    let server = data.serve().await;
    let users = Client::of(&server).populate(emails(3)).await;
    data.settled().await;
    delete_view(&data, &users[0]).await;
    let views = async || {
        let items = data.tables().scan().table_name("annals-views").send().await.unwrap().items.unwrap();
        let mut items: Vec<String> = items.iter().map(|item| format!("{:?}", item["sealed"])).collect();
        items.sort();
        items
    };
    let before = views().await;

    for _ in 0..2 {
        let dry_run = data.run(&["rebuild", "--dry-run"]).await;
        assert_eq!(dry_run.code, Some(0), "{dry_run:?}");
        assert_eq!(dry_run.out, "3 users, 6 events; views:\n  2 right\n  1 absent, would be made\n");
    }
    assert_eq!(views().await, before);
    assert_eq!(before.len(), 2);
    assert_eq!(data.run(&["verify"]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_identifier_is_reported_and_no_rebuild_hides_it() {
    let data = Data::new();
    let server = data.serve().await;
    Client::of(&server).populate(emails(2)).await;
    data.settled().await;
    assert_eq!(empty(&data, "annals-identifiers", &["identifier"]).await, 2);
    let verified = data.run(&["verify", "--json"]).await;
    assert_eq!((verified.code, &verified.json()["total"]), (Some(1), &json!(2)), "{verified:?}");
    assert_eq!(verified.json()["differences"][0]["kind"], "identifier_missing");
    let rebuilt = data.run(&["rebuild"]).await;
    assert_eq!(rebuilt.code, Some(1), "{rebuilt:?}");
    assert!(rebuilt.out.contains("2 made anew"), "{rebuilt:?}");
    assert!(rebuilt.out.contains("the address leads to nobody"), "{rebuilt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_log_is_reported_by_each_command_with_exit_code_1() {
    let data = Data::new();
    let server = data.serve().await;
    let users = Client::of(&server).populate(emails(2)).await;
    data.settled().await;
    let delete = data.tables().delete_item().table_name("annals-events");
    let delete = delete.key("user", AttributeValue::S(users[0].clone()));
    delete.key("item", AttributeValue::S("commit-0000000001".into())).send().await.unwrap();

    let verified = data.run(&["verify", "--json"]).await;
    let broken = json!([{"user": users[0], "kind": "log_broken", "code": "gap", "version": 1}]);
    assert_eq!((verified.code, &verified.json()["differences"]), (Some(1), &broken), "{verified:?}");
    let repaired = data.run(&["repair"]).await;
    assert_eq!(repaired.code, Some(1), "{repaired:?}");
    assert!(repaired.out.contains("1 without a log that can be read"), "{repaired:?}");
    let rebuilt = data.run(&["rebuild", "--json"]).await;
    assert_eq!(rebuilt.code, Some(1), "{rebuilt:?}");
    assert_eq!((&rebuilt.json()["parked"], &rebuilt.json()["written"]), (&json!(1), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_without_a_server_wait_for_one_another() {
    let data = Data::new();
    let server = data.serve().await;
    Client::of(&server).populate(emails(5)).await;
    server.stop().await;
    for _ in 0..3 {
        let (verified, rebuilt, verified_again) =
            tokio::join!(data.run(&["verify"]), data.run(&["rebuild"]), data.run(&["verify"]));
        for ended in [verified, rebuilt, verified_again] {
            assert_eq!(ended.code, Some(0), "{ended:?}");
        }
    }
    assert!(!data.path().join("engine.url").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parked_and_the_dead_letters_are_told_of() {
    let data = Data::new();
    let server = data.serve().await;
    let users = Client::of(&server).populate(emails(2)).await;
    let delete = data.tables().delete_item().table_name("annals-events");
    let delete = delete.key("user", AttributeValue::S(users[0].clone()));
    delete.key("item", AttributeValue::S("commit-0000000001".into())).send().await.unwrap();
    let repaired = data.run(&["repair"]).await;
    assert!(!repaired.out.contains("dead letter"), "{repaired:?}");
    let verified = data.run(&["verify"]).await;
    let parked = format!("\n1 user parked\n  {}: parked since 20", users[0]);
    assert!(verified.out.contains(&parked) && verified.out.ends_with(" (gap)\n"), "{verified:?}");
    let verified = data.run(&["verify", "--json"]).await.json();
    assert_eq!((&verified["parked"]["total"], &verified["dead_letters"]), (&json!(1), &json!(null)));
    assert_eq!(verified["mail_dead_letters"], json!(null));
    assert_eq!(verified["parked"]["users"][0]["user"], json!(users[0]));

    let path = data.path().join("dead-letters.jsonl");
    std::fs::write(&path, "{}\n{}\n").unwrap();
    let line = format!("\n2 dead letters in {}\n", path.display());
    let mails = data.path().join("mail-dead-letters.jsonl");
    let of_mails = format!("1 dead letter of the mailer in {}\n", mails.display());
    for command in ["repair", "verify"] {
        let told = data.run(&[command]).await;
        assert!(told.out.ends_with(&line), "{told:?}");
        assert_eq!(data.run(&[command, "--json"]).await.json()["dead_letters"], json!(2));
        std::fs::write(&mails, "{}\n").unwrap();
        let told = data.run(&[command]).await;
        assert!(told.out.ends_with(&format!("{line}{of_mails}")), "{told:?}");
        let told = data.run(&[command, "--json"]).await.json();
        assert_eq!((&told["dead_letters"], &told["mail_dead_letters"]), (&json!(2), &json!(1)));
        std::fs::remove_file(&mails).unwrap();
    }
}
