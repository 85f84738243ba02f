//! Old views: they may cost a request, never a wrong yes or a wrong no.

use domain::{Command, CredentialId, Rejection, Version};
use storage::ExecuteError;

use crate::fixture::{World, bits, end_reused, sign_in, sign_out, view_key};

#[tokio::test]
async fn a_user_without_a_view_is_not_refused() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let loaded = world.load(&ada).await;
    assert_eq!(loaded.snapshot().head.version, Version::NONE);
    world.sign_in(&ada, 1).await;
}

#[tokio::test]
async fn a_session_that_an_old_view_does_not_know_is_ended_all_the_same() {
    for command in [sign_out, end_reused] {
        let world = World::start().await;
        let ada = world.register("ada@example.com").await;
        world.project(&ada).await;
        let session = world.sign_in(&ada, 1).await;
        let mut loaded = world.load(&ada).await;
        assert_eq!(loaded.snapshot().head.version, Version::new(1), "the view is old");
        let ended = world.store.execute(&mut loaded, &command(session.id)).await.unwrap();
        assert_eq!(ended.version, Some(Version::new(3)));
        assert!(world.session_row(&ada, session.id).await.is_none());
    }
}

#[tokio::test]
async fn a_session_that_an_old_view_still_knows_is_not_ended_twice() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    world.project(&ada).await;
    let old = world.view(&ada).await;
    world.execute(&ada, &sign_out(session.id)).await.unwrap();
    world.project(&ada).await;
    // Put back by one who can write the table: it is genuine, only old.
    world.put(&world.tables.views, old).await;
    for command in [sign_out, end_reused] {
        let mut loaded = world.load(&ada).await;
        assert_eq!(loaded.snapshot().head.version, Version::new(2));
        let nothing = world.store.execute(&mut loaded, &command(session.id)).await.unwrap();
        assert_eq!(nothing.version, None);
        assert_eq!(nothing.snapshot, world.fold(&ada).await.unwrap());
    }
    assert_eq!(world.log_items(&ada).await.len(), 4);
}

#[tokio::test]
async fn a_sign_in_from_an_old_view_is_decided_by_the_log() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let oldest = world.sign_in(&ada, 1).await;
    for attempt in 2..50 {
        world.sign_in(&ada, attempt).await;
    }
    world.project(&ada).await;
    let old = world.view(&ada).await;
    world.sign_in(&ada, 50).await;
    // The old view knows of forty-nine sessions, and of a free place.
    world.put(&world.tables.views, old).await;
    world.sign_in(&ada, 51).await;
    assert!(world.session_row(&ada, oldest.id).await.is_none());
    assert_eq!(world.session_rows(&ada).await.len(), 50);
    let folded = world.fold(&ada).await.unwrap();
    assert_eq!(folded.user.account().unwrap().last_success, 51);
}

#[tokio::test]
async fn nobody_is_refused_before_the_log_has_been_read_to_its_end() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    world.project(&ada).await;
    let mut wrong = sign_in(&ada, 2, &world.begin(&ada));
    if let Command::SignIn { credential, .. } = &mut wrong.command {
        *credential = CredentialId::new(bits());
    }
    let mut loaded = world.load(&ada).await;
    world.meter.reset();
    let refused = world.store.execute(&mut loaded, &wrong).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::Rejected(Rejection::CredentialMismatch)));
    assert_eq!(world.meter.taken().requests, ["Query"]);
    // Read once to its end in this request, it need not be read again.
    let refused = world.store.execute(&mut loaded, &wrong).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::Rejected(Rejection::CredentialMismatch)));
    assert_eq!(world.meter.taken().requests, ["Query"]);

    world.execute(&ada, &sign_out(session.id)).await.unwrap();
    world.project(&ada).await;
    let mut loaded = world.load(&ada).await;
    world.meter.reset();
    let nothing = world.store.execute(&mut loaded, &sign_out(session.id)).await.unwrap();
    assert_eq!(nothing.version, None);
    // The log has been read, and no row that was put back stays alive.
    assert_eq!(world.meter.taken().requests, ["Query", "DeleteItem"]);
}

#[tokio::test]
async fn deleting_every_view_changes_no_decision() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    world.project(&ada).await;
    world.delete(&world.tables.views, view_key(&ada)).await;
    let out = world.execute(&ada, &sign_out(session.id)).await.unwrap();
    assert_eq!(out.version, Some(Version::new(3)));
}
