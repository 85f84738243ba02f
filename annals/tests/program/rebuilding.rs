use serde_json::json;
use storage::{Put, Replacing};

use crate::client::{Client, emails};
use crate::looking_after::{delete_view, empty};
use crate::population::Population;
use crate::process::{Data, Running, program, run, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_read_model_comes_back_equal() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    client.populate(emails(11)).await;
    let signed_in = client.login("user-7@example.com").await;
    let token = signed_in.text_of("access_token");
    data.settled().await;
    let before = client.me(&token).await;

    assert_eq!(empty(&data, "annals-views", &["user"]).await, 11);
    let without = client.me(&token).await;
    assert_eq!((without.status, &without.text), (before.status, &before.text), "nobody notices");
    let dry_run = data.run(&["rebuild", "--dry-run", "--json"]).await.json();
    assert_eq!((&dry_run["absent"], &dry_run["equal"]), (&json!(11), &json!(0)), "{dry_run}");

    let rebuilt = data.run(&["rebuild", "--json"]).await;
    assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
    assert_eq!((&rebuilt.json()["written"], &rebuilt.json()["verified"]["total"]), (&json!(11), &json!(0)));
    let dry_run = data.run(&["rebuild", "--dry-run", "--json"]).await.json();
    assert_eq!((&dry_run["absent"], &dry_run["equal"]), (&json!(0), &json!(11)), "{dry_run}");
    let after = client.me(&token).await;
    assert_eq!(after.text, before.text);
    assert_eq!(after.header("etag"), before.header("etag"));
    assert_eq!(after.header("annals-version"), before.header("annals-version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_segments_together_rebuild_everything_once() {
    let data = Data::new();
    let server = data.serve().await;
    Client::of(&server).populate(emails(12)).await;
    data.settled().await;
    assert_eq!(empty(&data, "annals-views", &["user"]).await, 12);

    let mut counts = Vec::new();
    for segment in ["1/3", "2/3", "3/3"] {
        let rebuilt = data.run(&["rebuild", "--json", "--segment", segment]).await;
        assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
        let rebuilt = rebuilt.json();
        assert_eq!(rebuilt["users"], rebuilt["written"], "{rebuilt}");
        counts.push(rebuilt["written"].as_u64().unwrap());
    }
    assert_eq!(counts.iter().sum::<u64>(), 12, "{counts:?}");
    assert!(counts.iter().all(|count| *count < 12), "each did its part: {counts:?}");
    assert_eq!(data.run(&["verify"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_a_bar_where_a_person_watches_and_the_result_is_none_of_it() {
    let data = Data::new();
    let server = data.serve().await;
    Client::of(&server).populate(emails(3)).await;
    // Not a terminal: nothing but the result, and lines at most.
    let rebuilt = data.run(&["rebuild"]).await;
    assert!(!rebuilt.out.contains('\u{1b}') && !rebuilt.err.contains('\u{1b}'), "{rebuilt:?}");

    let mut found = std::process::Command::new("sh");
    found.args(["-c", "command -v script"]);
    if run(found).await.code != Some(0) {
        eprintln!("not tried: nothing here pretends to be a terminal");
        return;
    }
    let result = data.path().join("result.json");
    let in_shell = format!(
        "{} rebuild --json --data {} > {}",
        program().get_program().to_string_lossy(),
        data.path().display(),
        result.display()
    );
    let mut terminal = std::process::Command::new("script");
    terminal.args(["-qec", &in_shell, "/dev/null"]).stdin(std::process::Stdio::null());
    let shown = run(terminal).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.out.contains(" rebuilding: ") && shown.out.contains(" verifying: "), "{shown:?}");
    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(result).unwrap()).unwrap();
    assert_eq!(result["written"], 3);
}

/// Starts a command and ends it at once when its file says that it has begun and is not done. On a busy machine it may
/// be done before anybody looks: then once more.
async fn killed_on_the_way(data: &Data, args: &[&str], file: &str) {
    let file = data.path().join(file);
    for _ in 0..20 {
        let mut running = Running::start(data.command(args));
        until("a run that has come somewhere", || file.exists() || running.has_ended()).await;
        running.kill();
        if file.exists() {
            return;
        }
    }
    panic!("it was always done too soon");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_and_a_repair_that_are_killed_go_on_where_they_were() {
    let data = Data::new();
    let server = data.serve().await;
    let population = Population::of(&data);
    population.with_long_logs(24).await;
    assert_eq!(data.run(&["rebuild"]).await.code, Some(0));

    for (command, file) in [("rebuild", "unfinished-rebuild.json"), ("repair", "unfinished-repair.json")] {
        killed_on_the_way(&data, &[command], file).await;
        let resumed = data.run(&[command, "--json"]).await;
        assert_eq!(resumed.code, Some(0), "{resumed:?}");
        let report: serde_json::Value = serde_json::from_str(&resumed.out).unwrap();
        let done_before = report["done_before"].as_u64().unwrap();
        assert!((1..=24).contains(&done_before), "{report}");
        let users = if done_before == 1 { "user" } else { "users" };
        // Behind it, on a busy machine, come lines on how far it is.
        assert!(
            resumed.err.starts_with(&format!("resumed: {done_before} {users} done before\n")),
            "{resumed:?}"
        );
        assert_eq!(report["users"], 24, "the report is of the whole: {report}");
        assert!(!data.path().join(file).exists(), "there is nothing to go on with");

        killed_on_the_way(&data, &[command], file).await;
        let anew = data.run(&[command, "--restart", "--json"]).await;
        let report: serde_json::Value = serde_json::from_str(&anew.out).unwrap();
        assert_eq!((anew.code, &report["done_before"]), (Some(0), &json!(null)), "{anew:?}");
    }
    assert_eq!(data.run(&["verify"]).await.code, Some(0));
    // The part of a log has a place of its own.
    killed_on_the_way(&data, &["rebuild", "--segment", "1/1"], "unfinished-rebuild-1-of-1.json").await;
    let whole = data.run(&["rebuild"]).await;
    assert!(whole.code == Some(0) && whole.out.contains("24 made anew"), "{whole:?}");
    assert!(!whole.err.contains("resumed"), "{whole:?}");
    let part = data.run(&["rebuild", "--segment", "1/1"]).await;
    assert!(part.err.starts_with("resumed: "), "{part:?}");
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_rebuild_has_left_is_not_taken_up_and_it_is_said_why() {
    let data = Data::new();
    let server = data.serve().await;
    let population = Population::of(&data);
    population.with_long_logs(12).await;
    let file = "unfinished-rebuild.json";
    killed_on_the_way(&data, &["rebuild"], file).await;
    let path = data.path().join(file);
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();

    let with = |pointer: &str, value: serde_json::Value| {
        let mut other = kept.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        other.to_string()
    };
    for (left, why) in [
        (with("/endpoint", json!("http://127.0.0.1:1")), "it is that of another endpoint"),
        (with("/checkpoint/work/deployment", json!("prod")), "it is that of another deployment, prod"),
        (with("/checkpoint/work/events", json!("e")), "it is that of the tables e and annals-views"),
        (with("/checkpoint/work/fold", json!(0)), "the views made so far are those of fold number 0"),
        (with("/checkpoint/work/total", json!(9)), "the log was divided into other segments"),
        (with("/checkpoint/begun", json!("2020-01-01T00:00:00Z")), "it began more than a day ago"),
        (with("/checkpoint/format", json!(9)), "another version of the program"),
        ("{".to_owned(), "EOF"),
    ] {
        std::fs::write(&path, left).unwrap();
        let rebuilt = data.run(&["rebuild"]).await;
        assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
        assert!(rebuilt.err.starts_with("not resumed from ") && rebuilt.err.contains(why), "{rebuilt:?}");
        assert!(rebuilt.out.contains("12 made anew") && !path.exists(), "{rebuilt:?}");
    }
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_roll_back_newer_views_stay_until_the_operator_says_otherwise() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    let users = client.populate(emails(3)).await;
    let token = client.login("user-1@example.com").await.text_of("access_token");
    data.settled().await;
    // What code of the next fold number would have left.
    let store = Population::of(&data).store;
    let newer = store.views.clone().with_fold(domain::FOLD + 1);
    for user in &users {
        let user = user.parse().unwrap();
        let snapshot = store.log.fold(user).await.unwrap().outcome.unwrap();
        assert_eq!(newer.put(user, &snapshot, Replacing::Older).await.unwrap(), Put::Written);
    }
    let me = client.me(&token).await;
    assert_eq!((me.status.as_u16(), &me.json()["email"]), (200, &json!("user-1@example.com")));

    let rebuilt = data.run(&["rebuild"]).await;
    assert_eq!(rebuilt.code, Some(1), "{rebuilt:?}");
    let told = "3 of newer code, left; after a roll-back, see --replace-newer";
    assert!(rebuilt.out.contains(told) && rebuilt.out.contains("put by newer code"), "{rebuilt:?}");
    let rebuilt = data.run(&["rebuild", "--replace-newer", "--json"]).await;
    assert_eq!((rebuilt.code, &rebuilt.json()["written"]), (Some(0), &json!(3)), "{rebuilt:?}");
    assert_eq!(data.run(&["verify"]).await.code, Some(0));
    assert_eq!(client.me(&token).await.text, me.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rebuilds_with_one_folder_and_a_kill_between_them_do_no_harm() {
    let data = Data::new();
    let server = data.serve().await;
    let population = Population::of(&data);
    let users = population.with_long_logs(30).await;
    delete_view(&data, &users[0].to_string()).await;
    let (first, second, ()) = tokio::join!(
        data.run(&["rebuild", "--json"]),
        data.run(&["rebuild", "--json"]),
        killed_on_the_way(&data, &["rebuild"], "unfinished-rebuild.json"),
    );
    for ended in [first, second] {
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    assert_eq!(data.run(&["rebuild"]).await.code, Some(0), "whatever the killed one has left");
    assert_eq!(data.run(&["verify"]).await.code, Some(0));
    drop(server);
}
