use std::collections::{BTreeMap, HashMap};

use annals::local::engine::LocalEngine;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use testkit::Engine;

use crate::client::{Client, emails};
use crate::process::{CHEAP, Data, Running, Server, until};

type Item = HashMap<String, AttributeValue>;

const TABLES: [(&str, &[&str]); 4] = [
    ("annals-events", &["user", "item"]),
    ("annals-identifiers", &["identifier"]),
    ("annals-views", &["user"]),
    ("annals-sessions", &["user", "item"]),
];

/// What lies in each table at one moment.
type Backup = BTreeMap<&'static str, Vec<Item>>;

async fn backup(client: &aws_sdk_dynamodb::Client) -> Backup {
    let mut tables = Backup::new();
    for (table, _) in TABLES {
        let page = client.scan().table_name(table).consistent_read(true).send().await.unwrap();
        assert!(page.last_evaluated_key().is_none(), "one page is all");
        tables.insert(table, page.items.unwrap());
    }
    tables
}

/// Brings each table back as it was in its backup.
async fn bring_back(client: &aws_sdk_dynamodb::Client, backups: &Backup) {
    let now = backup(client).await;
    for (table, key) in TABLES {
        for item in &now[table] {
            let mut delete = client.delete_item().table_name(table);
            for name in key {
                delete = delete.key(*name, item[*name].clone());
            }
            delete.send().await.unwrap();
        }
        for item in &backups[table] {
            client.put_item().table_name(table).set_item(Some(item.clone())).send().await.unwrap();
        }
    }
}

/// The life of a deployment, and what is brought back of it: the log of the second of three moments, without half of
/// what was being written just then; identifiers of a moment before it or behind it; views of the last; sessions of the
/// first. Of the users 1 to 6 it knows 1 to 4; 5 registered just then, and 6 later.
async fn of_different_moments(
    client: &Client,
    tables: &aws_sdk_dynamodb::Client,
    identifiers_from_behind: bool,
) -> Backup {
    let users = client.populate(emails(3)).await;
    let beginning = backup(tables).await;
    assert_eq!(client.register("user-4@example.com").await.status, 201);
    assert_eq!(client.login(&emails(1).next().unwrap()).await.status, 200);
    let fifth = client.register("user-5@example.com").await.text_of("user_id");
    let middle = backup(tables).await;
    assert_eq!(client.register("user-6@example.com").await.status, 201);
    for email in emails(4) {
        let signed_in = client.login(&email).await;
        assert_eq!(client.me(&signed_in.text_of("access_token")).await.status, 200);
    }
    let end = backup(tables).await;
    let torn = |item: &&Item| {
        item["user"] != AttributeValue::S(fifth.clone()) || item["item"] != AttributeValue::S("vault".into())
    };
    assert_eq!(users.len(), 3);
    Backup::from([
        ("annals-events", middle["annals-events"].iter().filter(torn).cloned().collect()),
        (
            "annals-identifiers",
            if identifiers_from_behind { &end } else { &beginning }["annals-identifiers"].clone(),
        ),
        ("annals-views", end["annals-views"].clone()),
        ("annals-sessions", beginning["annals-sessions"].clone()),
    ])
}

/// Everybody whom the log knows signs in and is shown who they are; who is newer registers again.
async fn assert_all_is_well(client: &Client) {
    for email in emails(4) {
        let signed_in = client.login(&email).await;
        assert_eq!(signed_in.status, 200, "{signed_in:?}");
        let me = client.me(&signed_in.text_of("access_token")).await;
        assert_eq!((me.status.as_u16(), &me.json()["email"]), (200, &json!(email)));
        assert_eq!(client.register(&email).await.status, 409, "the address has its user");
    }
    for newer in ["user-5@example.com", "user-6@example.com"] {
        assert_eq!(client.login(newer).await.status, 401);
        assert_eq!(client.register(newer).await.status, 201);
        assert_eq!(client.login(newer).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_different_moments_are_restored_however_often_that_is_killed() {
    for identifiers_from_behind in [false, true] {
        let data = Data::new();
        let server = data.serve().await;
        let client = Client::of(&server);
        let backups = of_different_moments(&client, &data.tables(), identifiers_from_behind).await;
        let before = client.login("user-2@example.com").await;
        server.stop().await;
        let engine = LocalEngine::open(&data.path()).await.unwrap();
        bring_back(&data.tables(), &backups).await;
        engine.stop().await;
        assert_eq!(data.run(&["verify"]).await.code, Some(1));

        let (made, freed) = if identifiers_from_behind { (0, 2) } else { (1, 0) };
        let would = data.run(&["restore", "--dry-run", "--json"]).await;
        assert_eq!(would.code, Some(0), "{would:?}");
        let would = would.json();
        assert_eq!(
            (
                &would["users"],
                &would["users_buried"],
                &would["identifiers_made"],
                &would["identifiers_freed"]
            ),
            (&json!(5), &json!(1), &json!(made), &json!(freed)),
            "{would}"
        );
        for round in 1..=6 {
            let mut running = Running::start(data.command(&["restore"]));
            // At some moment between its start and its end.
            let mut looks = 0;
            until("a moment to kill it", || {
                looks += 1;
                looks > round * 3 || running.has_ended()
            })
            .await;
            running.kill();
        }
        // What was begun is ended before anybody is served: addresses may seem free that are not.
        std::fs::write(data.path().join("restore-unfinished"), "").unwrap();
        data.run(&["serve", "--port", "0"]).await.is_refused("a restore of the data in ");
        let restored = data.run(&["restore"]).await;
        assert_eq!(restored.code, Some(0), "{restored:?}");
        assert!(restored.out.starts_with("restored: 5 users, "), "{restored:?}");
        assert!(
            restored.out.contains("\nrebuilt: ") && restored.out.contains("\n  4 made anew"),
            "{restored:?}"
        );
        assert!(restored.out.contains(", no difference\nNow turn the API on."), "{restored:?}");
        let again = data.run(&["restore", "--json"]).await;
        assert_eq!(again.code, Some(0), "{again:?}");
        for nothing in ["sessions_deleted", "users_buried", "identifiers_made", "identifiers_freed"] {
            assert_eq!(again.json()[nothing], 0, "{again:?}");
        }

        let server = data.serve().await;
        let client = Client::of(&server);
        assert_eq!(client.me(&before.text_of("access_token")).await.status, 401, "the session is gone");
        assert_eq!(client.refresh(&before.text_of("refresh_token")).await.status, 400);
        assert_all_is_well(&client).await;
        let verified = data.run(&["verify"]).await;
        assert_eq!(verified.code, Some(0), "{verified:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_restored_while_commands_may_be_taken() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    client.populate(emails(2)).await;
    data.settled().await;
    let before = backup(&data.tables()).await;
    data.run(&["restore"]).await.is_refused("a server runs on the data in ");
    let looked = data.run(&["restore", "--dry-run"]).await;
    assert_eq!(looked.code, Some(0), "to look does no harm: {looked:?}");
    let words = "would be restored: 2 users, 4 events\n  2 views deleted\n  4 sessions and counts of guesses deleted\n";
    assert_eq!(looked.out, words);
    assert_eq!(backup(&data.tables()).await, before);
    let misplaced = data.run(&["restore", "--yes-the-api-is-off"]).await;
    assert!(misplaced.code == Some(2) && misplaced.err.contains("--endpoint"), "{misplaced:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_not_brought_back_is_told_of_and_nothing_is_deleted() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    client.populate(emails(2)).await;
    data.settled().await;
    let whole = backup(&data.tables()).await;
    let mut without = whole.clone();
    without.insert("annals-events", Vec::new());
    bring_back(&data.tables(), &without).await;
    server.stop().await;
    for args in [&["restore"][..], &["restore", "--dry-run"]] {
        data.run(args).await.is_refused("the events table is empty");
    }
    // Nor is anything said to have begun.
    let server = data.serve().await;
    assert_eq!(backup(&data.tables()).await, without);
    bring_back(&data.tables(), &whole).await;
    server.stop().await;
    assert_eq!(data.run(&["restore"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_another_endpoint_the_operator_says_that_the_api_is_off() {
    let engine = Engine::start().await;
    let data = Data::new();
    let endpoint = ["--endpoint", engine.endpoint()];
    let serve = async || {
        let args = [&["serve", "--port", "0", "--argon2", CHEAP], &endpoint[..]].concat();
        Server::start(data.command(&args)).await
    };
    let server = serve().await;
    let client = Client::of(&server);
    let backups = of_different_moments(&client, &engine.client(), false).await;
    server.stop().await;
    bring_back(&engine.client(), &backups).await;
    let unfinished = data.path().join("unfinished-rebuild.json");
    std::fs::write(&unfinished, "of the tables that were lost").unwrap();

    let restore = [&["restore"], &endpoint[..]].concat();
    data.run(&restore).await.is_refused("turn the API off first, then say so: --yes-the-api-is-off");
    assert!(unfinished.exists());
    let restored = data.run(&[&restore[..], &["--yes-the-api-is-off"]].concat()).await;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert!(!unfinished.exists(), "nothing is gone on with");
    let server = serve().await;
    assert_all_is_well(&Client::of(&server)).await;
    assert_eq!(server.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_read_is_told_of_and_only_its_user_is_kept_out() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    let users = client.populate(emails(2)).await;
    let delete = data.tables().delete_item().table_name("annals-events");
    let delete = delete.key("user", AttributeValue::S(users[0].clone()));
    delete.key("item", AttributeValue::S("commit-0000000001".into())).send().await.unwrap();
    server.stop().await;
    let restored = data.run(&["restore"]).await;
    assert_eq!(restored.code, Some(1), "{restored:?}");
    let broken = format!("{}: the log cannot be read from commit 1 on (gap)", users[0]);
    assert!(restored.out.contains(&broken) && restored.out.contains("1 user parked"), "{restored:?}");
    assert!(restored.out.contains("\nLook at the differences before"), "{restored:?}");
    let server = data.serve().await;
    let client = Client::of(&server);
    assert_eq!(client.login("user-2@example.com").await.status, 200);
    assert_eq!(client.register("user-1@example.com").await.status, 409, "the address stays theirs");
}
