//! The requests and units of the design's budget.

use domain::{Command, MAX_SESSIONS, Version};
use storage::{Enclosed, Guessed, Loaded};

use crate::fixture::{
    World, change_password, intent, registration, second, sign_in, sign_in_rehashed, sign_out, somebody,
};
use crate::sessions::next;

impl World {
    /// Asserts what was sent since the last reset, and what it cost in read and write units.
    #[track_caller]
    fn assert_taken(&self, requests: &[&str], read_units: f64, write_units: f64) {
        let taken = self.meter.taken();
        assert_eq!(taken.requests, requests);
        assert!(taken.cost(read_units, write_units), "not {read_units} and {write_units}: {taken:?}");
        self.meter.reset();
    }
}

const WRITE: &str = "TransactWriteItems";

#[tokio::test]
async fn registering_costs_one_request_and_six_write_units() {
    let world = World::start().await;
    let ada = somebody("ada@example.com");
    let mut loaded = Loaded::unborn(ada.user).unwrap();
    world.store.execute(&mut loaded, &registration(&ada)).await.unwrap();
    world.assert_taken(&[WRITE], 0.0, 6.0);
}

#[tokio::test]
async fn signing_in_costs_four_requests_with_a_view_and_five_without() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    for (attempt, requests, read_units) in [
        (1, &["GetItem", "BatchGetItem", "UpdateItem", "Query", WRITE][..], 3.5),
        (2, &["GetItem", "BatchGetItem", "UpdateItem", WRITE][..], 2.5),
    ] {
        if attempt == 2 {
            world.project(&ada).await;
        }
        world.meter.reset();
        let user = world.store.find(&ada.email).await.unwrap().unwrap();
        let mut loaded = world.store.load(user).await.unwrap().unwrap();
        world.store.guesses.count(&Guessed::User(user), 0, second(0)).await.unwrap();
        let intent = sign_in(&ada, attempt, &world.begin(&ada));
        world.store.execute(&mut loaded, &intent).await.unwrap();
        world.assert_taken(requests, read_units, 5.0);
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_cost_the_same() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    world.project(&ada).await;
    world.meter.reset();
    let user = world.store.find(&ada.email).await.unwrap().unwrap();
    world.store.load(user).await.unwrap().unwrap();
    world.store.guesses.count(&Guessed::User(user), 0, second(0)).await.unwrap();
    world.assert_taken(&["GetItem", "BatchGetItem", "UpdateItem"], 2.5, 1.0);

    let nobody = domain::Email::parse("nobody@example.com").unwrap();
    assert_eq!(world.store.find(&nobody).await.unwrap(), None);
    let identifier = world.store.identifiers.key.email(&nobody);
    let decoy = world.store.identifiers.key.decoy(&identifier);
    assert!(world.store.load(decoy).await.unwrap().is_none());
    world.store.guesses.count(&Guessed::Unknown(identifier), 0, second(0)).await.unwrap();
    world.assert_taken(&["GetItem", "BatchGetItem", "UpdateItem"], 2.5, 1.0);
}

#[tokio::test]
async fn refreshing_costs_two_requests_with_the_view_for_its_claims() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    world.project(&ada).await;
    world.meter.reset();
    let successor = next(&world.store.sessions, &session.token, second(1)).await;
    world.store.views.read(ada.user).await.unwrap();
    world.assert_taken(&["UpdateItem", "BatchGetItem"], 0.5, 1.0);
    // Within the grace it costs no more.
    assert_eq!(next(&world.store.sessions, &session.token, second(2)).await, successor);
    world.assert_taken(&["UpdateItem"], 0.0, 1.0);
}

#[tokio::test]
async fn a_protected_read_costs_one_request_and_another_when_it_must_fall_through() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    world.project(&ada).await;
    world.meter.reset();
    let read = async |at_least| {
        world
            .store
            .read_acting(ada.user, session.id, Version::new(at_least), second(1))
            .await
            .unwrap()
            .unwrap()
    };
    read(2).await;
    world.assert_taken(&["BatchGetItem"], 1.5, 0.0);
    world.sign_in(&ada, 2).await;
    world.meter.reset();
    assert_eq!(read(3).await.head.version, Version::new(3));
    world.assert_taken(&["BatchGetItem", "Query"], 2.5, 0.0);
}

#[tokio::test]
async fn signing_out_costs_two_requests_and_four_write_units() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    world.project(&ada).await;
    world.meter.reset();
    let acting = Some((session.id, second(1)));
    let (mut loaded, live) = world.store.load_acting(ada.user, acting).await.unwrap().unwrap();
    assert!(live.is_some());
    world.store.execute(&mut loaded, &sign_out(session.id)).await.unwrap();
    world.assert_taken(&["BatchGetItem", WRITE], 2.5, 4.0);
}

#[tokio::test]
async fn ending_the_oldest_session_costs_a_sign_in_two_units_more() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    for attempt in 1..=MAX_SESSIONS as u64 {
        world.sign_in(&ada, attempt).await;
    }
    world.project(&ada).await;
    world.meter.reset();
    world.sign_in(&ada, 51).await;
    world.assert_taken(&["BatchGetItem", WRITE], 1.5, 6.0);
}

#[tokio::test]
async fn changing_the_password_costs_six_units_and_two_for_every_other_session() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let shows = Command::VerifyEmail { email: ada.email.clone(), credential: ada.credential };
    world.execute(&ada, &intent(shows, Enclosed::Nothing)).await.unwrap();
    let mut acting = world.sign_in(&ada, 1).await;
    for attempt in 2..=MAX_SESSIONS as u64 {
        acting = world.sign_in(&ada, attempt).await;
    }
    world.project(&ada).await;
    let mut loaded = world.load(&ada).await;
    world.meter.reset();
    world.store.execute(&mut loaded, &change_password(&ada, 51, acting.id)).await.unwrap();
    // Naming 49 sessions, the commit is of three kilobytes instead of one.
    world.assert_taken(&[WRITE], 0.0, 2.0 * 49.0 + 6.0 + 4.0);
}

#[tokio::test]
async fn a_stronger_verifier_costs_a_sign_in_two_units_more() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    world.project(&ada).await;
    let mut loaded = world.load(&ada).await;
    let intent = sign_in_rehashed(&loaded, &ada, 1, &world.begin(&ada));
    world.meter.reset();
    world.store.execute(&mut loaded, &intent).await.unwrap();
    world.assert_taken(&[WRITE], 0.0, 6.0);
}
