//! Logs longer than a page of DynamoDB, which is 1 MB.

use domain::Version;
use storage::{Broken, Loaded, Snapshot};
use testkit::{Engine, Fault};

use crate::fixture::{Person, World, commit_key, key, registration, second, sign_in, somebody};

/// Somebody with this many sign-ins behind them, each with a `User-Agent` of that many octets.
async fn veteran(world: &World, sign_ins: u32, agent: usize) -> (Person, Snapshot) {
    let ada = somebody("ada@example.com");
    let mut loaded = Loaded::unborn(ada.user).unwrap();
    world.store.execute(&mut loaded, &registration(&ada)).await.unwrap();
    for attempt in 1..=sign_ins {
        let mut intent = sign_in(&ada, attempt.into(), &world.begin(&ada));
        intent.agent = Some("a".repeat(agent));
        intent.at = second(attempt.into());
        world.store.execute(&mut loaded, &intent).await.unwrap();
    }
    (ada, loaded.snapshot().clone())
}

#[tokio::test]
async fn a_log_of_a_few_large_commits_is_read_whole() {
    let world = World::start().await;
    let (ada, expected) = veteran(&world, 8, 340_000).await;
    world.meter.reset();
    assert_eq!(world.fold(&ada).await.unwrap(), expected);
    let requests = world.meter.taken().requests;
    assert!(requests.iter().filter(|name| *name == "Query").count() >= 3, "{requests:?}");
    let scanned = world.scan().await;
    assert_eq!(scanned.len(), 1);
    assert_eq!(scanned[0].outcome.as_ref(), Ok(&expected));
    // From the middle, with and without the vault in hand.
    let mut loaded = world.load(&ada).await;
    world.store.freshen(&mut loaded).await.unwrap();
    assert_eq!(loaded.snapshot(), &expected);
    // And a hole behind the first page is seen.
    world.delete(&world.tables.events, key(&ada, &commit_key(6))).await;
    let gap = Broken::Gap { expected: Version::new(6), found: Version::new(7) };
    assert_eq!(world.broken(&ada).await, gap);
}

#[tokio::test]
async fn a_scan_keeps_a_few_pages_of_a_user_and_leaves_a_longer_log_to_a_query() {
    let world = World::start().await;
    for (commits, queries) in [(9, 0), (15, 1)] {
        let (ada, expected) = veteran(&world, commits, 340_000).await;
        world.meter.reset();
        let scanned = world.scan().await;
        assert!(scanned.iter().any(|scanned| scanned.outcome.as_ref() == Ok(&expected)));
        let requests = world.meter.taken().requests;
        // A log of five megabytes takes several pages: a query begins once, by reading the vault.
        assert_eq!(requests.iter().filter(|name| *name == "GetItem").count(), queries, "{requests:?}");
        for item in world.log_items(&ada).await {
            world.delete(&world.tables.events, key(&ada, &item)).await;
        }
        world.delete(&world.tables.identifiers, world.identifier_key(&ada)).await;
    }
}

#[tokio::test]
async fn a_log_of_thousands_of_commits_is_read_whole_and_loading_costs_what_it_cost_at_first() {
    let world = World::start().await;
    let bob = world.register("bob@example.com").await;
    world.sign_in(&bob, 1).await;
    world.project(&bob).await;
    world.meter.reset();
    world.load(&bob).await;
    let young = world.meter.taken();

    // DynamoDB Local does one thing at a time, and each takes longer the longer the log: ten thousand keep everybody
    // waiting for minutes. Two thousand are more than a page, too.
    let sign_ins: u32 = if Engine::is_elsewhere() { 2_000 } else { 10_000 };
    let (ada, expected) = veteran(&world, sign_ins, 400).await;
    world.project(&ada).await;
    world.meter.reset();
    world.load(&ada).await;
    let old = world.meter.taken();
    assert_eq!(young.requests, ["BatchGetItem"]);
    assert_eq!(old, young, "units and all");
    world.meter.reset();
    world.sign_in(&ada, u64::from(sign_ins) + 1).await;
    assert_eq!(world.meter.taken().requests, ["BatchGetItem", "TransactWriteItems"]);

    // And so does a page of the history, wherever it is.
    let loaded = world.load(&ada).await;
    let mut costs = Vec::new();
    let newest = u64::from(sign_ins) + 3;
    for before in [None, Some(newest - 1_003), Some(150)] {
        world.meter.reset();
        let page = world.store.look_back(&loaded, before.map(Version::new), 100).await.unwrap();
        assert_eq!((page.len(), page[0].version.number()), (100, before.unwrap_or(newest) - 1));
        costs.push(world.meter.taken());
    }
    assert!(costs[0].read_units < 50.0 && costs[0].requests == ["Query"], "{costs:?}");
    assert!(costs.iter().all(|cost| (cost.read_units - costs[0].read_units).abs() < 2.0), "{costs:?}");

    let folded = world.fold(&ada).await.unwrap();
    assert_eq!(folded.head.version.number(), expected.head.version.number() + 1);
    assert_eq!(folded.user.account().unwrap().sessions.len(), domain::MAX_SESSIONS);
    let scanned = world.scan().await;
    assert_eq!(scanned.len(), 2);
    assert!(
        scanned.iter().any(|scanned| scanned.user == ada.user && scanned.outcome.as_ref() == Ok(&folded))
    );
}

#[tokio::test]
async fn a_scan_that_was_interrupted_goes_on_and_misses_nobody() {
    let world = World::start().await;
    let mut people = Vec::new();
    for name in ["ada", "bob", "eve", "kim"] {
        people.push(world.register(&format!("{name}@example.com")).await.user);
    }
    // A broken log is read again by Query before it is called broken, and that Query fails.
    let vault = world
        .all(&world.tables.events)
        .await
        .into_iter()
        .find(|item| item["item"].as_s().unwrap() == "vault");
    let mut torn = vault.unwrap();
    let broken: domain::UserId = torn["user"].as_s().unwrap().parse().unwrap();
    torn.remove("data_key");
    world.put(&world.tables.events, torn).await;

    world.faults.script("Query", 1, Fault::DropBefore);
    world.faults.script("Scan", 1, Fault::DropBefore);
    let mut scan = world.store.log.scan(storage::Segment { index: 0, total: 1 });
    let (mut met, mut failures) = (Vec::new(), 0);
    loop {
        match scan.next().await {
            Ok(Some(scanned)) => met.extend(scanned),
            Ok(None) => break,
            Err(_) => failures += 1,
        }
    }
    assert_eq!(world.faults.outstanding(), 0);
    assert!(failures >= 1);
    for scanned in &met {
        assert_eq!(scanned.outcome.is_err(), scanned.user == broken);
    }
    let mut met: Vec<_> = met.into_iter().map(|scanned| scanned.user).collect();
    met.sort();
    people.sort();
    assert_eq!(met, people);
}
