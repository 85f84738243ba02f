//! Devices that their users signed in with before: their tokens, and their own counts.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{DeviceId, UserId};
use futures::future::join_all;
use serde_json::{Value, json};
use storage::keys::{Ring, ServiceKeys};
use storage::{Counted, Guessed, KnownDevice, Lifetimes, Sessions};
use uuid::Uuid;

use crate::fixture::{Item, World, bits, noon, second, text};

const GOLDEN: &str = include_str!("../golden/device-1.json");

fn device(base: u64) -> KnownDevice {
    KnownDevice { id: DeviceId::new(bits()), base }
}

fn known(sessions: &Sessions, token: &str, user: UserId) -> Option<KnownDevice> {
    sessions.known_device(token, user, noon())
}

async fn count(world: &World, guessed: &Guessed, base: u64, now: DateTime<Utc>) -> Counted {
    world.store.guesses.count(guessed, base, now).await.unwrap()
}

async fn row(world: &World, user: UserId, device: DeviceId) -> Option<Item> {
    let (user, item) = (text(&user.to_string()), text(&format!("guesses-{device}")));
    let key = Item::from([("user".to_owned(), user), ("item".to_owned(), item)]);
    world.get(&world.tables.sessions, key).await
}

#[tokio::test]
async fn a_device_is_known_by_its_token_to_its_user_for_a_year() {
    let world = World::start().await;
    let (ada, bob) = (UserId::new(bits()), UserId::new(bits()));
    let sessions = &world.store.sessions;
    world.meter.reset();
    for device in [device(0), device(7), device(u64::MAX)] {
        let token = sessions.device_token(ada, device, noon()).unwrap();
        assert_eq!(known(sessions, &token, ada), Some(device));
        assert_eq!(known(sessions, &token, bob), None);
        let end = noon() + TimeDelta::days(365);
        assert!(sessions.known_device(&token, ada, end - TimeDelta::seconds(1)).is_some());
        assert_eq!(sessions.known_device(&token, ada, end), None);
    }
    assert!(world.meter.taken().requests.is_empty(), "no table is asked");
}

#[tokio::test]
async fn no_octet_of_a_device_token_can_be_changed_and_none_left_out() {
    let world = World::start().await;
    let (ada, sessions) = (UserId::new(bits()), &world.store.sessions);
    let token = sessions.device_token(ada, device(3), noon()).unwrap();
    for index in 0..token.len() {
        assert_eq!(known(sessions, &token[..index], ada), None, "cut off at {index}");
        for other in [b'A', b'a', b'0', b'_', b'.', b'=', b' ', token.as_bytes()[index] ^ 1] {
            let mut changed = token.as_bytes().to_vec();
            if changed[index] == other {
                continue;
            }
            changed[index] = other;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            assert_eq!(known(sessions, &changed, ada), None, "octet {index} is {}", char::from(other));
        }
    }
    let (padded, twice) = (format!("{token}="), format!("{token}{token}"));
    for other in ["", ".", "..", "a.b.c", &padded, &twice, &format!("{token}.x"), &"x".repeat(10_000)] {
        assert_eq!(known(sessions, other, ada), None, "{other:?}");
    }
}

#[tokio::test]
async fn a_device_token_of_another_deployment_another_key_or_another_kind_is_none() {
    let world = World::start().await;
    let person = world.register("ada@example.com").await;
    let session = world.sign_in(&person, 1).await;
    let token = world.store.sessions.device_token(person.user, device(0), noon()).unwrap();
    assert_eq!(known(&world.store.sessions, &session.token, person.user), None, "a refresh token is none");
    assert!(world.store.sessions.parse(&token).is_err(), "nor the other way round");
    let at = |keys: &ServiceKeys| {
        let elsewhere = world.store_of(keys, Lifetimes::default());
        known(&elsewhere.sessions, &token, person.user)
    };
    let mut keys = world.keys.clone();
    keys.deployment.push('2');
    assert_eq!(at(&keys), None);
    assert_eq!(at(&ServiceKeys::random().unwrap()), None);
    let other = ServiceKeys::random().unwrap().refresh;
    let mut keys = world.keys.clone();
    keys.refresh = Ring::of(keys.refresh.current().0.clone(), other.current().1.clone());
    assert_eq!(at(&keys), None);
    // A rotation leaves it good.
    let mut keys = world.keys.clone();
    keys.refresh = keys.refresh.rotated(other.current().0.clone(), other.current().1.clone());
    assert!(at(&keys).is_some());
}

#[tokio::test]
async fn a_device_has_a_count_of_its_own_that_backs_off_as_the_users_does() {
    let world = World::start().await;
    let user = UserId::new(bits());
    let (one, two) = (DeviceId::new(bits()), DeviceId::new(bits()));
    let all = [Guessed::User(user), Guessed::Device(user, one), Guessed::Device(user, two)];
    let mut seen = Vec::new();
    for guessed in &all {
        let mut counted = Vec::new();
        let mut now = second(0);
        for _ in 0..40 {
            let this = count(&world, guessed, 0, now).await;
            if let Counted::TooEarly { wait } = this {
                now += wait;
            }
            counted.push(this);
        }
        seen.push(counted);
    }
    assert_eq!((&seen[1], &seen[2]), (&seen[0], &seen[0]));
    assert!(
        seen[0].contains(&Counted::Attempt(22))
            && seen[0].contains(&Counted::TooEarly { wait: TimeDelta::minutes(15) })
    );
    assert!(row(&world, UserId::new(bits()), one).await.is_none());
}

#[tokio::test]
async fn a_device_has_a_hundred_failures_and_an_older_token_no_more_of_them() {
    let world = World::start().await;
    let user = UserId::new(bits());
    let guessed = Guessed::Device(user, DeviceId::new(bits()));
    let at = |number: u64| second(i64::try_from(number).unwrap() * 900);
    for number in 1..=100 {
        assert_eq!(count(&world, &guessed, 0, at(number)).await, Counted::Attempt(number));
    }
    for later in [100, 101, 1_000] {
        assert_eq!(count(&world, &guessed, 0, at(later)).await, Counted::Exhausted { attempts: 100 });
    }
    // Another token of the device knows of a success at the fortieth; one that says it was later is as good.
    for number in 101..=140 {
        assert_eq!(count(&world, &guessed, 40, at(number)).await, Counted::Attempt(number));
    }
    assert_eq!(count(&world, &guessed, 40, at(141)).await, Counted::Exhausted { attempts: 140 });
    assert_eq!(count(&world, &guessed, 0, at(141)).await, Counted::Exhausted { attempts: 140 });
    assert_eq!(count(&world, &guessed, 100, at(141)).await, Counted::Attempt(141));
    assert_eq!(count(&world, &Guessed::User(user), 0, at(141)).await, Counted::Attempt(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_a_devices_guesses_is_one_however_many_come_at_once() {
    let world = World::start().await;
    let guessed = Guessed::Device(UserId::new(bits()), DeviceId::new(bits()));
    for number in 1..=99 {
        count(&world, &guessed, 0, second(number * 900)).await;
    }
    let counted = join_all((0..50).map(|_| count(&world, &guessed, 0, second(100 * 900)))).await;
    let attempts = counted.iter().filter(|counted| matches!(counted, Counted::Attempt(100))).count();
    let exhausted = counted.iter().filter(|counted| matches!(counted, Counted::Exhausted { .. })).count();
    assert_eq!((attempts, exhausted), (1, 49));
}

#[tokio::test]
async fn the_count_of_a_device_is_kept_as_long_as_any_of_its_tokens_is_good() {
    let world = World::start().await;
    let user = UserId::new(bits());
    let device = device(0);
    let guessed = Guessed::Device(user, device.id);
    let made_at = second(10);
    let token = world.store.sessions.device_token(user, device, made_at).unwrap();
    for now in [made_at, second(3_600)] {
        count(&world, &guessed, 0, now).await;
        let expires: i64 =
            row(&world, user, device.id).await.unwrap()["expires"].as_n().unwrap().parse().unwrap();
        assert_eq!(expires, (now + TimeDelta::days(365)).timestamp());
        let forgotten = DateTime::from_timestamp(expires, 0).unwrap();
        assert_eq!(world.store.sessions.known_device(&token, user, forgotten), None);
    }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_0000 + number)
}

/// What the code makes of devices and of clients under the fixed keys of the other golden items.
async fn today(world: &World) -> Value {
    let (user, device) = (UserId::new(id(0xada)), DeviceId::new(id(0xde)));
    let sessions = &world.store.sessions;
    let known = KnownDevice { id: device, base: 2 };
    count(world, &Guessed::Device(user, device), 2, noon()).await;
    let item = row(world, user, device).await.unwrap();
    let mut attributes: Vec<String> = item.iter().map(|(name, value)| format!("{name} {value:?}")).collect();
    attributes.sort();
    json!({"device_token": sessions.device_token(user, known, noon()).unwrap(), "count": attributes})
}

#[tokio::test]
async fn the_token_and_the_count_of_a_device_are_those_of_ever() {
    let keys = serde_json::from_str(include_str!("../golden/keys.json")).unwrap();
    let world = World::with(keys, Lifetimes::default()).await;
    let today = today(&world).await;
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    assert_eq!(today["device_token"], golden["device_token"], "{today:#}");
    assert_eq!(today["count"], golden["count"], "{today:#}");
    // The refresh token of a client with a secret, made when there first were such.
    let token = world.store.sessions.parse(golden["refresh_token_of_a_client"].as_str().unwrap()).unwrap();
    assert_eq!((token.client().as_str(), token.user()), ("shop", UserId::new(id(0xada))));
}

#[tokio::test]
#[ignore = "prints a refresh token to be put into tests/golden/ when a new form has been added"]
async fn print_a_refresh_token_of_a_client() {
    let keys = serde_json::from_str(include_str!("../golden/keys.json")).unwrap();
    let world = World::with(keys, Lifetimes::default()).await;
    let client = storage::ClientId::parse("shop").unwrap();
    let session = domain::SessionId::new(id(0x5e5));
    let begun =
        world.store.sessions.begin_for(&client, UserId::new(id(0xada)), session, None, noon()).unwrap();
    println!("{}\n{:#}", begun.token, today(&world).await);
}
