//! What the store says of its own use is what a meter at the same client sees.

use storage::{ExecuteError, Guessed, Loaded, Segment, Usage, usage_of};
use testkit::Fault;

use crate::fixture::{World, registration, second, sign_in, sign_out, somebody};

impl World {
    /// Does some work; how much it used by its own count, which is the meter's.
    async fn used<T>(&self, work: impl Future<Output = T>) -> (T, Usage) {
        self.meter.reset();
        let (done, usage) = usage_of(work).await;
        let taken = self.meter.taken();
        let requests = u64::try_from(taken.requests.len()).unwrap();
        let metered = Usage { requests, read_units: taken.read_units, write_units: taken.write_units };
        assert_eq!(usage, metered, "{taken:?}");
        (done, usage)
    }
}

#[tokio::test]
async fn every_kind_of_request_is_counted_with_its_units() {
    let world = World::start().await;
    let ada = somebody("ada@example.com");
    let mut loaded = Loaded::unborn(ada.user).unwrap();
    let (_, usage) = world.used(world.store.execute(&mut loaded, &registration(&ada))).await;
    assert!(usage.requests == 1, "{usage:?}");
    let (_, usage) = world.used(world.store.find(&ada.email)).await;
    assert!(usage.requests == 1 && usage.write_units == 0.0, "{usage:?}");
    let mut loaded = world.used(world.load(&ada)).await.0;
    world.used(world.store.guesses.count(&Guessed::User(ada.user), 0, second(0))).await.0.unwrap();
    let session = world.begin(&ada);
    world.used(world.store.execute(&mut loaded, &sign_in(&ada, 1, &session))).await.0.unwrap();
    // One put, one scan, one item deleted.
    world.used(world.project(&ada)).await;
    let segment = Segment { index: 0, total: 1 };
    let mut scan = world.store.log.scan(segment);
    assert_eq!(world.used(scan.next()).await.0.unwrap().unwrap().len(), 1);
    let (_, usage) = world.used(world.execute(&ada, &sign_out(session.id))).await;
    assert!(usage.write_units >= 3.0 || testkit::Engine::is_elsewhere(), "{usage:?}");
}

#[tokio::test]
async fn what_a_refused_condition_costs_is_counted() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let again = somebody("ada@example.com");
    let mut loaded = Loaded::unborn(again.user).unwrap();
    let (refused, usage) = world.used(world.store.execute(&mut loaded, &registration(&again))).await;
    assert!(matches!(refused, Err(ExecuteError::Taken)));
    assert_eq!(usage, Usage { requests: 1, read_units: 0.0, write_units: 6.0 });
    // Of two views of one version, the second is refused.
    world.project(&ada).await;
    let snapshot = world.fold(&ada).await.unwrap();
    let put = world.store.views.put(ada.user, &snapshot, storage::Replacing::Older);
    let (put, usage) = world.used(put).await;
    assert_eq!(put.unwrap(), storage::Put::Lost);
    assert_eq!(usage, Usage { requests: 1, read_units: 0.0, write_units: 1.0 });
}

#[tokio::test]
async fn a_request_without_an_answer_is_counted_and_what_is_done_elsewhere_is_not() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    world.meter.reset();
    world.faults.script("BatchGetItem", 1, Fault::error(500, "InternalServerError"));
    let (failed, usage) = world.used(world.store.load(ada.user)).await;
    assert!(failed.is_err());
    assert_eq!(usage, Usage { requests: 1, ..Usage::default() });

    let store = world.store.clone();
    let elsewhere = async { tokio::spawn(async move { store.load(ada.user).await }).await };
    let (_, usage) = usage_of(elsewhere).await;
    assert_eq!(usage, Usage::default());
    // Nor is work counted twice.
    let (((), inner), outer) = usage_of(usage_of(async { drop(world.store.load(ada.user).await) })).await;
    assert_eq!((inner.requests, outer.requests), (1, 0));
}
