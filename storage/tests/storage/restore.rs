use domain::Version;
use serde_json::json;
use storage::keys::ServiceKeys;
use storage::{Broken, Cleared, Clearing, Lifetimes, Put, Store};
use testkit::Fault;

use crate::fixture::{World, commit_key, key, noon, registration, somebody, text};

#[tokio::test]
async fn an_address_is_led_to_somebody_only_if_it_leads_to_whom_it_was_said_to() {
    let world = World::start().await;
    let (ada, bob) = (world.register("ada@example.com").await, world.register("bob@example.com").await);
    let identifiers = &world.store.identifiers;
    let command = world.store.log.address_taken_by(ada.user).await.unwrap().unwrap();
    assert_eq!(command.to_string(), *world.commit(&ada, 1).await["command"].as_s().unwrap());
    let adas = identifiers.key.email(&ada.email);
    let stored = json!({ "identifier": adas.as_str(), "user": ada.user, "command": command });
    let leads_to = async || identifiers.find(&adas).await.unwrap();

    // It leads to somebody already.
    for instead_of in [None, Some(bob.user)] {
        let lost = identifiers.lead_to(&ada.email, (bob.user, command), instead_of).await.unwrap();
        assert_eq!((lost, leads_to().await), (Put::Lost, Some(ada.user)));
    }
    let corrected = identifiers.lead_to(&ada.email, (bob.user, command), Some(ada.user)).await.unwrap();
    assert_eq!((corrected, leads_to().await), (Put::Written, Some(bob.user)));
    // It is set free if it still leads to whom it should not.
    assert_eq!(identifiers.set_free(&adas, ada.user).await.unwrap(), Put::Lost);
    assert_eq!(identifiers.set_free(&adas, bob.user).await.unwrap(), Put::Written);
    assert_eq!(identifiers.set_free(&adas, bob.user).await.unwrap(), Put::Lost);
    assert_eq!(leads_to().await, None);
    assert_eq!(
        identifiers.lead_to(&ada.email, (ada.user, command), Some(bob.user)).await.unwrap(),
        Put::Lost
    );
    assert_eq!(identifiers.lead_to(&ada.email, (ada.user, command), None).await.unwrap(), Put::Written);
    // What was made is what the registration had made.
    let items = world.all(&world.tables.identifiers).await;
    let item = items.iter().find(|item| item["identifier"].as_s().unwrap() == adas.as_str()).unwrap();
    for (name, value) in stored.as_object().unwrap() {
        assert_eq!(item[name].as_s().unwrap(), value.as_str().unwrap());
    }
    assert_eq!(item.len(), 3);
}

#[tokio::test]
async fn keys_of_others_are_told_although_somebody_was_erased() {
    let world = World::start().await;
    let (ada, bob) = (world.register("ada@example.com").await, world.register("bob@example.com").await);
    let keys = ServiceKeys::random().unwrap();
    let others = Store::new(&world.raw, &world.tables, &keys, Lifetimes::default());
    assert!(world.store.log.knows_its_keys().await.unwrap());
    assert!(!others.log.knows_its_keys().await.unwrap());
    world.delete(&world.tables.events, key(&ada, "vault")).await;
    assert_eq!(world.store.log.bury(ada.user, noon()).await.unwrap(), Put::Written);
    assert!(world.store.log.knows_its_keys().await.unwrap());
    assert!(!others.log.knows_its_keys().await.unwrap(), "bob's vault does not open");
    // Where nobody is left whose vault could tell, nothing is denied.
    world.delete(&world.tables.events, key(&bob, "vault")).await;
    assert!(others.log.knows_its_keys().await.unwrap());
}

#[tokio::test]
async fn a_missing_vault_becomes_a_tombstone_and_its_user_is_no_user_any_more() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let events = &world.tables.events;
    let vault = world.vault(&ada).await;
    assert_eq!(world.store.log.bury(ada.user, noon()).await.unwrap(), Put::Lost, "there is a vault");
    assert_eq!(world.vault(&ada).await, vault);

    world.delete(events, key(&ada, "vault")).await;
    assert_eq!(world.broken(&ada).await, Broken::NoVault);
    assert_eq!(world.store.log.bury(ada.user, noon()).await.unwrap(), Put::Written);
    assert_eq!(world.vault(&ada).await["erased"], text("2100-11-22T12:00:00.250Z"));
    assert_eq!(world.vault(&ada).await.len(), 3, "no key, no verifier");
    assert_eq!(world.store.log.bury(ada.user, noon()).await.unwrap(), Put::Lost, "once is enough");
    assert_eq!(world.broken(&ada).await, Broken::Erased);
    assert!(world.store.load(ada.user).await.unwrap().is_none(), "nobody to sign in");
    assert_eq!(world.log_items(&ada).await, [commit_key(1), "vault".to_owned()], "the commit stays");
}

#[tokio::test]
async fn a_vault_goes_only_if_its_users_log_has_not_begun() {
    let world = World::start().await;
    let (ada, bob) = (world.register("ada@example.com").await, world.register("bob@example.com").await);
    assert_eq!(world.store.log.delete_lone_vault(ada.user).await.unwrap(), Put::Lost);
    assert_eq!(world.fold(&ada).await.unwrap().head.version, Version::new(1));
    world.delete(&world.tables.events, key(&bob, &commit_key(1))).await;
    for _ in ["alone", "gone already"] {
        assert_eq!(world.store.log.delete_lone_vault(bob.user).await.unwrap(), Put::Written);
        assert!(world.log_items(&bob).await.is_empty());
    }
    // Whoever had that id by an idempotency key can register with it.
    let mut loaded = storage::Loaded::unborn(bob.user).unwrap();
    world.delete(&world.tables.identifiers, world.identifier_key(&bob)).await;
    assert!(world.store.execute(&mut loaded, &registration(&bob)).await.is_ok());
}

#[tokio::test]
async fn a_table_of_several_pages_is_emptied_and_counted_before() {
    let world = World::start().await;
    let sessions = &world.tables.sessions;
    for number in 0..60 {
        let mut row = key(&somebody("ada@example.com"), &format!("session-{number}"));
        row.insert("padding".to_owned(), text(&"x".repeat(40_000)));
        world.put(sessions, row).await;
    }
    let ada = world.register("ada@example.com").await;
    world.project(&ada).await;
    for clearing in [Clearing::Count, Clearing::Delete, Clearing::Delete] {
        let there = world.all(sessions).await.len() as u64;
        let (mut pages, mut counted, mut from) = (0, 0, None);
        loop {
            let Cleared { items, next } = world.store.sessions.clear(clearing, from).await.unwrap();
            pages += 1;
            counted += items;
            match next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        assert_eq!((counted, pages > 1), (there, there > 0));
    }
    assert!(world.all(sessions).await.is_empty());
    assert_eq!(world.store.views.clear(Clearing::Delete, None).await.unwrap().items, 1);
    assert!(world.all(&world.tables.views).await.is_empty());
    assert_eq!(world.log_items(&ada).await.len(), 2, "nothing else is touched");
}

#[tokio::test]
async fn what_dynamodb_leaves_undeleted_is_asked_for_again() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    world.project(&ada).await;
    let views = &world.tables.views;
    let request = json!({ "DeleteRequest": { "Key": { "user": { "S": ada.user.to_string() } } } });
    let left = json!({ "UnprocessedItems": { views.as_str(): [request] } });
    for _ in 0..2 {
        world.faults.script("BatchWriteItem", 1, Fault::Answer(200, left.clone()));
    }
    world.meter.reset();
    assert_eq!(world.store.views.clear(Clearing::Delete, None).await.unwrap().items, 1);
    let batches = world.meter.taken().requests;
    assert_eq!(batches.iter().filter(|name| *name == "BatchWriteItem").count(), 3, "{batches:?}");
    assert!(world.all(views).await.is_empty());
}
