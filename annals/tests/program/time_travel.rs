use serde_json::{Value, json};

use crate::client::{ADA, Client, PASSWORD};
use crate::process::Data;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_shown_as_they_are_and_as_they_were() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    let body = json!({"email": ADA, "password": PASSWORD, "name": "Ada"});
    let user = client.try_post("/register", body).await.unwrap().text_of("user_id");
    let first = client.login(ADA).await;
    let second = client.login(ADA).await;
    assert_eq!(client.logout(&first.text_of("access_token")).await.status, 204);
    let history = data.run(&["history", ADA, "--json"]).await;
    let events: Vec<Value> = history.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let time = |version: usize| events[version - 1]["at"].as_str().unwrap().to_owned();
    let state = async |args: &[&str]| {
        let shown = data.run(&[&["state", ADA, "--json"], args].concat()).await;
        assert_eq!(shown.code, Some(0), "{shown:?}");
        shown.json()
    };
    let sessions = |state: &Value| -> Vec<String> {
        let sessions = state["sessions"].as_array().unwrap().iter();
        sessions.map(|session| session["session_id"].as_str().unwrap().to_owned()).collect()
    };
    let (one, two) = (first.text_of("session_id"), second.text_of("session_id"));
    let alive = [vec![], vec![one.clone()], vec![one, two.clone()], vec![two.clone()]];

    for (version, alive) in (1..=4).zip(&alive) {
        let by_version = state(&["--version", &version.to_string()]).await;
        assert_eq!((&by_version["version"], &by_version["at"]), (&json!(version), &json!(time(version))));
        assert_eq!(sessions(&by_version), *alive);
        let mut expected = json!({
            "user_id": user, "as_of": time(version), "version": version, "at": time(version),
            "status": "active", "email": ADA, "email_verified": false, "name": "Ada",
            "created_at": time(1), "updated_at": time(1), "profile_version": 1,
            "last_success": version.min(3) - 1,
        });
        expected["credential"] = events[0]["event"]["UserRegistered"]["credential"].clone();
        expected["sessions"] = by_version["sessions"].clone();
        assert_eq!(by_version, expected);
        let by_time = state(&["--at", &time(version)]).await;
        if version == 4 || time(version) != time(version + 1) {
            assert_eq!(by_time, by_version);
        }
    }
    let now = state(&[]).await;
    assert_eq!((&now["version"], sessions(&now)), (&json!(4), vec![two.clone()]));
    assert!(now["as_of"].as_str().unwrap() >= &*time(4));
    // Long after, no session is alive, whatever the log says last.
    let later = state(&["--at", "2126-01-01"]).await;
    assert_eq!((&later["version"], sessions(&later)), (&json!(4), vec![]));

    server.stop().await;
    let shown = data.run(&["state", &user]).await;
    assert_eq!((shown.code, shown.err.as_str()), (Some(0), ""), "{shown:?}");
    for line in [
        format!("user        {user}, active\n"),
        format!("\nversion     4, of {}\n", time(4)),
        format!("\nemail       {ADA} (not verified)\nname        Ada\n"),
        format!("\nsession     {two}, until 20"),
    ] {
        assert!(shown.out.contains(&line), "{line:?}: {shown:?}");
    }
    for secret in [PASSWORD, "argon2", &first.text_of("refresh_token"), &second.text_of("refresh_token")] {
        assert!(!shown.out.contains(secret) && !now.to_string().contains(secret), "{shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_outside_the_log_is_refused_and_the_log_is_named() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    client.register(ADA).await;
    client.login(ADA).await;
    data.run(&["state", ADA, "--version", "3"]).await.is_refused("the log ends with commit 2");
    let beyond = u64::MAX.to_string();
    data.run(&["state", ADA, "--version", &beyond]).await.is_refused("the log ends with commit 2");
    data.run(&["state", ADA, "--version", "0"]).await.is_refused("the first commit is 1");
    let early = data.run(&["state", ADA, "--at", "2001-01-01"]).await;
    early.is_refused("no state of ada@example.com at that moment: the earliest commit is of 20");
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    data.run(&["state", unknown]).await.is_refused(&format!("there is no user {unknown}"));
    data.run(&["state", "eve@example.com"]).await.is_refused("there is no user eve@example.com");
    data.run(&["state", "ada"]).await.is_refused("is neither a user id nor an address");
    for (args, naming) in [
        (&["state"][..], "<USER>"),
        (&["state", ADA, "--version", "one"], "one"),
        (&["state", ADA, "--at", "noon"], "2026-11-22T17:22:53Z"),
        (&["state", ADA, "--version", "1", "--at", "2100-01-01"], "--version"),
    ] {
        let refused = data.run(args).await;
        assert_eq!((refused.code, refused.out.as_str()), (Some(2), ""), "{refused:?}");
        assert!(refused.err.contains(naming), "{refused:?}");
    }
}
