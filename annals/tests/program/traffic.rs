use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::client::{Client, emails};
use crate::looking_after::delete_view;
use crate::process::{Data, Running, until};

/// Clients that register, sign in, read and sign out until they are told to stop; everything they were answered that
/// is neither a success, nor a taken address, nor a wait.
async fn traffic(client: Client, number: u32, counter: Arc<AtomicU32>, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut surprises = Vec::new();
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let email = format!("client-{number}-{round}@example.com");
        let answers = [
            client.register(&email).await,
            client.register(&email).await,
            client.login(&email).await,
            client.login(&format!("user-{}@example.com", round % 20 + 1)).await,
        ];
        for answer in &answers {
            let status = answer.status.as_u16();
            if !matches!(status, 200..300 | 409 | 429) {
                surprises.push(format!("{answer:?}"));
            }
        }
        if answers[2].status == 200 {
            let token = answers[2].text_of("access_token");
            for answer in [client.me(&token).await, client.logout(&token).await] {
                if !answer.status.is_success() {
                    surprises.push(format!("{answer:?}"));
                }
            }
        }
        counter.fetch_add(1, Ordering::Relaxed);
    }
    surprises
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_beside_live_traffic_disturbs_nobody_and_leaves_everything_right() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    let users = client.populate(emails(20)).await;

    let (counter, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..4)
        .map(|number| tokio::spawn(traffic(client.clone(), number, Arc::clone(&counter), Arc::clone(&stop))))
        .collect();
    for _ in 0..4 {
        for user in &users[..10] {
            delete_view(&data, user).await;
        }
        let before = counter.load(Ordering::Relaxed);
        // Killed when it has come somewhere, or was quicker than that; the next one goes on.
        let unfinished = data.path().join("unfinished-rebuild.json");
        let mut killed = Running::start(data.command(&["rebuild"]));
        until("a rebuild that has begun", || unfinished.exists() || killed.has_ended()).await;
        killed.kill();
        let rebuilt = data.run(&["rebuild"]).await;
        assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
        let verified = data.run(&["verify"]).await;
        assert_eq!(verified.code, Some(0), "also while they go on: {verified:?}");
        assert!(counter.load(Ordering::Relaxed) > before, "nobody was there to be disturbed");
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert_eq!(client.await.unwrap(), [""; 0]);
    }
    let verified = data.run(&["verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    server.stop().await;
    let verified = data.run(&["verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}
