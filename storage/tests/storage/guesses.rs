use chrono::{DateTime, TimeDelta, Utc};
use domain::UserId;
use futures::future::join_all;
use storage::{CountError, Counted, Guessed};
use testkit::Fault;

use crate::fixture::{Item, World, bits, second, text};

async fn count(world: &World, guessed: &Guessed, base: u64, now: DateTime<Utc>) -> Counted {
    world.store.guesses.count(guessed, base, now).await.unwrap()
}

fn too_early(milliseconds: i64) -> Counted {
    Counted::TooEarly { wait: TimeDelta::milliseconds(milliseconds) }
}

fn somebody() -> Guessed {
    Guessed::User(UserId::new(bits()))
}

async fn row(world: &World, partition: &str) -> Item {
    let key = Item::from([("user".to_owned(), text(partition)), ("item".to_owned(), text("guesses"))]);
    world.get(&world.tables.sessions, key).await.unwrap()
}

#[tokio::test]
async fn five_attempts_are_free_and_then_the_wait_doubles_up_to_a_quarter_of_an_hour() {
    let world = World::start().await;
    let ada = somebody();
    for attempt in 1..=5 {
        assert_eq!(count(&world, &ada, 0, second(0)).await, Counted::Attempt(attempt));
    }
    let mut last = second(0);
    for (attempt, wait) in (6..).zip([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]) {
        let wait = TimeDelta::seconds(wait);
        // Refused for as long as it says, and refusing neither counts nor extends.
        assert_eq!(count(&world, &ada, 0, last).await, Counted::TooEarly { wait });
        let almost = last + wait - TimeDelta::milliseconds(1);
        assert_eq!(count(&world, &ada, 0, almost).await, too_early(1));
        last += wait;
        assert_eq!(count(&world, &ada, 0, last).await, Counted::Attempt(attempt));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_is_exact_however_many_guess_at_once() {
    let world = World::start().await;
    let ada = somebody();
    for round in 0..3_u64 {
        let now = second(i64::try_from(round).unwrap() * 3_600);
        let counted = join_all((0..50).map(|_| count(&world, &ada, round, now))).await;
        let mut numbers: Vec<u64> = counted
            .iter()
            .filter_map(|counted| match counted {
                Counted::Attempt(number) => Some(*number),
                Counted::TooEarly { .. } | Counted::Exhausted { .. } => None,
            })
            .collect();
        numbers.sort_unstable();
        // The first time five are free. Later it is one at a time, although the base has moved on by one meanwhile.
        let expected: Vec<u64> = if round == 0 { (1..=5).collect() } else { vec![5 + round] };
        assert_eq!(numbers, expected);
    }
}

#[tokio::test]
async fn a_success_moves_the_base_and_five_attempts_are_free_again() {
    let world = World::start().await;
    let ada = somebody();
    for _ in 0..5 {
        count(&world, &ada, 0, second(0)).await;
    }
    assert_eq!(count(&world, &ada, 0, second(1)).await, Counted::Attempt(6));
    assert_eq!(count(&world, &ada, 0, second(1)).await, too_early(2_000));
    // Attempt 6 succeeded: that is the base of what follows.
    for attempt in 7..=11 {
        assert_eq!(count(&world, &ada, 6, second(1)).await, Counted::Attempt(attempt));
    }
    assert_eq!(count(&world, &ada, 6, second(1)).await, too_early(1_000));
    // Whoever knows an older base only is refused for longer, and asks the log before they say so.
    assert_eq!(count(&world, &ada, 0, second(1)).await, too_early(64_000));
}

/// Fails until so many are counted, each as soon as it may come; the time of the last.
async fn fail_until(world: &World, guessed: &Guessed, base: u64, most: u64) -> DateTime<Utc> {
    let mut now = second(0);
    loop {
        match count(world, guessed, base, now).await {
            Counted::Attempt(number) if number == most => return now,
            Counted::Attempt(_) => {}
            Counted::TooEarly { wait } => now += wait,
            Counted::Exhausted { attempts } => panic!("exhausted after {attempts}"),
        }
    }
}

#[tokio::test]
async fn a_hundred_attempts_are_counted_and_no_more_whenever_they_come() {
    let world = World::start().await;
    let nobody = world.store.identifiers.key.email(&domain::Email::parse("nobody@example.com").unwrap());
    for (guessed, base) in [(somebody(), 0), (Guessed::Unknown(nobody), 0)] {
        let last = fail_until(&world, &guessed, base, 100).await;
        let exhausted = Counted::Exhausted { attempts: 100 };
        // Neither a wait nor a refusal changes it.
        for later in [TimeDelta::zero(), TimeDelta::minutes(15), TimeDelta::days(3_000), TimeDelta::zero()] {
            assert_eq!(count(&world, &guessed, base, last + later).await, exhausted);
        }
        // A success moves the base, and so does a reset.
        assert_eq!(
            count(&world, &guessed, 1, last).await,
            Counted::TooEarly { wait: TimeDelta::minutes(15) }
        );
        assert_eq!(count(&world, &guessed, 100, last).await, Counted::Attempt(101));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_attempts_at_once_no_more_are_counted_than_may_fail() {
    let world = World::start().await;
    let ada = somebody();
    let Guessed::User(user) = ada else { panic!() };
    let now = fail_until(&world, &ada, 0, 99).await + TimeDelta::minutes(15);
    let counted = join_all((0..50).map(|_| count(&world, &ada, 0, now))).await;
    let attempts: Vec<&Counted> =
        counted.iter().filter(|counted| matches!(counted, Counted::Attempt(_))).collect();
    assert_eq!(attempts, [&Counted::Attempt(100)]);
    let exhausted = Counted::Exhausted { attempts: 100 };
    assert_eq!(counted.iter().filter(|counted| **counted == exhausted).count(), 49);
    assert_eq!(world.store.guesses.counted(user, 0).await.unwrap(), Some(100));
}

#[tokio::test]
async fn a_reset_starts_from_what_was_counted_and_from_nothing_made_up() {
    let world = World::start().await;
    let ada = somebody();
    let Guessed::User(user) = ada else { panic!() };
    let counted = async |base| world.store.guesses.counted(user, base).await.unwrap();
    assert_eq!(counted(7).await, Some(7), "none since the last success");
    for attempt in 8..=10 {
        assert_eq!(count(&world, &ada, 7, second(0)).await, Counted::Attempt(attempt));
    }
    assert_eq!((counted(7).await, counted(10).await, counted(11).await), (Some(10), Some(10), None));
    let made_up = row(&world, &user.to_string()).await;
    for attempts in [
        aws_sdk_dynamodb::types::AttributeValue::N(u64::MAX.to_string()),
        aws_sdk_dynamodb::types::AttributeValue::N("108".to_owned()),
        aws_sdk_dynamodb::types::AttributeValue::N("-1".to_owned()),
        text("10"),
    ] {
        world.patch(&world.tables.sessions, made_up.clone(), "attempts", Some(attempts)).await;
        assert_eq!(counted(7).await, None);
    }
}

#[tokio::test]
async fn a_count_that_was_lost_begins_again_at_the_last_success() {
    let world = World::start().await;
    let ada = somebody();
    for attempt in 101..=105 {
        assert_eq!(count(&world, &ada, 100, second(0)).await, Counted::Attempt(attempt));
    }
    assert_eq!(count(&world, &ada, 100, second(0)).await, too_early(1_000));
}

#[tokio::test]
async fn the_counts_of_unknown_addresses_are_forgotten_and_those_of_users_are_not() {
    let world = World::start().await;
    let user = UserId::new(bits());
    count(&world, &Guessed::User(user), 0, second(0)).await;
    let known = row(&world, &user.to_string()).await;
    let mut names: Vec<_> = known.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["attempts", "item", "last", "user"]);

    let address = domain::Email::parse("nobody@example.com").unwrap();
    let identifier = world.store.identifiers.key.email(&address);
    let unknown = Guessed::Unknown(identifier.clone());
    for (attempt, now) in [(1, second(0)), (2, second(3_600))] {
        assert_eq!(count(&world, &unknown, 0, now).await, Counted::Attempt(attempt));
        let expires = (now + TimeDelta::days(90)).timestamp().to_string();
        assert_eq!(row(&world, identifier.as_str()).await["expires"].as_n().unwrap(), &expires);
    }
    for attempt in 3..=5 {
        assert_eq!(count(&world, &unknown, 0, second(3_600)).await, Counted::Attempt(attempt));
    }
    assert_eq!(count(&world, &unknown, 0, second(3_600)).await, too_early(1_000));
}

#[tokio::test]
async fn an_attempt_whose_answer_was_lost_is_not_sent_again() {
    let world = World::start().await;
    // A client that would try again by itself.
    let settings = world.engine.settings().http_client(world.faults.clone()).interceptor(world.meter.clone());
    let client = aws_sdk_dynamodb::Client::from_conf(settings.build());
    let guesses = storage::Guesses::new(client, world.tables.sessions.clone());
    let ada = somebody();
    for fault in [Fault::DropAfter, Fault::DropBefore, Fault::error_after(500, "InternalServerError")] {
        world.meter.reset();
        world.faults.script("UpdateItem", 1, fault);
        let unknown = guesses.count(&ada, 0, second(0)).await;
        assert!(matches!(unknown, Err(CountError::Unavailable(_))), "{unknown:?}");
        assert_eq!(world.meter.taken().requests, ["UpdateItem"]);
    }
    // Two of the three were counted.
    assert_eq!(count(&world, &ada, 0, second(0)).await, Counted::Attempt(3));
}
