//! Changes of password: one verifier, in the place of the one before; one session; and all of it or nothing.

use std::collections::BTreeSet;

use domain::{CredentialId, Rejection, SessionId, Version};
use futures::future::join_all;
use storage::{ExecuteError, Intent, Lifetimes, Loaded};

use crate::fixture::{
    NEW_PHC, PHC, Person, World, change_password, key, octets, put_in_by, registration, second, sign_in,
    sign_out, text,
};

/// The credential in the vault and the verifier it opens to.
async fn vault(world: &World, person: &Person) -> (CredentialId, String) {
    let loaded = world.load(person).await;
    let vault = loaded.vault().unwrap();
    (vault.credential, world.store.verifier(vault).unwrap().to_string())
}

/// The ids of the sessions that the log knows.
async fn known(world: &World, person: &Person) -> BTreeSet<String> {
    let folded = world.fold(person).await.unwrap();
    folded.user.account().unwrap().sessions.iter().map(|live| live.id.to_string()).collect()
}

async fn rows(world: &World, person: &Person) -> BTreeSet<String> {
    world.session_rows(person).await.into_iter().collect()
}

fn one(session: SessionId) -> BTreeSet<String> {
    BTreeSet::from([session.to_string()])
}

/// Asserts that nothing came of a change that was asked for.
async fn nothing_changed(world: &World, person: &Person, version: u64) {
    assert_eq!(world.fold(person).await.unwrap().head.version, Version::new(version));
    assert_eq!(vault(world, person).await, (person.credential, PHC.to_owned()));
}

#[tokio::test]
async fn a_new_verifier_takes_the_place_of_the_old_one_and_the_other_sessions_end() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let mut begun = Vec::new();
    for attempt in 1..=3 {
        begun.push(world.sign_in(&ada, attempt).await.id);
    }
    let before = world.vault(&ada).await;
    let intent = change_password(&ada, 4, begun[1]);
    let appended = world.execute(&ada, &intent).await.unwrap();
    assert_eq!(appended.version, Some(Version::new(5)));
    assert_eq!(vault(&world, &ada).await, (put_in_by(&intent), NEW_PHC.to_owned()));
    assert_eq!((known(&world, &ada).await, rows(&world, &ada).await), (one(begun[1]), one(begun[1])));
    let after = world.vault(&ada).await;
    assert_eq!(before["data_key"], after["data_key"]);
    assert_eq!(before.len(), after.len(), "nothing of the old one is left");
    for name in ["credential", "verifier"] {
        assert_ne!(before[name], after[name]);
    }
    // Who verified the old one, even of a vault read before, begins nothing; the new one does.
    let late = world.execute(&ada, &sign_in(&ada, 5, &world.begin(&ada))).await;
    assert!(matches!(late, Err(ExecuteError::Rejected(Rejection::CredentialMismatch))));
    let renewed = Person { credential: put_in_by(&intent), ..ada.clone() };
    world.sign_in(&renewed, 5).await;
}

#[tokio::test]
async fn what_else_changes_in_the_vault_meanwhile_is_not_lost() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let acting = world.sign_in(&ada, 1).await;
    let mut loaded = world.load(&ada).await;
    world.store.freshen(&mut loaded).await.unwrap();
    // The data key wrapped anew, and something that this code does not know.
    let mut anew = world.vault(&ada).await;
    anew.insert("data_key".to_owned(), octets([7; 90]));
    anew.insert("since_then".to_owned(), text("kept"));
    world.put(&world.tables.events, anew.clone()).await;
    let intent = change_password(&ada, 2, acting.id);
    world.store.execute(&mut loaded, &intent).await.unwrap();
    let after = world.vault(&ada).await;
    for name in ["data_key", "since_then"] {
        assert_eq!(after[name], anew[name], "{name}");
    }
    assert_eq!(after["credential"], text(&put_in_by(&intent).to_string()));
}

#[tokio::test]
async fn a_verifier_that_was_sealed_anew_meanwhile_is_replaced_all_the_same() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let acting = world.sign_in(&ada, 1).await;
    let mut loaded = world.load(&ada).await;
    world.store.freshen(&mut loaded).await.unwrap();
    let elsewhere = World::with(world.keys.clone(), Lifetimes::default()).await;
    let mut unborn = Loaded::unborn(ada.user).unwrap();
    elsewhere.store.execute(&mut unborn, &registration(&ada)).await.unwrap();
    let anew = elsewhere.vault(&ada).await["verifier"].clone();
    world.patch(&world.tables.events, world.vault(&ada).await, "verifier", Some(anew)).await;
    let intent = change_password(&ada, 2, acting.id);
    world.meter.reset();
    world.store.execute(&mut loaded, &intent).await.unwrap();
    assert_eq!(world.meter.taken().requests, ["TransactWriteItems", "Query", "TransactWriteItems"]);
    assert_eq!(vault(&world, &ada).await, (put_in_by(&intent), NEW_PHC.to_owned()));
    assert_eq!(world.log_items(&ada).await.len(), 4);
}

#[tokio::test]
async fn a_session_whose_row_is_gone_or_past_its_end_changes_no_password() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let (gone, late) = (world.sign_in(&ada, 1).await, world.sign_in(&ada, 2).await);
    world.delete(&world.tables.sessions, key(&ada, &format!("session-{}", gone.id))).await;
    let refused = world.execute(&ada, &change_password(&ada, 3, gone.id)).await;
    assert!(matches!(refused, Err(ExecuteError::SessionEnded)), "{refused:?}");
    // Idle for seven days, to the second: the log knows of no such end.
    let mut intent = change_password(&ada, 3, late.id);
    intent.at = second(7 * 24 * 3_600);
    let refused = world.execute(&ada, &intent).await;
    assert!(matches!(refused, Err(ExecuteError::SessionEnded)), "{refused:?}");
    nothing_changed(&world, &ada, 3).await;
    intent.at = second(7 * 24 * 3_600 - 1);
    world.execute(&ada, &intent).await.unwrap();
}

#[tokio::test]
async fn a_session_that_was_let_in_and_then_revoked_changes_no_password() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    let mut loaded = world.load(&ada).await;
    world.store.freshen(&mut loaded).await.unwrap();
    let row = world.session_row(&ada, session.id).await.unwrap();
    world.execute(&ada, &sign_out(session.id)).await.unwrap();
    let refused = world.store.execute(&mut loaded, &change_password(&ada, 2, session.id)).await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(Rejection::SessionEnded))), "{refused:?}");
    // Not even if somebody puts its row back.
    world.put(&world.tables.sessions, row).await;
    let refused = world.execute(&ada, &change_password(&ada, 2, session.id)).await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(Rejection::SessionEnded))), "{refused:?}");
    nothing_changed(&world, &ada, 3).await;
}

#[tokio::test]
async fn a_view_that_does_not_know_the_session_yet_refuses_nobody() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    world.sign_in(&ada, 1).await;
    world.project(&ada).await;
    let session = world.sign_in(&ada, 2).await;
    world.execute(&ada, &change_password(&ada, 3, session.id)).await.unwrap();
    assert_eq!(rows(&world, &ada).await, one(session.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_changes_at_once_one_takes_effect() {
    for sessions in [1, 50] {
        let world = World::start().await;
        let ada = world.register("ada@example.com").await;
        let mut begun = Vec::new();
        for attempt in 1..=sessions {
            begun.push(world.sign_in(&ada, attempt).await.id);
        }
        let intents: Vec<Intent> =
            (0..50).map(|number| change_password(&ada, 51, begun[number % begun.len()])).collect();
        let outcomes = join_all(intents.iter().map(|intent| world.execute(&ada, intent))).await;
        let mut winners = Vec::new();
        for (intent, outcome) in intents.iter().zip(outcomes) {
            match outcome {
                Ok(_) => winners.push(put_in_by(intent)),
                Err(ExecuteError::Rejected(Rejection::SessionEnded)) => assert_eq!(sessions, 50),
                Err(ExecuteError::Rejected(Rejection::CredentialMismatch)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(winners, [vault(&world, &ada).await.0]);
        assert_eq!(rows(&world, &ada).await.len(), 1);
        assert_eq!(known(&world, &ada).await, rows(&world, &ada).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_sign_ins_and_sign_outs_beside_a_change_none_leaves_a_session_with_the_old_password() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let acting = world.sign_in(&ada, 1).await.id;
    let mut leaving = Vec::new();
    for attempt in 2..=11 {
        leaving.push(world.sign_in(&ada, attempt).await.id);
    }
    let arriving: Vec<_> = (0..40).map(|_| world.begin(&ada)).collect();
    let mut intents: Vec<Intent> = leaving.into_iter().map(sign_out).collect();
    intents.extend(arriving.iter().zip(12..).map(|(session, attempt)| sign_in(&ada, attempt, session)));
    let change = change_password(&ada, 60, acting);
    intents.insert(25, change.clone());
    for outcome in join_all(intents.iter().map(|intent| world.execute(&ada, intent))).await {
        assert!(
            matches!(outcome, Ok(_) | Err(ExecuteError::Rejected(Rejection::CredentialMismatch))),
            "{outcome:?}"
        );
    }
    assert_eq!(vault(&world, &ada).await, (put_in_by(&change), NEW_PHC.to_owned()));
    assert_eq!((known(&world, &ada).await, rows(&world, &ada).await), (one(acting), one(acting)));
}
