use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::Utc;
use domain::UserId;
use projector::ReadModel;
use projector::replay::Replay;
use serde_json::{Value, json};
use storage::{StoredView, View};
use testkit::{Ended, Function, Outcome, program};

use crate::stream::Ground;

type Item = HashMap<String, AttributeValue>;

/// The settings of the replayer: those of the projector, and the table with its checkpoints.
fn settings(ground: &Ground) -> BTreeMap<&'static str, String> {
    let mut settings = ground.settings();
    settings.insert("ANNALS_SESSIONS_TABLE", ground.tables.sessions.clone());
    settings
}

async fn start_with(settings: &BTreeMap<&'static str, String>) -> Result<Function, Ended> {
    let program = program("ANNALS_REPLAYER_BIN", env!("CARGO_BIN_EXE_replayer"));
    Function::start(&program, settings).await
}

async fn start(ground: &Ground) -> Function {
    start_with(&settings(ground)).await.unwrap()
}

/// Users with logs of 150 KB each, so that a page of a scan holds six or seven.
async fn long_logs(ground: &Ground, users: u128) -> Vec<UserId> {
    let mut ids = Vec::new();
    for number in 1..=users {
        ids.push(ground.register_with(number, Some("x".repeat(150_000))).await);
    }
    ids
}

fn model(ground: &Ground) -> ReadModel {
    ReadModel { log: ground.store.log.clone(), views: ground.store.views.clone() }
}

fn order(kind: &str, segment: u32, total: u32) -> Value {
    json!({"segment": segment, "total": total, "run": "nightly-1", "kind": kind})
}

fn sum(kind: &str, total: u32) -> Value {
    json!({"total": total, "run": "nightly-1", "kind": kind})
}

async fn answer(function: &mut Function, order: Value) -> Value {
    match function.invoke(order).await {
        Outcome::Answered(answer) => answer,
        Outcome::Failed(error) => panic!("{error}"),
    }
}

/// Gives the same order until it is done, each time with so little time that it takes several; what the last one
/// answered, and how many went on from where another had stopped. Where nothing was done, there is more time.
async fn until_done(function: &mut Function, order: &Value, mut time: Duration) -> (Value, u32) {
    let (mut read, mut resumed) = (0, 0);
    for _ in 0..10_000 {
        let Outcome::Answered(answer) = function.invoke_within(order.clone(), time).await else {
            panic!("{order} failed")
        };
        let read_now = answer["read"].as_u64().unwrap();
        assert!(read_now >= read, "it went back: {answer} after {read}");
        if answer["done"] == true {
            return (answer, resumed);
        }
        resumed += u32::from(read_now > 0);
        if read_now == read {
            time *= 2;
        }
        read = read_now;
    }
    panic!("{order} is never done")
}

async fn views(ground: &Ground, users: &[UserId]) -> Vec<StoredView> {
    ground.store.views.read_all(users, true).await.unwrap()
}

/// Every item of a table, in the order of their keys.
async fn dump(ground: &Ground, table: &str) -> Vec<Item> {
    let scan = ground.engine.client().scan().table_name(table).send().await.unwrap();
    let mut items = scan.items.unwrap();
    items.sort_by_key(|item| format!("{:?} {:?}", item.get("user"), item.get("item")));
    items
}

async fn empty_views(ground: &Ground) {
    let client = ground.engine.client();
    for item in dump(ground, &ground.tables.views).await {
        let request = client.delete_item().table_name(&ground.tables.views);
        request.key("user", item["user"].clone()).send().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_run_out_of_time_again_and_again_add_up_to_one_rebuild() {
    let ground = Ground::new().await;
    let users = long_logs(&ground, 48).await;
    let report = Replay::of(model(&ground)).rebuild(&ground.store.identifiers, Utc::now()).await.unwrap();
    let at_once = views(&ground, &users).await;
    empty_views(&ground).await;

    let mut function = start(&ground).await;
    let mut resumed = 0;
    for segment in 0..3 {
        let begun = answer(&mut function, sum("rebuild", 3)).await;
        assert_eq!(begun["done"], false, "there is more to do before segment {segment}: {begun}");
        let time = Duration::from_millis(5);
        resumed += until_done(&mut function, &order("rebuild", segment, 3), time).await.1;
    }
    assert!(resumed >= 2, "each was done at once");
    let all = json!({"done": true, "read": report.covered.users, "written": report.done.written,
        "differences": 0, "parked": 0});
    assert_eq!((answer(&mut function, sum("rebuild", 3)).await, &all["written"]), (all.clone(), &json!(48)));
    let in_parts = views(&ground, &users).await;
    assert!(in_parts.iter().all(|stored| matches!(stored.view, View::Of(_))));
    assert_eq!(in_parts, at_once);

    // What is verified is everything, also in parts; and the checkpoints disturb nobody.
    for segment in 0..2 {
        until_done(&mut function, &order("verify", segment, 2), Duration::from_millis(5)).await;
    }
    let verified = answer(&mut function, sum("verify", 2)).await;
    assert_eq!(verified, json!({"done": true, "read": 48, "written": 0, "differences": 0, "parked": 0}));
    assert!(Replay::of(model(&ground)).verify(&ground.store.identifiers).await.unwrap().holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_is_not_done_again_in_the_same_run() {
    let ground = Ground::new().await;
    for number in 1..=5 {
        ground.register(number).await;
    }
    let mut function = start(&ground).await;
    let first = answer(&mut function, order("rebuild", 0, 1)).await;
    assert_eq!((&first["done"], &first["written"]), (&json!(true), &json!(5)));
    // What is sealed again differs, even if it says the same.
    let (made, kept) =
        (dump(&ground, &ground.tables.views).await, dump(&ground, &ground.tables.sessions).await);
    assert_eq!(answer(&mut function, order("rebuild", 0, 1)).await, first);
    assert_eq!(dump(&ground, &ground.tables.views).await, made);
    assert_eq!(dump(&ground, &ground.tables.sessions).await, kept);

    let mut another = order("rebuild", 0, 1);
    another["run"] = json!("nightly-2");
    assert_eq!(answer(&mut function, another).await, first);
    assert_ne!(dump(&ground, &ground.tables.views).await, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_killed_half_way_is_gone_on_with_by_another() {
    let ground = Ground::new().await;
    let users = long_logs(&ground, 48).await;
    let client = ground.engine.client();
    for run in 0..20 {
        empty_views(&ground).await;
        let order = json!({"segment": 0, "total": 1, "run": format!("run-{run}"), "kind": "rebuild"});
        let key = (format!("replay#run-{run}#rebuild"), "segment-0-of-1".to_owned());
        let begun = async {
            loop {
                let get = client.get_item().table_name(&ground.tables.sessions);
                let get = get.key("user", AttributeValue::S(key.0.clone()));
                let kept = get.key("item", AttributeValue::S(key.1.clone())).send().await.unwrap();
                if kept.item.is_some() {
                    return;
                }
            }
        };
        let killing = start(&ground).await.invoke_and_kill(order.clone(), begun);
        tokio::time::timeout(Duration::from_mins(1), killing).await.unwrap();

        let mut function = start(&ground).await;
        let mut so_far = order.clone();
        so_far.as_object_mut().unwrap().remove("segment");
        let so_far = answer(&mut function, so_far).await;
        let done = answer(&mut function, order).await;
        assert_eq!(done, json!({"done": true, "read": 48, "written": 48, "differences": 0, "parked": 0}));
        assert!(views(&ground, &users).await.iter().all(|stored| matches!(stored.view, View::Of(_))));
        assert!(Replay::of(model(&ground)).verify(&ground.store.identifiers).await.unwrap().holds());
        if so_far["done"] == false && so_far["read"].as_u64().unwrap() > 0 {
            return;
        }
        // On a busy machine it may be done before anybody looks: then once more.
    }
    panic!("it was always done too soon");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_functions_at_the_same_segment_do_no_harm() {
    let ground = Ground::new().await;
    let users = long_logs(&ground, 24).await;
    let (mut one, mut other) = (start(&ground).await, start(&ground).await);
    let order = order("rebuild", 0, 1);
    // A checkpoint of the one may be kept behind a later one of the other: then something is done twice.
    let at_it = async |function: &mut Function| {
        for time in (0..14).map(|doubled| Duration::from_millis(5 << doubled)) {
            match function.invoke_within(order.clone(), time).await {
                Outcome::Answered(answer) if answer["done"] == true => return answer,
                Outcome::Answered(_) => {}
                Outcome::Failed(error) => panic!("{error}"),
            }
        }
        panic!("it is never done")
    };
    let both = async { tokio::join!(at_it(&mut one), at_it(&mut other)) };
    let (first, second) = tokio::time::timeout(Duration::from_mins(1), both).await.unwrap();
    assert_eq!(first, json!({"done": true, "read": 24, "written": 24, "differences": 0, "parked": 0}));
    assert_eq!(second, first);
    assert_eq!(views(&ground, &users).await.len(), 24);
    assert!(Replay::of(model(&ground)).verify(&ground.store.identifiers).await.unwrap().holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_are_counted_once_however_often_a_verification_is_gone_on_with() {
    let ground = Ground::new().await;
    let users = long_logs(&ground, 24).await;
    let mut function = start(&ground).await;
    assert_eq!(answer(&mut function, order("rebuild", 0, 1)).await["written"], 24);
    let client = ground.engine.client();
    // Two views torn, and two logs of users whose views are sound broken.
    for (number, item) in dump(&ground, &ground.tables.views).await.into_iter().enumerate().step_by(12) {
        assert!(number < users.len());
        let put = client.put_item().table_name(&ground.tables.views).set_item(Some(damaged(item)));
        put.send().await.unwrap();
    }
    for user in [users[5], users[20]] {
        let key = [("user", user.to_string()), ("item", "commit-0000000001".to_owned())];
        let key: Item = key.map(|(name, text)| (name.to_owned(), AttributeValue::S(text))).into();
        let get = client.get_item().table_name(&ground.tables.events).set_key(Some(key));
        let commit = damaged(get.send().await.unwrap().item.unwrap());
        client.put_item().table_name(&ground.tables.events).set_item(Some(commit)).send().await.unwrap();
    }
    let (verified, _) = until_done(&mut function, &order("verify", 0, 1), Duration::from_millis(5)).await;
    assert_eq!(verified, json!({"done": true, "read": 24, "written": 0, "differences": 4, "parked": 2}));
    let log = function.stop().await;
    let told = log.iter().filter(|line| line.contains("log and read model differ")).count();
    assert!(told >= 4, "each is named: {log:#?}");

    let mut function = start(&ground).await;
    let (repaired, _) = until_done(&mut function, &order("repair", 0, 1), Duration::from_millis(5)).await;
    assert_eq!(
        (&repaired["written"], &repaired["parked"], &repaired["differences"]),
        (&json!(2), &json!(2), &json!(0))
    );
}

fn damaged(mut item: Item) -> Item {
    let mut sealed = item["sealed"].as_b().unwrap().clone().into_inner();
    *sealed.last_mut().unwrap() ^= 1;
    item.insert("sealed".into(), AttributeValue::B(Blob::new(sealed)));
    item
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_was_moved_or_changed_is_none() {
    let ground = Ground::new().await;
    ground.register(1).await;
    let mut function = start(&ground).await;
    answer(&mut function, order("rebuild", 0, 1)).await;
    let mut items = dump(&ground, &ground.tables.sessions).await;
    let kept = items.pop().unwrap();
    assert!(items.is_empty() && kept["expires"].as_n().is_ok(), "{kept:?}");

    let client = ground.engine.client();
    let put = async |user: &str, item: &str, kept: &Item| {
        let mut kept = kept.clone();
        kept.insert("user".into(), AttributeValue::S(user.to_owned()));
        kept.insert("item".into(), AttributeValue::S(item.to_owned()));
        client.put_item().table_name(&ground.tables.sessions).set_item(Some(kept)).send().await.unwrap();
    };
    put("replay#other#rebuild", "segment-0-of-1", &kept).await;
    put("replay#nightly-1#verify", "segment-0-of-1", &kept).await;
    put("replay#nightly-1#rebuild", "segment-1-of-2", &kept).await;
    let mut expired = kept.clone();
    expired.insert("expires".into(), AttributeValue::N("1".into()));
    put("replay#nightly-1#rebuild", "segment-0-of-1", &expired).await;
    put("replay#torn#rebuild", "segment-0-of-1", &damaged(kept.clone())).await;
    for (run, kind, total) in [
        ("other", "rebuild", 1),
        ("nightly-1", "verify", 1),
        ("nightly-1", "rebuild", 2),
        ("nightly-1", "rebuild", 1),
        ("torn", "rebuild", 1),
    ] {
        let answered = answer(&mut function, json!({"total": total, "run": run, "kind": kind})).await;
        let nothing = json!({"done": false, "read": 0, "written": 0, "differences": 0, "parked": 0});
        assert_eq!(answered, nothing, "{run} {kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_makes_no_sense_is_refused_and_the_next_is_carried_out() {
    let ground = Ground::new().await;
    let mut function = start(&ground).await;
    let longest = "x".repeat(80);
    for (wrong, why) in [
        (json!({"segment": 3, "total": 3, "run": "r", "kind": "verify"}), "there is no segment 3 of 3"),
        (json!({"total": 0, "run": "r", "kind": "verify"}), "there is no segment 0 of 0"),
        (json!({"total": 1_000_001, "run": "r", "kind": "verify"}), "there is no segment"),
        (json!({"total": 1, "run": "", "kind": "verify"}), "the name of a run"),
        (json!({"total": 1, "run": "a#b", "kind": "verify"}), "the name of a run"),
        (json!({"total": 1, "run": format!("{longest}x"), "kind": "verify"}), "the name of a run"),
    ] {
        let Outcome::Failed(error) = function.invoke(wrong.clone()).await else { panic!("{wrong}") };
        assert!(error["errorMessage"].as_str().unwrap().starts_with(why), "{error}");
        assert_eq!(error["errorType"], "Refused");
    }
    for wrong in [json!({}), json!({"total": 1, "run": "r", "kind": "destroy"}), Value::Null] {
        assert!(matches!(function.invoke(wrong).await, Outcome::Failed(_)));
    }
    let mut unknown = order("verify", 0, 1);
    unknown["segments"] = json!(1);
    assert!(matches!(function.invoke(unknown).await, Outcome::Failed(_)));
    let right = json!({"segment": 0, "total": 1, "run": longest, "kind": "verify"});
    assert_eq!(answer(&mut function, right).await["done"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_tables_the_order_fails_and_can_be_given_again() {
    let ground = Ground::new().await;
    ground.register(1).await;
    let mut function = start(&ground).await;
    let client = ground.engine.client();
    client.delete_table().table_name(&ground.tables.views).send().await.unwrap();
    let Outcome::Failed(error) = function.invoke(order("rebuild", 0, 1)).await else {
        panic!("there is nowhere to put a view")
    };
    assert_eq!(error["errorType"], "Unfinished", "{error}");
    ground.tables.create(&client).await.unwrap();
    assert_eq!(answer(&mut function, order("rebuild", 0, 1)).await["written"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replayer_names_the_setting_that_is_missing() {
    let ground = Ground::new().await;
    let settings = settings(&ground);
    let names: Vec<_> = settings.keys().filter(|name| name.starts_with("ANNALS_")).collect();
    assert_eq!(names.len(), 4);
    for name in names {
        let mut without = settings.clone();
        without.remove(name);
        let reason = start_with(&without).await.unwrap_err().reason();
        assert!(reason.starts_with(&format!("not set: {name}")), "{reason}");
    }
}
