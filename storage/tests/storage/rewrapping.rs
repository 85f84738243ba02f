//! Vaults put under the current service keys, beside everything else that goes on.

use futures::future::join_all;
use storage::keys::{Ring, ServiceKeys};
use storage::{Lifetimes, Rewrapped, Rotation, Segment, Store, Vault};

use crate::fixture::{NEW_PHC, PHC, Person, World, change_password, noon, put_in_by, sign_in};

/// The keys after a rotation of those that vaults are under, and a store with them.
fn rotated(world: &World) -> (ServiceKeys, Store) {
    let (mut keys, next) = (world.keys.clone(), ServiceKeys::random().unwrap());
    let after = |ring: Ring<_>, next: &Ring<storage::keys::Secret>| {
        let (id, key) = next.current();
        ring.rotated(id.clone(), key.clone())
    };
    keys.wrapping = after(keys.wrapping, &next.wrapping);
    keys.verifiers = after(keys.verifiers, &next.verifiers);
    let store = world.store_of(&keys, Lifetimes::default());
    (keys, store)
}

async fn vaults(store: &Store) -> Vec<Vault> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let page = store.vaults(Segment { index: 0, total: 1 }, from).await.unwrap();
        assert_eq!(page.malformed, 0);
        all.extend(page.vaults);
        from = page.next;
        if from.is_none() {
            return all;
        }
    }
}

/// A store that knows the new keys, and does not use them yet.
fn before_their_time(world: &World, keys: &ServiceKeys) -> Store {
    let back = |ring: Ring<_>, before: &Ring<storage::keys::Secret>| {
        let (id, key) = before.current();
        ring.rotated(id.clone(), key.clone())
    };
    let mut published = keys.clone();
    published.wrapping = back(published.wrapping, &world.keys.wrapping);
    published.verifiers = back(published.verifiers, &world.keys.verifiers);
    world.store_of(&published, Lifetimes::default())
}

/// The keys without those of before the rotation.
fn without_the_old(world: &World, keys: &ServiceKeys) -> Store {
    let alone = |ring: &Ring<_>| {
        let (id, key): (_, &storage::keys::Secret) = ring.current();
        Ring::of(id.clone(), key.clone())
    };
    let mut left = keys.clone();
    (left.wrapping, left.verifiers) = (alone(&keys.wrapping), alone(&keys.verifiers));
    world.store_of(&left, Lifetimes::default())
}

#[tokio::test]
async fn vaults_move_to_the_current_keys_and_the_log_stays_byte_for_byte() {
    let world = World::start().await;
    let people = [world.register("ada@example.com").await, world.register("bob@example.com").await];
    world.sign_in(&people[0], 1).await;
    let mut commits = Vec::new();
    for (person, versions) in [(&people[0], 2), (&people[1], 1)] {
        for version in 1..=versions {
            commits.push(world.commit(person, version).await);
        }
    }
    let (keys, store) = rotated(&world);
    for (done, expected) in [(1, true), (2, false)] {
        for vault in vaults(&store).await {
            let both = Rewrapped { data_key: expected, verifier: expected };
            assert_eq!(store.rewrap(&vault).await.unwrap(), both, "time {done}");
        }
    }
    let left = without_the_old(&world, &keys);
    for person in &people {
        let loaded = left.load(person.user).await.unwrap().unwrap();
        assert_eq!(left.verifier(loaded.vault().unwrap()).unwrap().as_str(), PHC);
        assert!(left.log.fold(person.user).await.unwrap().outcome.is_ok());
    }
    let mut after = Vec::new();
    for (person, versions) in [(&people[0], 2), (&people[1], 1)] {
        for version in 1..=versions {
            after.push(world.commit(person, version).await);
        }
    }
    assert_eq!(after, commits);
}

#[tokio::test(flavor = "multi_thread")]
async fn rewrapping_and_fifty_changes_of_password_lose_nothing_of_each_other() {
    let world = World::start().await;
    let ids: Vec<String> = (0..50).map(|number| format!("user{number}@example.com")).collect();
    let mut people: Vec<(Person, domain::SessionId)> = Vec::new();
    for id in &ids {
        let person = world.register(id).await;
        let session = world.sign_in(&person, 1).await.id;
        people.push((person, session));
    }
    let (keys, store) = rotated(&world);
    let read = vaults(&store).await;
    assert_eq!(read.len(), 50);
    // For half of the processes the time of the new keys has not come yet.
    let published = before_their_time(&world, &keys);
    let changes = people.iter().enumerate().map(|(number, (person, session))| {
        let (published, store) = (&published, &store);
        async move {
            let by = if number % 2 == 0 { published } else { store };
            let intent = change_password(person, 2, *session);
            let mut loaded = by.load(person.user).await.unwrap().unwrap();
            by.execute(&mut loaded, &intent).await.unwrap();
            put_in_by(&intent)
        }
    });
    let rewraps = read.iter().map(|vault| store.rewrap(vault));
    let (put_in, rewrapped) = futures::join!(join_all(changes), join_all(rewraps));
    for outcome in rewrapped {
        assert!(outcome.unwrap().data_key);
    }
    // What a process with the old keys has written last is found by the next run.
    for vault in vaults(&store).await {
        assert!(!store.rewrap(&vault).await.unwrap().data_key, "no data key was put back");
    }
    let left = without_the_old(&world, &keys);
    for ((person, _), credential) in people.iter().zip(put_in) {
        let loaded = left.load(person.user).await.unwrap().unwrap();
        let vault = loaded.vault().unwrap();
        assert_eq!((vault.credential, left.verifier(vault).unwrap().as_str()), (credential, NEW_PHC));
        let folded = left.log.fold(person.user).await.unwrap().outcome.unwrap();
        assert_eq!(folded.head.version.number(), 3);
    }
}

#[tokio::test]
async fn a_verifier_that_changed_since_it_was_read_is_never_put_back() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await.id;
    let (_, store) = rotated(&world);
    let read = vaults(&store).await.remove(0);
    let intent = change_password(&ada, 2, session);
    store.execute(&mut store.load(ada.user).await.unwrap().unwrap(), &intent).await.unwrap();
    let changed = world.vault(&ada).await;
    assert_eq!(store.rewrap(&read).await.unwrap(), Rewrapped { data_key: true, verifier: false });
    let after = world.vault(&ada).await;
    assert_eq!((&after["verifier"], &after["credential"]), (&changed["verifier"], &changed["credential"]));
}

#[tokio::test]
async fn who_uses_a_key_is_seen_in_every_table() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.begin(&ada);
    world.execute(&ada, &sign_in(&ada, 1, &session)).await.unwrap();
    world.project(&ada).await;
    let id = |ring: &Ring<storage::keys::Secret>| ring.current().0.clone();
    let store = &world.store;
    let sessions = store.keys_of_sessions(noon()).await.unwrap();
    assert_eq!(sessions, [(id(&world.keys.refresh), 1)].into());
    assert!(store.keys_of_sessions(session.ends).await.unwrap().is_empty(), "of the living");
    assert_eq!(store.keys_of_views().await.unwrap(), [(id(&world.keys.views), 1)].into());
    let vault = vaults(store).await.remove(0);
    assert_eq!(vault.wrapped_with(), Some(id(&world.keys.wrapping)));
    assert_eq!(vault.sealed_with(), Some(id(&world.keys.verifiers)));
}

#[tokio::test]
async fn a_session_that_was_refreshed_since_a_rotation_uses_both_keys() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    let (mut keys, next) = (world.keys.clone(), ServiceKeys::random().unwrap());
    let (id, key) = next.refresh.current();
    keys.refresh = keys.refresh.rotated(id.clone(), key.clone());
    let store = world.store_of(&keys, Lifetimes::default());
    let presented = store.sessions.parse(&session.token).unwrap();
    let rotated = store.sessions.rotate(&presented, None, noon()).await.unwrap();
    assert!(matches!(rotated, Rotation::Next { .. }), "{rotated:?}");
    // Its tokens are of the new one; what is shown of where it was begun is under the old one still.
    let old = world.keys.refresh.current().0.clone();
    assert_eq!(store.keys_of_sessions(noon()).await.unwrap(), [(old, 1), (id.clone(), 1)].into());
}

#[tokio::test]
async fn who_uses_a_key_is_looked_for_by_consistent_reads() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    world.sign_in(&ada, 1).await;
    world.project(&ada).await;
    // Up to 4 KB cost a unit then, and half a unit otherwise.
    world.meter.reset();
    vaults(&world.store).await;
    assert!(world.meter.taken().cost(1.0, 0.0), "{:?}", world.meter.taken());
    world.meter.reset();
    world.store.keys_of_sessions(noon()).await.unwrap();
    assert!(world.meter.taken().cost(1.0, 0.0), "{:?}", world.meter.taken());
    world.meter.reset();
    world.store.keys_of_views().await.unwrap();
    assert!(world.meter.taken().cost(1.0, 0.0), "{:?}", world.meter.taken());
}
