//! What the mailer rests on: one commit read by itself, and the claims of mails.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use domain::{UserEvent, Version};
use storage::{Broken, Claimed, MailClaim, MailClaims, OpenError, ReadError};
use testkit::Fault;

use crate::fixture::{Person, World, commit_key, key, second, sign_in, text};

const LEASE: TimeDelta = TimeDelta::seconds(30);
const PATIENCE: Duration = Duration::from_secs(10);

fn v(number: u64) -> Version {
    Version::new(number)
}

fn claims(world: &World) -> MailClaims {
    MailClaims::new(world.raw.clone(), world.tables.sessions.clone())
}

async fn ours(claims: &MailClaims, person: &Person, seconds: i64) -> MailClaim {
    match claims.claim(person.user, v(1), LEASE, second(seconds)).await.unwrap() {
        Claimed::Ours(claim) => claim,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_commit_is_read_in_one_request_and_nothing_around_it() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    for attempt in 1..=3 {
        world.execute(&ada, &sign_in(&ada, attempt, &world.begin(&ada))).await.unwrap();
    }
    for damaged in [1, 4] {
        let item = world.commit(&ada, damaged).await;
        world.patch(&world.tables.events, item, "at", Some(text("2100-11-22T13:00:00.250Z"))).await;
    }
    world.meter.reset();
    let read = world.store.log.commit(ada.user, v(3)).await.unwrap().unwrap();
    assert_eq!(world.meter.taken().requests, ["BatchGetItem"]);
    assert_eq!((read.user, read.version), (ada.user, v(3)));
    assert!(
        matches!(&read.events[0].event, UserEvent::UserSignedIn { password, .. } if password.attempt == 2),
        "{read:?}"
    );
    assert!(world.store.log.commit(ada.user, v(5)).await.unwrap().is_none());
    assert!(world.store.log.commit(ada.user, Version::NONE).await.unwrap().is_none());

    // The one that is damaged, and the one that is bound to it.
    for version in [1, 2, 4] {
        let refused = world.store.log.commit(ada.user, v(version)).await.unwrap_err();
        let seal = Broken::Commit(v(version), OpenError::Broken);
        assert!(matches!(&refused, ReadError::Broken(broken) if *broken == seal), "{refused:?}");
    }
    world.delete(&world.tables.events, key(&ada, &commit_key(2))).await;
    let refused = world.store.log.commit(ada.user, v(3)).await.unwrap_err();
    assert!(matches!(refused, ReadError::Broken(Broken::Gap { .. })), "{refused:?}");
}

#[tokio::test]
async fn of_fifty_claims_at_once_one_is_granted() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let claims = claims(&world);
    let asked = (0..50).map(|_| claims.claim(ada.user, v(1), LEASE, second(0)));
    let granted = futures::future::join_all(asked).await;
    let granted = granted.into_iter().filter(|claimed| matches!(claimed, Ok(Claimed::Ours(_)))).count();
    assert_eq!(granted, 1);
    // Another commit's is another one.
    let other = claims.claim(ada.user, v(2), LEASE, second(0)).await.unwrap();
    assert!(matches!(other, Claimed::Ours(_)));
}

#[tokio::test]
async fn a_claim_is_taken_over_when_its_lease_has_ended_or_it_was_given_up_and_not_before() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let claims = claims(&world);
    let first = ours(&claims, &ada, 0).await;
    let soon = claims.claim(ada.user, v(1), LEASE, second(29)).await.unwrap();
    assert!(matches!(soon, Claimed::Held));
    let mut second_one = ours(&claims, &ada, 30).await;
    // The first has nothing to say any more.
    claims.release(&first).await.unwrap();
    assert!(!claims.note(&mut first.clone(), true, LEASE, PATIENCE, second(31)).await.unwrap());
    assert!(matches!(claims.claim(ada.user, v(1), LEASE, second(31)).await.unwrap(), Claimed::Held));

    assert!(claims.note(&mut second_one, false, LEASE, PATIENCE, second(50)).await.unwrap());
    assert!(matches!(claims.claim(ada.user, v(1), LEASE, second(79)).await.unwrap(), Claimed::Held));
    claims.release(&second_one).await.unwrap();
    let mut third = ours(&claims, &ada, 60).await;
    assert_eq!(third.sent, 1, "what was sent is known to whoever goes on");
    assert!(claims.note(&mut third, true, LEASE, PATIENCE, second(61)).await.unwrap());
    for seconds in [61, 1_000_000] {
        let later = claims.claim(ada.user, v(1), LEASE, second(seconds)).await.unwrap();
        assert!(matches!(later, Claimed::Done), "{later:?}");
    }
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_known_for_ours() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let (client, faults, _) = world.engine.faulty();
    let retrying = client.config().to_builder();
    let retries = aws_sdk_dynamodb::config::retry::RetryConfig::standard();
    let client = aws_sdk_dynamodb::Client::from_conf(retrying.retry_config(retries).build());
    let claims = MailClaims::new(client, world.tables.sessions.clone());
    faults.script("UpdateItem", 1, Fault::error_after(500, "InternalServerError"));
    assert_eq!(ours(&claims, &ada, 0).await.sent, 0);
}

#[tokio::test]
async fn what_is_sent_is_noted_however_often_that_fails() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let (client, faults, _) = world.engine.faulty();
    let claims = MailClaims::new(client, world.tables.sessions.clone());
    let mut claim = ours(&claims, &ada, 0).await;
    for nth in 1..=6 {
        faults.script("UpdateItem", nth, Fault::error(500, "InternalServerError"));
    }
    assert!(claims.note(&mut claim, true, LEASE, PATIENCE, second(1)).await.unwrap());
    assert!(matches!(claims.claim(ada.user, v(1), LEASE, second(1)).await.unwrap(), Claimed::Done));
}

#[tokio::test]
async fn a_lease_that_nobody_took_binds_nobody() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let claims = claims(&world);
    ours(&claims, &ada, 0).await;
    let item = world.item(&world.tables.sessions, &ada, "mail-0000000001").await;
    let far = AttributeValue::N(second(1_000_000).timestamp_millis().to_string());
    for made_up in [far, text("for ever")] {
        world.patch(&world.tables.sessions, item.clone(), "until", Some(made_up)).await;
        ours(&claims, &ada, 1).await;
    }
}
