use serde_json::json;

use crate::client::{Client, emails};
use crate::looking_after::empty;
use crate::process::{Data, program, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_read_model_comes_back_equal() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    client.populate(emails(11)).await;
    let signed_in = client.login("user-7@example.com").await;
    let token = signed_in.text_of("access_token");
    assert_eq!(data.run(&["verify"]).await.code, Some(0));
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
    assert_eq!(data.run(&["verify"]).await.code, Some(0));
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
