//! The sessions that a user is shown, and those that one session ends from another.

use chrono::{DateTime, Utc};
use domain::{Rejection, SessionId, Version};
use storage::{ExecuteError, ListedSession};

use crate::fixture::{
    Person, World, bits, end_others, end_session, key, noon, octets, second, sign_in, sign_out,
};
use crate::sessions::next;

async fn alive(world: &World, person: &Person, now: DateTime<Utc>) -> Vec<ListedSession> {
    let folded = world.fold(person).await.unwrap();
    let known: Vec<SessionId> = folded.user.account().unwrap().sessions.iter().map(|live| live.id).collect();
    world.store.sessions.alive(person.user, &known, now).await.unwrap()
}

fn ids(listed: &[ListedSession]) -> Vec<SessionId> {
    listed.iter().map(|listed| listed.session.id).collect()
}

#[tokio::test]
async fn a_session_is_listed_with_where_it_began_and_what_became_of_it() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let (first, second_one) = (world.sign_in(&ada, 1).await, world.sign_in(&ada, 2).await);
    next(&world.store.sessions, &first.token, second(60)).await;
    let listed = alive(&world, &ada, second(61)).await;
    assert_eq!(ids(&listed), [first.id, second_one.id]);
    assert_eq!(listed[0].agent.as_deref(), Some("browser"));
    assert_eq!(listed[0].address.as_deref(), Some("192.0.2.1"));
    assert_eq!((listed[0].refreshed, listed[1].refreshed), (Some(second(60)), None));
    let week = 7 * 24 * 3_600;
    let ends = |listed: &ListedSession| listed.expires.timestamp() - noon().timestamp();
    assert_eq!((ends(&listed[0]), ends(&listed[1])), (week + 60, week));
    assert_eq!(listed[1].session.auth_time.timestamp(), noon().timestamp());
    // Idle for a week: no longer alive, whatever the log knows.
    assert_eq!(ids(&alive(&world, &ada, second(week)).await), [first.id]);
}

#[tokio::test]
async fn a_row_stays_within_a_write_unit_whatever_the_client_calls_itself() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let mut intent = sign_in(&ada, 1, &world.begin(&ada));
    intent.agent = Some("字".repeat(256));
    world.project(&ada).await;
    let mut loaded = world.load(&ada).await;
    world.meter.reset();
    world.store.execute(&mut loaded, &intent).await.unwrap();
    // Of the commit's two kilobytes nothing is cut.
    assert!(world.meter.taken().cost(0.0, 6.0), "{:?}", world.meter.taken());
    assert_eq!(alive(&world, &ada, noon()).await[0].agent, Some("字".repeat(85)));
}

#[tokio::test]
async fn where_a_session_began_is_told_of_no_other_and_need_not_be_known() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let eve = world.register("eve@example.com").await;
    let session = world.sign_in(&ada, 1).await.id;
    let another = world.sign_in(&ada, 2).await.id;
    let eves = world.sign_in(&eve, 1).await.id;
    let row = world.session_row(&ada, session).await.unwrap();
    let of = async |person, session| world.session_row(person, session).await.unwrap()["client"].clone();
    for client in [Some(of(&ada, another).await), Some(of(&eve, eves).await), Some(octets([7; 60])), None] {
        world.patch(&world.tables.sessions, row.clone(), "client", client).await;
        let listed = alive(&world, &ada, second(1)).await;
        assert_eq!(ids(&listed), [session, another], "it is alive all the same");
        assert_eq!((&listed[0].agent, &listed[0].address), (&None, &None));
    }
}

#[tokio::test]
async fn one_session_or_all_others_are_ended_by_one_that_lives() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let mut begun = Vec::new();
    for attempt in 1..=5 {
        begun.push(world.sign_in(&ada, attempt).await.id);
    }
    world.execute(&ada, &end_session(begun[0], begun[3])).await.unwrap();
    assert_eq!(ids(&alive(&world, &ada, noon()).await), [begun[0], begun[1], begun[2], begun[4]]);
    // A row that is gone, and one that the log says has ended, end nothing.
    world.delete(&world.tables.sessions, key(&ada, &format!("session-{}", begun[4]))).await;
    for intent in [end_session(begun[4], begun[0]), end_others(begun[4])] {
        let refused = world.execute(&ada, &intent).await;
        assert!(matches!(refused, Err(ExecuteError::SessionEnded)), "{refused:?}");
    }
    for intent in [end_session(begun[3], begun[0]), end_others(begun[3])] {
        let refused = world.execute(&ada, &intent).await;
        assert!(matches!(refused, Err(ExecuteError::Rejected(Rejection::SessionEnded))), "{refused:?}");
    }
    world.execute(&ada, &end_others(begun[0])).await.unwrap();
    assert_eq!(world.session_rows(&ada).await, [begun[0].to_string()]);
    let again = world.execute(&ada, &end_others(begun[0])).await.unwrap();
    assert_eq!((again.version, again.snapshot.head.version), (None, Version::new(8)));
}

#[tokio::test]
async fn a_row_that_was_put_back_is_ended_though_the_log_has_nothing_to_end() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let (acting, other) = (world.sign_in(&ada, 1).await.id, world.sign_in(&ada, 2).await.id);
    let row = world.session_row(&ada, other).await.unwrap();
    world.execute(&ada, &sign_out(other)).await.unwrap();
    world.put(&world.tables.sessions, row).await;
    let ended = world.execute(&ada, &end_session(acting, other)).await.unwrap();
    assert_eq!(ended.version, None);
    assert_eq!(world.session_row(&ada, other).await, None);
    world.execute(&ada, &end_session(acting, SessionId::new(bits()))).await.unwrap();
}
