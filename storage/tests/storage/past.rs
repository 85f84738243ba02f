//! Users as of an earlier moment.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{User, Version};
use storage::{Broken, Moment, OpenError, Past, PastError};

use crate::fixture::{Person, World, commit_key, key, noon, second, sign_in, text};

/// Ada, who registered at noon, and signed in once at each of these seconds after it.
async fn ada(seconds: &[i64]) -> (World, Person) {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    for (attempt, seconds) in (1..).zip(seconds) {
        let mut intent = sign_in(&ada, attempt, &world.begin(&ada));
        intent.at = second(*seconds);
        world.execute(&ada, &intent).await.unwrap();
    }
    (world, ada)
}

async fn as_of(world: &World, person: &Person, moment: Moment) -> Result<Past, PastError> {
    world.store.log.as_of(person.user, moment).await
}

fn attempts(past: &Past) -> (u64, u64) {
    let User::Registered(account) = &past.snapshot.user else { panic!("{past:?}") };
    (past.snapshot.head.version.number(), account.last_success)
}

#[tokio::test]
async fn a_user_as_of_a_version_is_the_fold_of_the_commits_up_to_it() {
    let (world, ada) = ada(&[10, 20, 30]).await;
    for version in 1..=4 {
        let past = as_of(&world, &ada, Moment::Version(Version::new(version))).await.unwrap();
        assert_eq!(attempts(&past), (version, version - 1));
        assert_eq!(past.at, second(10 * (i64::try_from(version).unwrap() - 1)));
    }
    let last = as_of(&world, &ada, Moment::Version(Version::new(4))).await.unwrap();
    assert_eq!(last, as_of(&world, &ada, Moment::End).await.unwrap());
    assert_eq!(last.snapshot, world.fold(&ada).await.unwrap());
}

#[tokio::test]
async fn nothing_behind_the_version_is_read() {
    let (world, ada) = ada(&[10, 20, 30]).await;
    let third = world.commit(&ada, 3).await;
    world.patch(&world.tables.events, third, "at", Some(text("2100-11-22T13:00:00.250Z"))).await;
    world.meter.reset();
    assert!(as_of(&world, &ada, Moment::Version(Version::new(2))).await.is_ok());
    let taken = world.meter.taken();
    assert_eq!(taken.requests, ["Query", "GetItem"]);
    let seal = Broken::Commit(Version::new(3), OpenError::Broken);
    for moment in [Moment::Version(Version::new(3)), Moment::Time(second(5)), Moment::End] {
        let refused = as_of(&world, &ada, moment).await.unwrap_err();
        assert!(matches!(&refused, PastError::Broken(broken) if *broken == seal), "{refused:?}");
    }
    world.delete(&world.tables.events, key(&ada, &commit_key(1))).await;
    let refused = as_of(&world, &ada, Moment::Version(Version::new(2))).await.unwrap_err();
    assert!(matches!(refused, PastError::Broken(Broken::Gap { .. })), "{refused:?}");
    world.delete(&world.tables.events, key(&ada, "vault")).await;
    let refused = as_of(&world, &ada, Moment::Version(Version::new(2))).await.unwrap_err();
    assert!(matches!(refused, PastError::Broken(Broken::NoVault)), "{refused:?}");
}

#[tokio::test]
async fn a_user_as_of_a_time_has_every_commit_up_to_the_last_of_that_time() {
    let (world, ada) = ada(&[10, 20, 20, 30]).await;
    for (time, version) in [(0, 1), (9, 1), (10, 2), (19, 2), (20, 4), (29, 4), (30, 5), (1_000_000, 5)] {
        let past = as_of(&world, &ada, Moment::Time(second(time))).await.unwrap();
        assert_eq!(attempts(&past), (version, version - 1), "at {time}");
    }
    let almost = second(10) - TimeDelta::milliseconds(1);
    assert_eq!(attempts(&as_of(&world, &ada, Moment::Time(almost)).await.unwrap()).0, 1);
}

#[tokio::test]
async fn where_clocks_ran_backwards_a_commit_before_one_of_that_time_had_happened_by_then() {
    // The versions:            1   2   3   4   5   6
    // Their times:             0, 40, 10, 60, 50, 20
    let (world, ada) = ada(&[40, 10, 60, 50, 20]).await;
    for (time, version) in [(0, 1), (9, 1), (10, 3), (19, 3), (20, 6), (45, 6), (60, 6)] {
        let past = as_of(&world, &ada, Moment::Time(second(time))).await.unwrap();
        assert_eq!(attempts(&past), (version, version - 1), "at {time}");
    }
    assert_eq!(as_of(&world, &ada, Moment::Time(second(15))).await.unwrap().at, second(10));
}

#[tokio::test]
async fn of_a_moment_outside_the_log_it_is_said_where_the_log_is() {
    let (world, ada) = ada(&[-5]).await;
    let refused = async |moment| as_of(&world, &ada, moment).await.unwrap_err();
    assert!(matches!(refused(Moment::Version(Version::NONE)).await, PastError::NoSuchVersion));
    for version in [Version::new(3), Version::MAX] {
        let refused = refused(Moment::Version(version)).await;
        assert!(matches!(refused, PastError::BeyondEnd(end) if end == Version::new(2)), "{refused:?}");
    }
    for time in [second(-6), DateTime::<Utc>::MIN_UTC] {
        let refused = refused(Moment::Time(time)).await;
        assert!(matches!(refused, PastError::BeforeAll(earliest) if earliest == second(-5)), "{refused:?}");
    }
    let nobody = crate::fixture::somebody("nobody@example.com");
    for moment in [Moment::End, Moment::Time(noon()), Moment::Version(Version::new(1))] {
        let refused = as_of(&world, &nobody, moment).await.unwrap_err();
        assert!(matches!(refused, PastError::NoLog), "{refused:?}");
    }
}
