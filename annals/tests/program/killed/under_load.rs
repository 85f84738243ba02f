use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::person::{Person, come_and_go};
use super::{Home, Random, run_and_kill};
use crate::client::Client;
use crate::process::{Server, until};

const CLIENTS: u64 = 3;

/// What came of several kills, for a reader and for the assertion that they hit something.
#[derive(Debug, Default)]
struct Tally {
    /// Users and commits in the log.
    users: u64,
    commits: u64,
    /// Requests whose answers were lost, asked for again after the restart.
    asked_again: u64,
    /// Views that were behind their logs when the server was killed.
    behind: u64,
    /// Starts that were killed before the server said that it listens, and after.
    killed_starts: u64,
}

/// Puts a server under load, and kills it at some moment after so many answers; what its clients know.
async fn kill_under_load(server: Server, random: &mut Random, prefix: &str) -> Vec<Person> {
    let answers = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let prefix = format!("{prefix}-client-{number}");
            let client = Client::of(&server);
            tokio::spawn(come_and_go(client, random.split(), prefix, Arc::clone(&answers)))
        })
        .collect();
    let least = random.below(40);
    until("answers", || answers.load(Ordering::Relaxed) > least).await;
    tokio::time::sleep(random.within_ms(30)).await;
    server.kill();
    let mut people = Vec::new();
    for client in clients {
        people.extend(client.await.unwrap());
    }
    people
}

impl Tally {
    /// Checks what each may rely on, and then the whole.
    async fn check(&mut self, home: &Home, client: &Client, people: Vec<Person>) -> Vec<Person> {
        let tables = home.data.tables();
        let checks: Vec<_> = people
            .into_iter()
            .map(|mut person| {
                let (client, tables) = (client.clone(), tables.clone());
                tokio::spawn(async move { (person.check(&client, &tables).await, person) })
            })
            .collect();
        let mut checked = Vec::new();
        for check in checks {
            let (asked_again, person) = check.await.unwrap();
            self.asked_again += asked_again;
            self.users += 1;
            self.commits += person.commits();
            checked.push(person);
        }
        // Nothing is in the log but what somebody asked for, and nothing twice.
        assert_eq!(home.verified().await, (self.users, self.commits), "{self:?}");
        checked
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_loses_and_doubles_nothing() {
    let mut random = Random::seeded("under load");
    let home = Home::new();
    let (mut tally, mut all) = (Tally::default(), Vec::new());
    let mut server = home.start().await;
    for round in 0..35 {
        let people = kill_under_load(server, &mut random, &format!("round-{round}")).await;
        if round % 5 == 0 {
            let left = home.data.run(&["rebuild", "--dry-run", "--json"]).await.json();
            tally.behind += left["absent"].as_u64().unwrap() + left["behind"].as_u64().unwrap();
        }
        server = home.start().await;
        all.extend(tally.check(&home, &Client::of(&server), people).await);
    }
    println!("{tally:?}");
    assert!(tally.asked_again > 0, "every kill came when nobody was waiting: {tally:?}");
    assert!(tally.behind > 0, "the projector was never killed with work to do: {tally:?}");
    for person in &mut all {
        person.check_registration(&Client::of(&server)).await;
    }
    assert_eq!(server.stop().await.code, Some(0));
    assert_eq!(home.verified().await, (tally.users, tally.commits));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_again_while_it_starts_loses_nothing_either() {
    let mut random = Random::seeded("twice in a row");
    let home = Home::new();
    let mut tally = Tally::default();
    let mut server = home.start().await;
    for round in 0..20 {
        let people = kill_under_load(server, &mut random, &format!("round-{round}")).await;
        // Before it listens, while it catches up with the stream, or in its first moments at work.
        for _ in 0..=random.below(2) {
            tally.killed_starts += u64::from(run_and_kill(home.serve(), random.within_ms(300)).await);
        }
        server = home.start().await;
        tally.check(&home, &Client::of(&server), people).await;
    }
    println!("{tally:?}");
    assert!(tally.killed_starts >= 20, "a start that ended by itself is no kill: {tally:?}");
    assert_eq!(server.stop().await.code, Some(0));
}
