//! A sign-in that leaves a stronger verifier of the same password behind: in its own transaction, or not at all.

use domain::{CredentialId, Rejection, Version};
use futures::future::join_all;
use storage::{ExecuteError, Lifetimes, Loaded};

use crate::fixture::{
    NEW_PHC, PHC, Person, World, change_password, octets, put_in_by, registration, sign_in_rehashed,
};

async fn vault(world: &World, person: &Person) -> (CredentialId, String) {
    let loaded = world.load(person).await;
    let vault = loaded.vault().unwrap();
    (vault.credential, world.store.verifier(vault).unwrap().to_string())
}

/// A world with Ada in it, loaded as of the end of her log.
async fn ada_loaded() -> (World, Person, Loaded) {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let mut loaded = world.load(&ada).await;
    world.store.freshen(&mut loaded).await.unwrap();
    (world, ada, loaded)
}

#[tokio::test]
async fn the_verifier_is_replaced_under_the_same_credential_and_nothing_else_of_the_vault_is() {
    let (world, ada, mut loaded) = ada_loaded().await;
    let before = world.vault(&ada).await;
    let intent = sign_in_rehashed(&loaded, &ada, 1, &world.begin(&ada));
    world.store.execute(&mut loaded, &intent).await.unwrap();
    assert_eq!(vault(&world, &ada).await, (ada.credential, NEW_PHC.to_owned()));
    let mut after = world.vault(&ada).await;
    assert_ne!(
        after.insert("verifier".to_owned(), before["verifier"].clone()).as_ref(),
        before.get("verifier")
    );
    assert_eq!(after, before);
    world.sign_in(&ada, 2).await;
}

#[tokio::test]
async fn a_vault_that_has_changed_meanwhile_stays_as_it_is_and_the_sign_in_succeeds() {
    let (world, ada, mut loaded) = ada_loaded().await;
    let elsewhere = World::with(world.keys.clone(), Lifetimes::default()).await;
    let mut unborn = Loaded::unborn(ada.user).unwrap();
    elsewhere.store.execute(&mut unborn, &registration(&ada)).await.unwrap();
    // The same verifier sealed anew.
    let anew = elsewhere.vault(&ada).await["verifier"].clone();
    world.patch(&world.tables.events, world.vault(&ada).await, "verifier", Some(anew.clone())).await;
    let intent = sign_in_rehashed(&loaded, &ada, 1, &world.begin(&ada));
    world.meter.reset();
    world.store.execute(&mut loaded, &intent).await.unwrap();
    assert_eq!(world.meter.taken().requests, ["TransactWriteItems", "Query", "TransactWriteItems"]);
    assert_eq!(vault(&world, &ada).await, (ada.credential, PHC.to_owned()));
    assert_eq!(world.vault(&ada).await["verifier"], anew);
    assert_eq!(world.session_rows(&ada).await.len(), 1);
}

#[tokio::test]
async fn a_data_key_wrapped_anew_meanwhile_is_not_lost() {
    let (world, ada, mut loaded) = ada_loaded().await;
    let intent = sign_in_rehashed(&loaded, &ada, 1, &world.begin(&ada));
    world.patch(&world.tables.events, world.vault(&ada).await, "data_key", Some(octets([7; 90]))).await;
    world.store.execute(&mut loaded, &intent).await.unwrap();
    assert_eq!(world.vault(&ada).await["data_key"], octets([7; 90]));
}

#[tokio::test]
async fn a_password_that_was_changed_meanwhile_is_not_undone() {
    let (world, ada, mut loaded) = ada_loaded().await;
    let acting = world.sign_in(&ada, 1).await;
    let change = change_password(&ada, 2, acting.id);
    world.execute(&ada, &change).await.unwrap();
    let of_the_change = world.vault(&ada).await;
    let intent = sign_in_rehashed(&loaded, &ada, 3, &world.begin(&ada));
    let refused = world.store.execute(&mut loaded, &intent).await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(Rejection::CredentialMismatch))), "{refused:?}");
    assert_eq!(world.vault(&ada).await, of_the_change);
    assert_eq!(vault(&world, &ada).await.0, put_in_by(&change));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twenty_at_once_all_sign_in_and_one_leaves_its_verifier() {
    let (world, ada, loaded) = ada_loaded().await;
    let outcomes = join_all((1..=20).map(|attempt| {
        let mut loaded = loaded.clone();
        let intent = sign_in_rehashed(&loaded, &ada, attempt, &world.begin(&ada));
        let world = &world;
        async move { world.store.execute(&mut loaded, &intent).await }
    }))
    .await;
    for outcome in outcomes {
        outcome.unwrap();
    }
    assert_eq!(world.fold(&ada).await.unwrap().head.version, Version::new(21));
    assert_eq!(vault(&world, &ada).await, (ada.credential, NEW_PHC.to_owned()));
}
