//! Mails in all weathers: requests lost, late, refused and doubled on the way to DynamoDB, and mailers that go down.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::UserId;
use futures::future::join_all;
use mailer::{Outbox, Transport};
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{Lifetimes, Store};
use testkit::{InProcess, Mishap, Random, Storm, Weather};
use tokio::time::{Instant, timeout};

use crate::ground::{batch, mailer, noon, registered};

/// So many users register before the storm.
const USERS: usize = 8;
/// So many batches are under way at once, as many times over.
const AT_ONCE: usize = 3;

/// The time by the paused clock: the story begins at noon.
fn now(began: Instant) -> DateTime<Utc> {
    noon() + TimeDelta::from_std(began.elapsed()).unwrap()
}

/// What came of a storm: how often each user was sent their mail, the mishaps met, and the mailers that went down.
struct Aftermath {
    mails: BTreeMap<String, usize>,
    mishaps: u64,
    downs: usize,
}

/// Hands batches of the users' registrations, some of them twice and in any order, to several mailers at once, until
/// all of it is done. Of `downs` handlings in a hundred the mailer goes down at some moment.
async fn weathered(seed: u64, downs: f64) -> Aftermath {
    let mut random = Random::new(seed);
    let storm = Storm::around(InProcess::start(), seed);
    let tables = Tables::prefixed("storm");
    tables.create(&storm.client()).await.unwrap();
    let keys = ServiceKeys::random().unwrap();
    let log = Store::new(&storm.client(), &tables, &keys, Lifetimes::default());
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(registered(&log, &format!("user-{number}@example.com")).await);
    }
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(folder.path()).unwrap();
    let began = Instant::now();
    let mut went_down = 0;
    storm.rages(Weather::of(&mut random));
    for _ in 0..5 {
        let handlings = (0..AT_ONCE).map(|_| {
            let mailer = mailer(&storm.client(), &tables, &keys, Transport::Outbox(outbox.clone()));
            let commits: Vec<(UserId, u64)> = (0..USERS).map(|_| (users[random.below(USERS)], 1)).collect();
            let life = if random.chance(downs) { random.millis(1, 1_000) } else { Duration::from_hours(1) };
            async move { timeout(life, mailer::handle(&mailer, batch(&commits), now(began))).await.is_err() }
        });
        let handlings: Vec<_> = handlings.collect();
        went_down += join_all(handlings).await.into_iter().filter(|down| *down).count();
        tokio::time::sleep(random.millis(0, 40_000)).await;
    }
    storm.abates().await;
    // What is left comes again, when every lease has ended.
    tokio::time::sleep(Duration::from_mins(1)).await;
    let mailer = mailer(&storm.client(), &tables, &keys, Transport::Outbox(outbox.clone()));
    let all: Vec<_> = users.iter().map(|user| (*user, 1)).collect();
    let answer = mailer::handle(&mailer, batch(&all), now(began)).await;
    assert!(answer.batch_item_failures.is_empty(), "{answer:?}");

    let mut mails = BTreeMap::new();
    for mail in outbox.list().unwrap() {
        *mails.entry(mail.to).or_default() += 1;
    }
    let mishaps = storm.met().into_iter().filter(|(mishap, _)| *mishap != Mishap::Stale);
    Aftermath { mails, mishaps: mishaps.map(|(_, times)| times).sum(), downs: went_down }
}

#[tokio::test(start_paused = true)]
async fn in_any_weather_each_mail_is_sent_once() {
    let mut mishaps = 0;
    for seed in 0..8 {
        let after = weathered(seed, 0.0).await;
        assert_eq!(after.mails.len(), USERS, "seed {seed}: {:?}", after.mails);
        assert!(after.mails.values().all(|times| *times == 1), "seed {seed}: {:?}", after.mails);
        mishaps += after.mishaps;
    }
    assert!(mishaps > 50, "the weather was fair: {mishaps}");
}

#[tokio::test(start_paused = true)]
async fn mailers_that_go_down_at_any_moment_lose_no_mail() {
    let (mut downs, mut twice) = (0, 0);
    for seed in 100..108 {
        let after = weathered(seed, 0.7).await;
        assert_eq!(after.mails.len(), USERS, "seed {seed}: {:?}", after.mails);
        let doubled: usize = after.mails.values().map(|times| times - 1).sum();
        assert!(doubled <= after.downs * 8, "seed {seed}: {:?}", after.mails);
        downs += after.downs;
        twice += doubled;
    }
    println!("{downs} mailers went down, {twice} mails were sent twice");
    assert!(downs > 20, "hardly a mailer went down: {downs}");
}
