//! What a writer of the tables without a service key gains by exchanging secrets and addresses: nothing.

use domain::{Command, CredentialId, Rejection};
use storage::keys::ServiceKeys;
use storage::{Broken, ExecuteError, Lifetimes, Loaded, OpenError, ReadError};

use crate::fixture::{Item, PHC, Person, World, bits, registration, sign_in, text};

/// What a sign-in does with the password of `vault`'s owner: verify with the vault's verifier, then ask.
async fn sign_in_with_vault(world: &World, person: &Person) -> Result<(), ExecuteError> {
    let mut loaded = world.load(person).await;
    let credential = loaded.vault().unwrap().credential;
    let session = world.begin(person);
    let mut intent = sign_in(person, 1, &session);
    if let Command::SignIn { credential: verified, .. } = &mut intent.command {
        *verified = credential;
    }
    world.store.execute(&mut loaded, &intent).await.map(|_| ())
}

/// A later or earlier vault of the same user: another credential, under the same service keys.
async fn other_vault(world: &World, person: &Person) -> Item {
    let elsewhere = World::with(world.keys.clone(), Lifetimes::default()).await;
    let earlier = Person { credential: CredentialId::new(bits()), ..person.clone() };
    let mut loaded = Loaded::unborn(person.user).unwrap();
    elsewhere.store.execute(&mut loaded, &registration(&earlier)).await.unwrap();
    elsewhere.vault(person).await
}

#[tokio::test]
async fn the_verifier_comes_out_of_the_vault_as_it_went_in() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let loaded = world.load(&ada).await;
    let vault = loaded.vault().unwrap();
    assert_eq!(vault.credential, ada.credential);
    assert_eq!(world.store.verifier(vault).unwrap().as_str(), PHC);
    sign_in_with_vault(&world, &ada).await.unwrap();
}

#[tokio::test]
async fn another_users_vault_opens_nothing() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let bob = world.register("bob@example.com").await;
    let adas = world.vault(&ada).await;
    let mut bobs = world.vault(&bob).await;
    bobs.insert("user".to_owned(), text(&ada.user.to_string()));
    world.put(&world.tables.events, bobs.clone()).await;
    let loaded = world.store.load(ada.user).await;
    assert!(matches!(loaded, Err(ReadError::Broken(Broken::DataKey(OpenError::Broken)))));
    // Bob's verifier and its id beside Ada's data key: the log opens, the verifier does not.
    bobs.insert("data_key".to_owned(), adas["data_key"].clone());
    world.put(&world.tables.events, bobs).await;
    let loaded = world.load(&ada).await;
    let opened = world.store.verifier(loaded.vault().unwrap());
    assert_eq!(opened.unwrap_err(), Broken::Verifier(OpenError::Broken));
}

#[tokio::test]
async fn an_older_vault_put_back_signs_nobody_in() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let (now, older) = (world.vault(&ada).await, other_vault(&world, &ada).await);
    // Its verifier opens: it is Ada's own. The log says that it is no longer the one.
    let mut patched = now.clone();
    for name in ["credential", "verifier"] {
        patched.insert(name.to_owned(), older[name].clone());
    }
    world.put(&world.tables.events, patched).await;
    let loaded = world.load(&ada).await;
    assert!(world.store.verifier(loaded.vault().unwrap()).is_ok());
    for projected in [false, true] {
        if projected {
            world.project(&ada).await;
        }
        let refused = sign_in_with_vault(&world, &ada).await.unwrap_err();
        assert!(matches!(refused, ExecuteError::Rejected(Rejection::CredentialMismatch)));
    }
    // Called by the id of the one it replaces, it does not open.
    world.patch(&world.tables.events, now.clone(), "verifier", Some(older["verifier"].clone())).await;
    let loaded = world.load(&ada).await;
    let opened = world.store.verifier(loaded.vault().unwrap());
    assert_eq!(opened.unwrap_err(), Broken::Verifier(OpenError::Broken));
    // The whole of it brings a data key that the log was not sealed with.
    world.put(&world.tables.events, older).await;
    assert!(matches!(world.broken(&ada).await, Broken::Commit(_, OpenError::UnknownKey(_))));
    assert_eq!(world.log_items(&ada).await.len(), 2);
}

#[tokio::test]
async fn a_vault_of_another_deployment_or_with_unknown_keys_does_not_open() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let mut keys = world.keys.clone();
    keys.deployment.push('2');
    let elsewhere = world.store_of(&keys, Lifetimes::default());
    let loaded = elsewhere.load(ada.user).await;
    assert!(matches!(loaded, Err(ReadError::Broken(Broken::DataKey(OpenError::Broken)))));
    let strangers = world.store_of(&ServiceKeys::random().unwrap(), Lifetimes::default());
    let loaded = strangers.load(ada.user).await;
    assert!(matches!(loaded, Err(ReadError::Broken(Broken::DataKey(OpenError::UnknownKey(_))))));
}

#[tokio::test]
async fn users_made_under_a_key_that_was_rotated_since_are_still_read() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let before = world.project(&ada).await;
    let next = ServiceKeys::random().unwrap();
    let mut keys = world.keys.clone();
    let (id, secret) = next.wrapping.current();
    keys.wrapping = keys.wrapping.rotated(id.clone(), secret.clone());
    let (id, secret) = next.verifiers.current();
    keys.verifiers = keys.verifiers.rotated(id.clone(), secret.clone());
    let (id, secret) = next.views.current();
    keys.views = keys.views.rotated(id.clone(), secret.clone());
    let store = world.store_of(&keys, Lifetimes::default());
    let loaded = store.load(ada.user).await.unwrap().unwrap();
    assert_eq!(loaded.snapshot(), &before);
    assert_eq!(store.verifier(loaded.vault().unwrap()).unwrap().as_str(), PHC);
    assert_eq!(store.log.fold(ada.user).await.unwrap().outcome.unwrap(), before);
}

#[tokio::test]
async fn an_address_redirected_to_another_user_signs_nobody_in() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let eve = world.register("eve@example.com").await;
    let address = world.store.identifiers.key.email(&ada.email);
    let row = Item::from([("identifier".to_owned(), text(address.as_str()))]);
    let row = world.get(&world.tables.identifiers, row).await.unwrap();
    world.patch(&world.tables.identifiers, row, "user", Some(text(&eve.user.to_string()))).await;
    let found = world.store.find(&ada.email).await.unwrap();
    assert_eq!(found, Some(eve.user));
    // Eve gives Ada's address and her own password, which her own vault verifies.
    let as_ada = Person { email: ada.email.clone(), ..eve.clone() };
    for projected in [false, true] {
        if projected {
            world.project(&eve).await;
        }
        let refused = sign_in_with_vault(&world, &as_ada).await.unwrap_err();
        assert!(matches!(refused, ExecuteError::Rejected(Rejection::CredentialMismatch)));
    }
    assert_eq!(world.session_rows(&eve).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_identifier_tells_the_same_address_only_to_its_own_deployment() {
    let world = World::start().await;
    let ada = world.register("Ada@Example.com").await;
    assert_eq!(
        world.store.find(&domain::Email::parse("ada@EXAMPLE.com").unwrap()).await.unwrap(),
        Some(ada.user)
    );
    assert_eq!(world.store.find(&domain::Email::parse("ada@example.org").unwrap()).await.unwrap(), None);
    let mut keys = world.keys.clone();
    keys.deployment.push('2');
    assert_eq!(world.store_of(&keys, Lifetimes::default()).find(&ada.email).await.unwrap(), None);
}
