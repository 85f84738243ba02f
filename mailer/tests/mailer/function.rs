//! The function as the stream and Lambda see it: the real program, over a real engine, and a server that takes mail.
//!
//! `ANNALS_MAILER_BIN` names another program to test than the one built with the tests, such as a release build.

use std::collections::BTreeMap;

use chrono::Utc;
use serde_json::{Value, json};
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{Lifetimes, Store};
use tempfile::TempDir;
use testkit::{Engine, Function, Outcome, program, settings};

use crate::ground::{ADA, key, registered_at};
use crate::over_smtp::{Server, plain};

/// What the function runs on, and every setting of it.
struct Deployment {
    engine: Engine,
    tables: Tables,
    _folder: TempDir,
    store: Store,
    server: Server,
    settings: BTreeMap<&'static str, String>,
}

impl Deployment {
    async fn new() -> Self {
        let engine = Engine::start().await;
        let tables = Box::pin(engine.tables()).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let keys = ServiceKeys::open_or_create(&path).unwrap();
        let store = Store::new(&engine.client(), &tables, &keys, Lifetimes::default());
        let server = Server::default();
        let mut settings = settings(&engine, &tables, &path);
        settings.retain(|name, _| !matches!(*name, "ANNALS_IDENTIFIERS_TABLE" | "ANNALS_VIEWS_TABLE"));
        settings.insert("ANNALS_LINKS", "https://app.example.com".to_owned());
        settings.insert("ANNALS_MAIL_FROM", "no-reply@example.com".to_owned());
        settings.insert("ANNALS_SMTP", plain(server.listen().await));
        Self { engine, tables, _folder: folder, store, server, settings }
    }

    async fn start(&self) -> Result<Function, testkit::Ended> {
        let program = program("ANNALS_MAILER_BIN", env!("CARGO_BIN_EXE_mailer"));
        Function::start(&program, &self.settings).await
    }
}

/// The event of a batch of one record. [AWS Lambda developer guide, "Using AWS Lambda with Amazon DynamoDB"]
fn event(user: domain::UserId) -> Value {
    json!({"Records": [{
        "eventID": "0",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_800_000_000.0,
            "Keys": {"user": {"S": user.to_string()}, "item": {"S": "commit-0000000001"}},
            "SequenceNumber": "4421584500000000000000001",
            "SizeBytes": 59,
            "StreamViewType": "KEYS_ONLY",
        },
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/events/stream/2100-11-22T00:00:00.000",
    }]})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_function_sends_reports_what_it_could_not_send_and_logs_no_address() {
    let deployment = Deployment::new().await;
    let ada = registered_at(&deployment.store, ADA, Utc::now()).await;
    let mut function = deployment.start().await.unwrap();
    deployment.server.refuse("RCPT", "450 4.2.1 <ada@example.com> is busy");
    let reported = json!({"batchItemFailures": [{"itemIdentifier": "4421584500000000000000001"}]});
    assert_eq!(function.invoke(event(ada)).await, Outcome::Answered(reported));
    deployment.server.relents();
    for _ in 0..2 {
        let done = Outcome::Answered(json!({"batchItemFailures": []}));
        assert_eq!(function.invoke(event(ada)).await, done);
    }
    let heard = deployment.server.heard();
    assert_eq!(heard.iter().filter(|line| *line == ".").count(), 1, "{heard:?}");
    assert!(matches!(function.invoke(json!({})).await, Outcome::Failed(_)), "what is no batch fails");
    let log = function.stop().await;
    for line in &log {
        let fields: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(fields.is_object() && !line.contains("ada@") && !line.contains("token="), "{line}");
    }
    assert!(log.iter().any(|line| line.contains("RCPT: 450")), "{log:#?}");
}

/// What an operator gives the function by hand, as the page for operators has it, for the first commit of a user.
fn by_hand(user: domain::UserId) -> Value {
    let page = include_str!("../../../infra/README.md");
    let (_, payload) = page.split_once("--payload '").unwrap();
    let (payload, _) = payload.split_once('\'').unwrap();
    let payload = payload.replace("0000000007", "0000000001").replace("USER", &user.to_string());
    serde_json::from_str(&payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_mail_that_is_refused_it_is_said_whose_it_was_and_without_its_claim_it_can_be_sent_by_hand() {
    let deployment = Deployment::new().await;
    let ada = registered_at(&deployment.store, ADA, Utc::now()).await;
    let mut function = deployment.start().await.unwrap();
    deployment.server.refuse("RCPT", "550 5.7.1 <ada@example.com> is nobody you may write to");
    let done = || Outcome::Answered(json!({"batchItemFailures": []}));
    assert_eq!(function.invoke(event(ada)).await, done());
    deployment.server.relents();
    let taken = || deployment.server.heard().iter().filter(|line| *line == ".").count();
    assert_eq!((function.invoke(by_hand(ada)).await, taken()), (done(), 0), "it counts as sent");
    let delete = deployment.engine.client().delete_item().table_name(&deployment.tables.sessions);
    delete.set_key(Some(key(ada, "mail-0000000001"))).send().await.unwrap();
    for _ in 0..2 {
        assert_eq!((function.invoke(by_hand(ada)).await, taken()), (done(), 1));
    }
    let log = function.stop().await;
    let said: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused: Vec<_> = said.iter().filter(|line| line["alarm"] == "mail-refused").collect();
    let [refused] = refused[..] else { panic!("{log:#?}") };
    assert_eq!((&refused["user"], &refused["version"]), (&json!(ada), &json!(1)));
    assert_eq!(refused["reply"], "RCPT: 550");
    let before = said.iter().filter(|line| line["before"] == 1).count();
    assert_eq!(before, 2, "each commit was found: {log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_is_missing_is_named_and_fatal() {
    let mut deployment = Deployment::new().await;
    let settings = deployment.settings.clone();
    for name in settings.keys().filter(|name| name.starts_with("ANNALS_") && **name != "ANNALS_SMTP") {
        deployment.settings = settings.clone();
        deployment.settings.remove(name);
        let either = if *name == "ANNALS_KEYS_FILE" { " or ANNALS_KEYS_PREFIX" } else { "" };
        assert_eq!(deployment.start().await.unwrap_err().reason(), format!("not set: {name}{either}"));
    }
}
