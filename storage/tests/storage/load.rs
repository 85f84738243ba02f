use domain::{FOLD, SessionId, UserId, Version};
use storage::View;
use testkit::Fault;

use crate::fixture::{World, bits, noon, octets, second, sign_out, text};

#[tokio::test]
async fn keys_that_were_left_unprocessed_are_not_missing() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    let snapshot = world.project(&ada).await;
    let (user, item) = (ada.user.to_string(), format!("session-{}", session.id));
    let key = |item: &str| serde_json::json!({ "user": { "S": user }, "item": { "S": item } });
    let everything = serde_json::json!({
        world.tables.views.clone(): { "Keys": [{ "user": { "S": user } }], "ConsistentRead": false },
        world.tables.events.clone(): { "Keys": [key("vault")], "ConsistentRead": true },
        world.tables.sessions.clone(): { "Keys": [key(&item)], "ConsistentRead": true },
    });
    let vault_only =
        serde_json::json!({ world.tables.events.clone(): everything[&world.tables.events].clone() });
    for unprocessed in [everything, vault_only] {
        let body = serde_json::json!({ "Responses": {}, "UnprocessedKeys": unprocessed });
        let whole = body["UnprocessedKeys"].as_object().unwrap().len() == 3;
        world.faults.script("BatchGetItem", 1, Fault::Answer(200, body));
        world.meter.reset();
        let (loaded, live) =
            world.store.load_acting(ada.user, Some((session.id, noon()))).await.unwrap().unwrap();
        assert_eq!(world.meter.taken().requests, ["BatchGetItem", "BatchGetItem"]);
        if whole {
            assert_eq!(loaded.snapshot(), &snapshot);
            assert_eq!(live.map(|live| live.id), Some(session.id));
        }
    }
}

#[tokio::test]
async fn nobody_is_loaded_where_there_is_no_vault() {
    let world = World::start().await;
    assert!(world.store.load(UserId::new(bits())).await.unwrap().is_none());
}

#[tokio::test]
async fn a_view_that_is_of_no_use_is_no_snapshot_and_no_answer() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    let snapshot = world.project(&ada).await;
    let bob = world.register("bob@example.com").await;
    world.project(&bob).await;
    let (good, bobs) = (world.view(&ada).await, world.view(&bob).await);
    let sealed = good["sealed"].as_b().unwrap().as_ref().to_vec();
    let number = |number: u64| Some(aws_sdk_dynamodb::types::AttributeValue::N(number.to_string()));
    let mut flipped = sealed.clone();
    flipped[20] ^= 1;
    for (name, value, torn) in [
        ("fold", number((FOLD + 1).into()), false),
        ("fold", number(0), false),
        ("fold", None, true),
        ("fold", Some(text("1")), true),
        ("version", number(1), true),
        ("version", number(3), true),
        ("version", number(u64::MAX), true),
        ("version", number(0), false),
        ("version", None, true),
        ("sealed", None, true),
        ("sealed", Some(octets(sealed[..30].to_vec())), true),
        ("sealed", Some(octets(flipped)), true),
        ("sealed", Some(bobs["sealed"].clone()), true),
        ("sealed", Some(world.vault(&ada).await["verifier"].clone()), true),
    ] {
        world.patch(&world.tables.views, good.clone(), name, value.clone()).await;
        let view = world.store.views.read(ada.user).await.unwrap();
        assert_eq!(matches!(view, View::Torn(_)), torn, "{name} = {value:?}: {view:?}");
        assert_eq!(matches!(view, View::Foreign { .. }), !torn, "{name} = {value:?}: {view:?}");
        assert_eq!(world.load(&ada).await.snapshot().head.version, Version::NONE);
        let read = world.store.read_acting(ada.user, session.id, Version::NONE, noon()).await.unwrap();
        assert_eq!(read, Some(snapshot.clone()), "{name} = {value:?}");
    }
    let out = world.execute(&ada, &sign_out(session.id)).await.unwrap();
    assert_eq!(out.version, Some(Version::new(3)));
}

#[tokio::test]
async fn a_protected_query_is_answered_from_the_view_unless_it_asks_for_more() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    let old = world.project(&ada).await;
    world.sign_in(&ada, 2).await;
    let new = world.fold(&ada).await.unwrap();
    for (at_least, expected) in [(0, &old), (2, &old), (3, &new), (99, &new)] {
        let at_least = Version::new(at_least);
        let read = world.store.read_acting(ada.user, session.id, at_least, noon()).await.unwrap();
        assert_eq!(read.as_ref(), Some(expected), "at least {at_least}");
    }
}

#[tokio::test]
async fn a_protected_query_needs_a_live_session() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    world.project(&ada).await;
    let idle = second(7 * 24 * 3_600);
    for (id, now, alive) in [
        (session.id, noon(), true),
        (session.id, idle - chrono::TimeDelta::seconds(2), true),
        (session.id, idle, false),
        (SessionId::new(bits()), noon(), false),
    ] {
        let read = world.store.read_acting(ada.user, id, Version::NONE, now).await.unwrap();
        assert_eq!(read.is_some(), alive);
        let (_, live) = world.store.load_acting(ada.user, Some((id, now))).await.unwrap().unwrap();
        assert_eq!(live.is_some(), alive);
    }
    world.execute(&ada, &sign_out(session.id)).await.unwrap();
    // Signing out holds at once, whatever the view still says.
    let read = world.store.read_acting(ada.user, session.id, Version::NONE, noon()).await.unwrap();
    assert_eq!(read, None);
}

#[tokio::test]
async fn a_freshened_user_is_the_fold_of_the_log() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    world.project(&ada).await;
    let mut loaded = world.load(&ada).await;
    world.sign_in(&ada, 1).await;
    world.store.freshen(&mut loaded).await.unwrap();
    assert_eq!(loaded.snapshot(), &world.fold(&ada).await.unwrap());
    assert_eq!(loaded.user(), ada.user);
}
