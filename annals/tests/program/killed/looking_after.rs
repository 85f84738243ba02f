use super::{Home, Random, run_and_kill};
use crate::client::{Client, emails};
use crate::looking_after::empty;

const USERS: u32 = 50;

/// The views there are, if a server runs.
async fn views(home: &Home) -> u64 {
    let views = home.data.tables().scan().table_name("annals-views").send().await.unwrap();
    u64::try_from(views.count()).unwrap()
}

/// Empties the read model and kills what would make it again, beside a server and alone; nothing of it is wrong, and
/// the same again completes it.
async fn is_killed_and_run_again(command: &str) {
    let mut random = Random::seeded(command);
    let home = Home::new();
    let mut server = Some(home.start().await);
    Client::of(server.as_ref().unwrap()).populate(emails(USERS)).await;
    assert_eq!(home.verified().await, (u64::from(USERS), 2 * u64::from(USERS)));
    let mut halfway = 0;
    // On a busy machine a command may be done before it is killed: then some more.
    for round in 0..40 {
        if round >= 8 && halfway > 0 {
            break;
        }
        if server.is_none() {
            server = Some(home.start().await);
        }
        assert_eq!(empty(&home.data, "annals-views", &["user"]).await, USERS as usize);
        if round % 2 == 0 {
            // Beside the server, from the first view on that it has made.
            let mut child =
                home.data.command(&[command]).stdout(std::process::Stdio::null()).spawn().unwrap();
            while views(&home).await == 0 {
                if child.try_wait().unwrap().is_some() {
                    assert!(views(&home).await > 0, "it ended and made nothing");
                }
            }
            tokio::time::sleep(random.within_ms(40)).await;
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            // Alone, holding the data: from its start on.
            server.take().unwrap().stop().await;
            run_and_kill(home.data.command(&[command]), random.within_ms(250)).await;
        }

        let found = home.data.run(&["rebuild", "--dry-run", "--json"]).await.json();
        let made = found["equal"].as_u64().unwrap();
        assert_eq!(found["absent"], u64::from(USERS) - made, "whole or not there: {found}");
        halfway += u32::from((1..u64::from(USERS)).contains(&made));
        let again = home.data.run(&[command, "--json"]).await;
        assert_eq!(again.code, Some(0), "{again:?}");
        assert_eq!(home.verified().await, (u64::from(USERS), 2 * u64::from(USERS)));
        let found = home.data.run(&["rebuild", "--dry-run", "--json"]).await.json();
        assert_eq!(found["equal"], USERS, "{found}");
    }
    println!("{command}: {halfway} of the kills came halfway");
    assert!(halfway > 0, "no kill came halfway");
    let server = match server {
        Some(server) => server,
        None => home.start().await,
    };
    assert_eq!(Client::of(&server).login("user-1@example.com").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_killed_leaves_whole_views_and_is_completed_by_another() {
    is_killed_and_run_again("rebuild").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_is_killed_leaves_whole_views_and_is_completed_by_another() {
    is_killed_and_run_again("repair").await;
}
