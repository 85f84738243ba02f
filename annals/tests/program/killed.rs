use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::process::{CHEAP, Data, Server, until};

const ROUNDS: u64 = 8;
const CLIENTS: u32 = 4;
/// Names the seed of a run that is to be repeated.
const SEED: &str = "ANNALS_TEST_SEED";

/// A registration that was acknowledged, and perhaps a sign-in.
#[derive(Debug)]
struct Acknowledged {
    email: String,
    user: String,
    sign_in: Option<Answer>,
}

/// Registers one user after another and signs each in, until nobody answers.
async fn load(client: Client, prefix: String, acknowledged: Arc<Mutex<Vec<Acknowledged>>>) {
    for number in 0.. {
        let email = format!("{prefix}-{number}@example.com");
        let Ok(registered) = client.try_register(&email).await else { return };
        assert_eq!(registered.status, 201, "{registered:?}");
        let user = registered.text_of("user_id");
        let one = Acknowledged { email: email.clone(), user: user.clone(), sign_in: None };
        acknowledged.lock().unwrap().push(one);
        let Ok(sign_in) = client.try_login(&email).await else { return };
        assert_eq!(sign_in.status, 200, "{sign_in:?}");
        let mut acknowledged = acknowledged.lock().unwrap();
        acknowledged.iter_mut().find(|one| one.user == user).unwrap().sign_in = Some(sign_in);
    }
}

/// A port that is free, and not one of those that the system gives to whoever asks for any: the server comes back to it.
fn free_port() -> u16 {
    let first = u16::try_from(std::process::id() % 8_000).unwrap() + 20_000;
    (first..first + 1_000).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Random numbers from a seed (xorshift64*).
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

async fn check(data: &Data, client: &Client, one: &Acknowledged) {
    let history = data.run(&["history", "--json", &one.email]).await;
    assert_eq!(history.code, Some(0), "{one:?}: {history:?}");
    let events: Vec<Value> = history.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let holds = |version: u64, event: &str| {
        events.iter().any(|found| found["version"] == version && found["event"][event].is_object())
    };
    assert!(holds(1, "UserRegistered"), "{one:?} is not in {events:?}");
    let Some(sign_in) = &one.sign_in else {
        assert_eq!(client.login(&one.email).await.text_of("user_id"), one.user);
        return;
    };
    assert!(holds(sign_in.version(), "UserSignedIn"), "{one:?} is not in {events:?}");
    let me = client.me(&sign_in.text_of("access_token")).await;
    assert_eq!(me.status, 200, "{one:?}: {me:?}");
    assert_eq!((&me.json()["email"], &me.json()["user_id"]), (&json!(one.email), &json!(one.user)));
    let refreshed = client.refresh(&sign_in.text_of("refresh_token")).await;
    assert_eq!(refreshed.status, 200, "{one:?}: {refreshed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = std::env::var(SEED).map_or(u64::from(now.subsec_nanos()), |seed| seed.parse().unwrap());
    println!("{SEED}={seed}");
    let mut state = seed | 1;
    let data = Data::new();
    let port = free_port().to_string();
    let start = async || Server::start(data.command(&["serve", "--port", &port, "--argon2", CHEAP])).await;

    let mut server = start().await;
    let mut users = 0;
    for round in 0..ROUNDS {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let prefix = format!("round-{round}-client-{number}");
                tokio::spawn(load(Client::of(&server), prefix, Arc::clone(&acknowledged)))
            })
            .collect();
        // At some moment after so many answers.
        let answers = usize::try_from(random(&mut state) % 12).unwrap();
        until("registrations", || acknowledged.lock().unwrap().len() > answers).await;
        tokio::time::sleep(Duration::from_micros(random(&mut state) % 50_000)).await;
        server.kill();
        for client in clients {
            client.await.unwrap();
        }

        server = start().await;
        let client = Client::of(&server);
        let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
        let signed_in = acknowledged.iter().filter(|one| one.sign_in.is_some()).count();
        println!("round {round}: {} registered, {signed_in} signed in", acknowledged.len());
        for one in &acknowledged {
            check(&data, &client, one).await;
        }
        users += acknowledged.len();
        // The server that came back has caught up with what the killed one left.
        let verified = data.run(&["verify", "--json"]).await;
        assert_eq!(verified.code, Some(0), "{verified:?}");
        assert!(verified.json()["users"].as_u64().unwrap() >= u64::try_from(users).unwrap());
    }
    assert_eq!(server.stop().await.code, Some(0));
    assert_eq!(data.run(&["verify"]).await.code, Some(0));
}
