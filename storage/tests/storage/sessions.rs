//! Spending refresh tokens.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use storage::keys::ServiceKeys;
use storage::{Lifetimes, NewSession, RefreshToken, Rotation, Sessions, Store};
use testkit::Fault;

use crate::fixture::{Person, World, noon, second, sign_out};

pub(crate) async fn signed_in(lifetimes: Lifetimes) -> (World, Person, NewSession) {
    let world = World::with(ServiceKeys::random().unwrap(), lifetimes).await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    (world, ada, session)
}

/// What comes of presenting a token from the browser.
pub(crate) async fn present(sessions: &Sessions, token: &str, now: DateTime<Utc>) -> Rotation {
    sessions.rotate(&parsed(sessions, token), Some("browser"), now).await.unwrap()
}

fn parsed(sessions: &Sessions, token: &str) -> RefreshToken {
    sessions.parse(token).unwrap()
}

/// The successor; fails if there is none.
pub(crate) async fn next(sessions: &Sessions, token: &str, now: DateTime<Utc>) -> String {
    match present(sessions, token, now).await {
        Rotation::Next { token, .. } => token,
        refused => panic!("{refused:?}"),
    }
}

fn no_grace() -> Lifetimes {
    Lifetimes { grace: Duration::ZERO, ..Lifetimes::default() }
}

#[tokio::test]
async fn a_refresh_token_yields_its_successor_and_the_session_goes_on() {
    let (world, ada, begun) = signed_in(Lifetimes::default()).await;
    let sessions = &world.store.sessions;
    let mut token = begun.token.clone();
    for hour in 1..=5 {
        let now = second(3_600 * hour);
        let Rotation::Next { token: successor, session } = present(sessions, &token, now).await else {
            panic!("not rotated");
        };
        assert_ne!(successor, token);
        assert_eq!(session.id, begun.id);
        assert_eq!(session.auth_time, "2100-11-22T12:00:00Z".parse::<DateTime<Utc>>().unwrap());
        let read = parsed(sessions, &successor);
        assert_eq!((read.user(), read.session()), (ada.user, begun.id));
        let (_, live) = world.store.load_acting(ada.user, Some((begun.id, now))).await.unwrap().unwrap();
        assert_eq!(live, Some(session));
        token = successor;
    }
}

#[tokio::test]
async fn a_spent_token_yields_the_same_successor_within_the_grace_to_the_same_client_only() {
    let (world, _, begun) = signed_in(Lifetimes::default()).await;
    let sessions = &world.store.sessions;
    let successor = next(sessions, &begun.token, second(60)).await;
    for now in [second(60), second(65), second(69) + TimeDelta::milliseconds(999), second(58)] {
        assert_eq!(next(sessions, &begun.token, now).await, successor);
    }
    let first = parsed(sessions, &begun.token);
    for agent in [Some("another"), None, Some("")] {
        let other = sessions.rotate(&first, agent, second(61)).await.unwrap();
        assert!(matches!(other, Rotation::Reused), "{agent:?}");
    }
    // Ten seconds after the rotation, not after the last use: the grace is never extended.
    assert!(matches!(present(sessions, &begun.token, second(70)).await, Rotation::Reused));
    // Being asked has ended nothing yet: that is the caller's command.
    assert!(matches!(present(sessions, &successor, second(71)).await, Rotation::Next { .. }));
}

#[tokio::test]
async fn a_token_two_generations_old_is_reused_even_within_the_grace() {
    let (world, _, begun) = signed_in(Lifetimes::default()).await;
    let sessions = &world.store.sessions;
    let second_token = next(sessions, &begun.token, second(1)).await;
    next(sessions, &second_token, second(2)).await;
    assert!(matches!(present(sessions, &begun.token, second(3)).await, Rotation::Reused));
    assert!(matches!(present(sessions, &second_token, second(3)).await, Rotation::Next { .. }));
}

#[tokio::test]
async fn without_grace_every_spent_token_is_reused() {
    let (world, _, begun) = signed_in(no_grace()).await;
    let sessions = &world.store.sessions;
    next(sessions, &begun.token, second(60)).await;
    // Also by a clock that runs behind.
    for now in [second(60) + TimeDelta::milliseconds(1), second(61), second(59), second(0)] {
        assert!(matches!(present(sessions, &begun.token, now).await, Rotation::Reused), "{now}");
    }
    // In the very same millisecond, from another client.
    let first = parsed(sessions, &begun.token);
    let other = sessions.rotate(&first, Some("another"), second(60)).await.unwrap();
    assert!(matches!(other, Rotation::Reused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_refreshes_of_one_token_at_once_yield_one_successor() {
    let (world, _, begun) = signed_in(Lifetimes::default()).await;
    let sessions = &world.store.sessions;
    let successors = join_all((0..50).map(|milliseconds| {
        next(sessions, &begun.token, second(60) + TimeDelta::milliseconds(milliseconds))
    }))
    .await;
    assert!(successors.iter().all(|successor| *successor == successors[0]));
    assert!(matches!(present(sessions, &successors[0], second(61)).await, Rotation::Next { .. }));
}

#[tokio::test]
async fn a_lost_answer_is_no_theft_even_without_grace() {
    let (world, _, begun) = signed_in(no_grace()).await;
    // The SDK tries again by itself here, as it does in production.
    let settings = world.engine.settings().http_client(world.faults.clone());
    let client = aws_sdk_dynamodb::Client::from_conf(settings.build());
    let retrying = Store::new(&client, &world.tables, &world.keys, no_grace());
    let mut token = begun.token.clone();
    for (fault, now) in [
        (Fault::DropAfter, 60),
        (Fault::DropBefore, 61),
        (Fault::error_after(500, "InternalServerError"), 62),
    ] {
        world.faults.script("UpdateItem", 1, fault.clone());
        token = next(&retrying.sessions, &token, second(now)).await;
        assert_eq!(world.faults.outstanding(), 0, "{fault:?}");
    }
    assert!(matches!(present(&world.store.sessions, &token, second(90)).await, Rotation::Next { .. }));
}

#[tokio::test]
async fn a_refresh_that_meets_a_transaction_is_sent_again() {
    let (world, _, begun) = signed_in(Lifetimes::default()).await;
    world.faults.script("UpdateItem", 1, Fault::error(400, "TransactionConflictException"));
    world.faults.script("UpdateItem", 2, Fault::error(400, "TransactionConflictException"));
    world.meter.reset();
    next(&world.store.sessions, &begun.token, second(60)).await;
    assert_eq!(world.meter.taken().requests, ["UpdateItem"; 3]);
}

#[tokio::test]
async fn an_unanswered_refresh_is_not_called_theft_or_an_end() {
    let (world, _, begun) = signed_in(Lifetimes::default()).await;
    let sessions = &world.store.sessions;
    let first = parsed(sessions, &begun.token);
    world.faults.script("UpdateItem", 1, Fault::DropAfter);
    assert!(sessions.rotate(&first, Some("browser"), second(60)).await.is_err());
    // The client asks again, and gets what it did not receive.
    next(sessions, &begun.token, second(61)).await;
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_refreshed_and_in_any_case_at_its_end() {
    let (world, ada, begun) = signed_in(Lifetimes::default()).await;
    let sessions = &world.store.sessions;
    let days = |days: i64| second(days * 24 * 3_600);
    assert_eq!(begun.ends, "2100-12-22T12:00:00Z".parse::<DateTime<Utc>>().unwrap());
    assert!(matches!(present(sessions, &begun.token, days(7)).await, Rotation::Ended));
    let mut token = begun.token.clone();
    for day in [6, 12, 18, 24, 29] {
        token = next(sessions, &token, days(day)).await;
    }
    let row = world.session_row(&ada, begun.id).await.unwrap();
    assert_eq!(row["expires"].as_n().unwrap(), &begun.ends.timestamp().to_string());
    assert!(matches!(present(sessions, &token, begun.ends).await, Rotation::Ended));
    let last_second = begun.ends - TimeDelta::seconds(1);
    let last = next(sessions, &token, last_second).await;
    assert!(matches!(present(sessions, &last, begun.ends).await, Rotation::Ended));
    // A spent token of an ended session is no theft any more.
    assert!(matches!(present(sessions, &begun.token, begun.ends).await, Rotation::Ended));
}

#[tokio::test]
async fn a_session_that_was_signed_out_refreshes_nothing() {
    let (world, ada, begun) = signed_in(Lifetimes::default()).await;
    let successor = next(&world.store.sessions, &begun.token, second(1)).await;
    world.execute(&ada, &sign_out(begun.id)).await.unwrap();
    for token in [&begun.token, &successor] {
        assert!(matches!(present(&world.store.sessions, token, second(2)).await, Rotation::Ended));
    }
    assert_eq!(world.session_row(&ada, begun.id).await, None, "no row comes back");
}

#[tokio::test]
async fn tokens_of_a_key_that_was_rotated_since_go_on_and_within_the_grace_twice() {
    let (world, _, begun) = signed_in(Lifetimes::default()).await;
    let next_keys = ServiceKeys::random().unwrap();
    let mut keys = world.keys.clone();
    let (id, secret) = next_keys.refresh.current();
    keys.refresh = keys.refresh.rotated(id.clone(), secret.clone());
    let rotated = world.store_of(&keys, Lifetimes::default());
    // Spent under the old ring, again under the new one.
    let old = next(&world.store.sessions, &begun.token, second(1)).await;
    assert_eq!(next(&rotated.sessions, &begun.token, second(2)).await, old);
    // Spent under the new ring, by a token of the old one.
    let new = next(&rotated.sessions, &old, second(20)).await;
    assert!(new.starts_with(&format!("{}.", id.as_str())));
    assert_eq!(next(&rotated.sessions, &old, second(21)).await, new);
    assert!(matches!(present(&rotated.sessions, &old, second(31)).await, Rotation::Reused));
    next(&rotated.sessions, &new, second(40)).await;
    // Whoever has not read the new ring yet does not know the token, and ends nothing.
    assert_eq!(world.store.sessions.parse(&new).err(), Some(storage::TokenError::UnknownKey));
    assert!(matches!(present(&world.store.sessions, &old, second(41)).await, Rotation::Ended));
}

#[tokio::test]
async fn time_running_backwards_begins_no_session_before_the_epoch() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let early = DateTime::from_timestamp(-1, 0).unwrap();
    let id = domain::SessionId::new(crate::fixture::bits());
    assert!(world.store.sessions.begin(ada.user, id, None, early).is_err());
    assert!(world.store.sessions.begin(ada.user, id, None, noon()).is_ok());
}
