//! The bound on mails that strangers can cause: 3 within any hour, 10 within any day, for known and unknown addresses
//! alike, and exact however many ask at once.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Command, Email};
use futures::future::join_all;
use storage::{Enclosed, ExecuteError, Guessed, Identifier, Intent, Pretended};
use testkit::Fault;

use crate::fixture::{Item, Person, World, intent, key, noon, octets, text};

fn minute(minutes: i64) -> DateTime<Utc> {
    noon() + TimeDelta::minutes(minutes)
}

fn request(person: &Person, now: DateTime<Utc>) -> Intent {
    let email = person.email.clone();
    let command = Command::RequestPasswordReset { email, ends: now + TimeDelta::minutes(10) };
    Intent { at: now, ..intent(command, Enclosed::Nothing) }
}

/// Whether a mail goes out to somebody.
async fn asks(world: &World, person: &Person, now: DateTime<Utc>) -> bool {
    match world.execute(person, &request(person, now)).await {
        Ok(appended) => appended.version.is_some(),
        Err(ExecuteError::TooManyMails(_)) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// Whether a mail would go out to an address that nobody has.
async fn pretends(world: &World, unknown: &Identifier, now: DateTime<Utc>) -> bool {
    world.store.pretend_mail(&Guessed::Unknown(unknown.clone()), now).await.unwrap() == Pretended::Sent
}

fn nobody(world: &World) -> Identifier {
    world.store.identifiers.key.email(&Email::parse("nobody@example.com").unwrap())
}

#[tokio::test]
async fn three_mails_go_out_within_any_hour_and_ten_within_any_day_for_known_and_unknown_addresses_alike() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let nobody = nobody(&world);
    // Every ten minutes for three days.
    let mut sent = Vec::new();
    for now in (0..3 * 24 * 6).map(|tens| minute(10 * tens)) {
        let goes_out = asks(&world, &ada, now).await;
        assert_eq!(pretends(&world, &nobody, now).await, goes_out, "{now}");
        if goes_out {
            sent.push(now);
        }
    }
    // As many as the rule allows: three in the first hour, and so on; and then one for each that is a day old.
    let minutes: Vec<i64> = sent.iter().take(12).map(|sent| (*sent - noon()).num_minutes()).collect();
    assert_eq!(minutes, [0, 10, 20, 60, 70, 80, 120, 130, 140, 180, 1_440, 1_450]);
    assert_eq!(sent.len(), 30);
    for (index, first) in sent.iter().enumerate() {
        let within =
            |time| sent[index..].iter().filter(|later| **later - *first < TimeDelta::minutes(time)).count();
        assert!(within(60) <= 3 && within(24 * 60) <= 10, "{first}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_requests_at_once_three_become_events() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let nobody = nobody(&world);
    let sent = join_all((0..50).map(|_| asks(&world, &ada, noon()))).await;
    assert_eq!(sent.iter().filter(|sent| **sent).count(), 3);
    assert_eq!(world.fold(&ada).await.unwrap().head.version.number(), 4, "and no more than three commits");
    let pretended = join_all((0..50).map(|_| pretends(&world, &nobody, noon()))).await;
    assert_eq!(pretended.iter().filter(|sent| **sent).count(), 3);
}

#[tokio::test]
async fn a_mail_and_its_event_are_counted_and_written_together_or_not_at_all() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    for number in 0..3 {
        assert!(asks(&world, &ada, minute(number)).await);
    }
    let before = world.item(&world.tables.sessions, &ada, "mails").await;
    assert!(!asks(&world, &ada, minute(3)).await);
    assert_eq!(world.log_items(&ada).await.len(), 5, "four commits and the vault");
    assert_eq!(world.item(&world.tables.sessions, &ada, "mails").await, before);
}

#[tokio::test]
async fn an_answer_that_was_lost_counts_no_mail_twice() {
    for fault in [Fault::DropAfter, Fault::DropBefore, Fault::cancelled(&["None", "TransactionConflict"])] {
        let world = World::start().await;
        let ada = world.register("ada@example.com").await;
        world.faults.script("TransactWriteItems", 1, fault.clone());
        assert!(asks(&world, &ada, noon()).await, "{fault:?}");
        assert_eq!(world.faults.outstanding(), 0);
        assert!(asks(&world, &ada, noon()).await && asks(&world, &ada, noon()).await);
        assert!(!asks(&world, &ada, noon()).await);
        assert_eq!(world.fold(&ada).await.unwrap().head.version.number(), 4);
    }
}

#[tokio::test]
async fn what_was_not_made_by_counting_keeps_nobody_from_their_mail() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    for (name, value) in [
        ("sent3", text("soon")),
        ("sent3", octets([1, 2, 3])),
        ("sent10", text("")),
        ("sent3", aws_sdk_dynamodb::types::AttributeValue::N(i64::MAX.to_string())),
        ("sent10", aws_sdk_dynamodb::types::AttributeValue::N(minute(2).timestamp_millis().to_string())),
    ] {
        let mut item: Item = key(&ada, "mails");
        item.insert(name.to_owned(), value.clone());
        world.put(&world.tables.sessions, item).await;
        assert!(asks(&world, &ada, noon()).await, "{name} {value:?}");
    }
}

#[tokio::test]
async fn what_is_left_of_mails_goes_away_by_itself_and_not_before_it_says_nothing() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    assert!(asks(&world, &ada, noon()).await && pretends(&world, &nobody(&world), noon()).await);
    let rows = world.all(&world.tables.sessions).await;
    let expiring = |item: &str| {
        let of = rows.iter().filter(|row| row["item"].as_s().unwrap() == item);
        of.map(|row| row["expires"].as_n().unwrap().parse::<i64>().unwrap()).collect::<Vec<_>>()
    };
    let mails = expiring("mails");
    assert_eq!(mails.len(), 2);
    assert!(mails.iter().all(|expires| *expires > minute(24 * 60).timestamp()));
    assert_eq!(expiring("decoy").len(), 1);
}

#[tokio::test]
async fn the_mail_of_nobody_costs_what_the_mail_of_somebody_costs() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let nobody = nobody(&world);
    for _ in 0..4 {
        let mut loaded = world.load(&ada).await;
        world.store.freshen(&mut loaded).await.unwrap();
        world.meter.reset();
        let known = world.store.execute(&mut loaded, &request(&ada, noon())).await.is_ok();
        let of_ada = world.meter.taken();
        world.meter.reset();
        assert_eq!(pretends(&world, &nobody, noon()).await, known);
        assert_eq!(world.meter.taken(), of_ada);
        assert_eq!(of_ada.requests, ["TransactWriteItems"]);
    }
}
