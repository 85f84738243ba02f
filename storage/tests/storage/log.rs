use aws_sdk_dynamodb::types::AttributeValue;
use domain::{SessionId, UserEvent, Version};
use storage::{Broken, Commit, OpenError};
use testkit::commit_after;

use crate::fixture::{
    Item, Person, World, bits, commit_key, key, noon, octets, registration, sign_out, somebody, text,
};

/// A world where Ada has registered and signed in three times: four commits.
async fn ada() -> (World, Person, Vec<SessionId>) {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let mut sessions = Vec::new();
    for attempt in 1..=3 {
        sessions.push(world.sign_in(&ada, attempt).await.id);
    }
    (world, ada, sessions)
}

fn broken_seal(version: u64) -> Broken {
    Broken::Commit(Version::new(version), OpenError::Broken)
}

async fn history(world: &World, person: &Person) -> Vec<Commit> {
    let mut commits = Vec::new();
    world.store.log.history(person.user, |commit| commits.push(commit.clone())).await.unwrap();
    commits
}

#[tokio::test]
async fn the_log_of_a_user_is_dense_and_holds_what_was_decided() {
    let (world, ada, sessions) = ada().await;
    let out = sign_out(sessions[1]);
    world.execute(&ada, &out).await.unwrap();

    let keys: Vec<_> = (1..=5).map(commit_key).chain(["vault".to_owned()]).collect();
    assert_eq!(world.log_items(&ada).await, keys);
    let commits = history(&world, &ada).await;
    let versions: Vec<_> = commits.iter().map(|commit| commit.version.number()).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5]);
    let last = &commits[4];
    assert_eq!((last.user, last.command, last.at), (ada.user, out.id, noon()));
    assert_eq!(last.events.len(), 1);
    assert_eq!(last.events[0].event, UserEvent::UserSignedOut { session: sessions[1] });
    let meta = &last.events[0].meta;
    assert_eq!((meta.command.as_str(), meta.agent.as_deref()), ("SignOut", Some("browser")));
    assert_eq!(meta.address.as_deref(), Some("192.0.2.1"));
}

#[tokio::test]
async fn a_commit_is_kept_to_the_millisecond_it_was_folded_with() {
    let world = World::start().await;
    let ada = somebody("ada@example.com");
    let mut intent = registration(&ada);
    intent.at = noon() + chrono::TimeDelta::nanoseconds(1_234_567);
    let mut loaded = storage::Loaded::unborn(ada.user).unwrap();
    let appended = world.store.execute(&mut loaded, &intent).await.unwrap();
    assert_eq!(world.fold(&ada).await.unwrap(), appended.snapshot);
}

#[tokio::test]
async fn changing_anything_of_a_commit_breaks_it() {
    let (world, ada, _) = ada().await;
    let events = &world.tables.events;
    let commit = world.commit(&ada, 3).await;
    let sealed = commit["sealed"].as_b().unwrap().as_ref().to_vec();
    let mut changes = vec![
        ("at", text("2100-11-22T12:00:00.251Z")),
        ("at", text("2100-11-22T12:00:00.250+00:00")),
        ("command", text(&bits().to_string())),
        ("command", world.commit(&ada, 2).await["command"].clone()),
        ("sealed", world.commit(&ada, 2).await["sealed"].clone()),
    ];
    for index in [10, sealed.len() / 2, sealed.len() - 1] {
        let mut flipped = sealed.clone();
        flipped[index] ^= 1;
        changes.push(("sealed", octets(flipped)));
    }
    for (name, value) in changes {
        world.patch(events, commit.clone(), name, Some(value.clone())).await;
        assert_eq!(world.broken(&ada).await, broken_seal(3), "{name} = {value:?}");
    }
    world.patch(events, commit.clone(), "sealed", Some(octets(sealed[..9].to_vec()))).await;
    assert_eq!(world.broken(&ada).await, Broken::Commit(Version::new(3), OpenError::Form));
    for name in ["at", "command", "sealed"] {
        for value in [None, Some(aws_sdk_dynamodb::types::AttributeValue::Bool(true))] {
            world.patch(events, commit.clone(), name, value).await;
            assert_eq!(world.broken(&ada).await, Broken::CommitAttribute(Version::new(3), name));
        }
    }
    world.put(events, commit).await;
    assert!(world.fold(&ada).await.is_ok(), "what was put right is right");
}

#[tokio::test]
async fn the_last_commit_is_no_less_protected_than_those_before() {
    let (world, ada, _) = ada().await;
    let last = world.commit(&ada, 4).await;
    world.patch(&world.tables.events, last, "at", Some(text("2100-11-22T13:00:00.250Z"))).await;
    assert_eq!(world.broken(&ada).await, broken_seal(4));
}

#[tokio::test]
async fn a_commit_moved_to_another_version_does_not_open() {
    let (world, ada, _) = ada().await;
    let events = &world.tables.events;
    let (second, third) = (world.commit(&ada, 2).await, world.commit(&ada, 3).await);
    // Reordered: each in the other's place.
    world.patch(events, second.clone(), "item", Some(text(&commit_key(3)))).await;
    world.patch(events, third, "item", Some(text(&commit_key(2)))).await;
    assert_eq!(world.broken(&ada).await, broken_seal(2));
    // Repeated at the end.
    let (world, ada, _) = self::ada().await;
    let last = world.commit(&ada, 4).await;
    world.patch(&world.tables.events, last, "item", Some(text(&commit_key(5)))).await;
    assert_eq!(world.broken(&ada).await, broken_seal(5));
}

#[tokio::test]
async fn a_commit_copied_from_another_user_does_not_open_and_the_other_is_not_harmed() {
    let (world, ada, _) = ada().await;
    let bob = world.register("bob@example.com").await;
    world.sign_in(&bob, 1).await;
    let before = world.fold(&bob).await;
    let user = Some(text(&ada.user.to_string()));
    world.patch(&world.tables.events, world.commit(&bob, 2).await, "user", user).await;
    assert!(matches!(
        world.broken(&ada).await,
        Broken::Commit(version, OpenError::UnknownKey(_)) if version == Version::new(2)
    ));
    assert_eq!(world.fold(&bob).await, before);
    let scanned = world.scan().await;
    assert_eq!(scanned.len(), 2);
    assert_eq!(scanned.into_iter().find(|scanned| scanned.user == bob.user).unwrap().outcome, before);
}

#[tokio::test]
async fn a_commit_dropped_from_the_middle_is_a_gap() {
    for dropped in 1..=3 {
        let (world, ada, _) = ada().await;
        world.delete(&world.tables.events, key(&ada, &commit_key(dropped))).await;
        let gap = Broken::Gap { expected: Version::new(dropped), found: Version::new(dropped + 1) };
        assert_eq!(world.broken(&ada).await, gap);
    }
}

#[tokio::test]
async fn an_older_commit_put_back_breaks_the_chain_behind_it() {
    let (world, ada, _) = ada().await;
    let events = &world.tables.events;
    let (old_third, old_fourth) = (world.commit(&ada, 3).await, world.commit(&ada, 4).await);
    // The tail is cut off, which nobody can see, and the log goes on another way.
    for version in [3, 4] {
        world.delete(events, key(&ada, &commit_key(version))).await;
    }
    for attempt in 3..=5 {
        world.sign_in(&ada, attempt).await;
    }
    assert_eq!(world.fold(&ada).await.unwrap().head.version, Version::new(5));
    // Then what was cut off is put back, in part and in whole.
    world.put(events, old_third).await;
    assert_eq!(world.broken(&ada).await, broken_seal(4));
    world.put(events, old_fourth).await;
    assert_eq!(world.broken(&ada).await, broken_seal(5));
}

#[tokio::test]
async fn a_log_without_its_vault_is_broken_and_one_with_another_users_vault_does_not_open() {
    let (world, ada, _) = ada().await;
    let bob = world.register("bob@example.com").await;
    let mut vault = world.vault(&bob).await;
    vault.insert("user".to_owned(), text(&ada.user.to_string()));
    world.put(&world.tables.events, vault).await;
    assert_eq!(world.broken(&ada).await, Broken::DataKey(OpenError::Broken));
    world.delete(&world.tables.events, key(&ada, "vault")).await;
    assert_eq!(world.broken(&ada).await, Broken::NoVault);
}

#[tokio::test]
async fn an_event_that_this_code_does_not_know_stops_the_reader() {
    let (world, ada, _) = ada().await;
    let (vault, last) = (world.vault(&ada).await, world.commit(&ada, 4).await);
    let commit = |plain: &str| commit_after(&world.keys, &vault, &last, plain);
    let event = |event: &str| format!(r#"[{{"event":{event},"meta":{{"command":"Later"}}}}]"#);
    let known = event(r#"{"UserSignedOut":{"session":"01935a00-0000-7000-8000-ffffffffffff"}}"#);
    world.put(&world.tables.events, commit(&known)).await;
    assert_eq!(world.fold(&ada).await.unwrap().head.version, Version::new(5), "forged with the right keys");
    for unknown in [
        event(r#"{"UserGrewWings":{}}"#),
        event(r#"{"UserSignedOut":{"session":"01935a00-0000-7000-8000-ffffffffffff","why":"later"}}"#),
        known.replacen("\"meta\"", "\"signature\":\"later\",\"meta\"", 1),
        "not JSON".to_owned(),
    ] {
        world.put(&world.tables.events, commit(&unknown)).await;
        assert_eq!(world.broken(&ada).await, Broken::UnknownEvent(Version::new(5)), "{unknown}");
    }
    let told = known.replacen("\"Later\"", "\"Later\",\"since_then\":true", 1);
    world.put(&world.tables.events, commit(&told)).await;
    assert!(world.fold(&ada).await.is_ok(), "nothing is decided by what is recorded beside an event");
}

#[tokio::test]
async fn what_newer_code_sealed_is_told_from_what_somebody_broke() {
    let (world, ada, _) = ada().await;
    let (commit, vault) = (world.commit(&ada, 3).await, world.vault(&ada).await);
    let newer = |value: &AttributeValue| {
        let mut sealed = value.as_b().unwrap().as_ref().to_vec();
        sealed[0] = 2;
        Some(octets(sealed))
    };
    world.patch(&world.tables.events, commit.clone(), "sealed", newer(&commit["sealed"])).await;
    let broken = world.broken(&ada).await;
    assert_eq!(broken, Broken::Commit(Version::new(3), OpenError::NewerForm(2)));
    assert_eq!((broken.code(), broken.version()), ("newer-form", Some(Version::new(3))));
    world.patch(&world.tables.events, vault.clone(), "data_key", newer(&vault["data_key"])).await;
    assert_eq!(world.broken(&ada).await.code(), "newer-form");
}

#[tokio::test]
async fn of_several_broken_commits_the_first_is_named() {
    let (world, ada, _) = ada().await;
    let events = &world.tables.events;
    let (second, fourth) = (world.commit(&ada, 2).await, world.commit(&ada, 4).await);
    world.patch(events, fourth, "sealed", None).await;
    world.put(events, key(&ada, "commit-5")).await;
    world.patch(events, second, "at", Some(text("2100-11-22T13:00:00.250Z"))).await;
    assert_eq!(world.broken(&ada).await, broken_seal(2));
    let mut shown = 0;
    world.store.log.history(ada.user, |_| shown += 1).await.unwrap_err();
    assert_eq!(shown, 1, "what comes before the break can be read");
    world.delete(events, key(&ada, &commit_key(2))).await;
    let gap = Broken::Gap { expected: Version::new(2), found: Version::new(3) };
    assert_eq!(world.broken(&ada).await, gap);
}

#[tokio::test]
async fn what_is_no_item_of_ours_in_a_log_stops_its_reader_and_nobody_elses() {
    let (world, ada, _) = ada().await;
    let bob = world.register("bob@example.com").await;
    world.put(&world.tables.events, key(&ada, "commit-5")).await;
    assert_eq!(world.broken(&ada).await, Broken::CommitAttribute(Version::new(5), "item"));
    let stranger = Item::from([("user".to_owned(), text("nobody")), ("item".to_owned(), text("vault"))]);
    world.put(&world.tables.events, stranger).await;
    let scanned = world.scan().await;
    assert_eq!(scanned.len(), 2);
    assert!(scanned.iter().any(|scanned| scanned.user == bob.user && scanned.outcome.is_ok()));
}

#[tokio::test]
async fn nothing_is_appended_to_a_broken_log() {
    let (world, ada, sessions) = ada().await;
    let third = world.commit(&ada, 3).await;
    world.patch(&world.tables.events, third, "at", Some(text("2100-11-22T13:00:00.250Z"))).await;
    let refused = world.execute(&ada, &sign_out(sessions[0])).await.unwrap_err();
    assert!(matches!(refused, storage::ExecuteError::Broken(broken) if broken == broken_seal(3)));
    assert_eq!(world.log_items(&ada).await.len(), 5);
    assert_eq!(world.session_rows(&ada).await.len(), 3);
}
