//! Many at once.

use std::collections::BTreeSet;

use domain::{CredentialId, MAX_SESSIONS, Version};
use futures::future::join_all;
use storage::{Appended, ExecuteError, Intent, Loaded};

use crate::fixture::{Person, World, bits, commit_key, key, registration, sign_in, sign_out, somebody};

async fn register(world: &World, person: &Person, intent: &Intent) -> Result<Appended, ExecuteError> {
    world.store.execute(&mut Loaded::unborn(person.user).unwrap(), intent).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_registered_once_however_many_ask_at_once() {
    let world = World::start().await;
    let people: Vec<Person> = (0..50).map(|_| somebody("ada@example.com")).collect();
    let outcomes = join_all(people.iter().map(|person| {
        let intent = registration(person);
        let world = &world;
        async move { register(world, person, &intent).await }
    }))
    .await;
    let winners: Vec<_> = people
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.is_ok())
        .map(|(person, _)| person)
        .collect();
    assert_eq!(winners.len(), 1);
    let taken = outcomes.iter().filter(|outcome| matches!(outcome, Err(ExecuteError::Taken))).count();
    assert_eq!(taken, 49);
    assert_eq!(world.all(&world.tables.events).await.len(), 2, "one commit and one vault");
    assert_eq!(world.store.find(&winners[0].email).await.unwrap(), Some(winners[0].user));
}

/// Each try of a registration makes its own ids, keys and times; only the command and its user are the same.
fn retried(person: &Person, command: domain::CommandId, seconds: i64) -> (Person, Intent) {
    let again = Person { credential: CredentialId::new(bits()), ..person.clone() };
    let mut intent = registration(&again);
    intent.id = command;
    intent.at = crate::fixture::second(seconds);
    (again, intent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_registration_sent_fifty_times_at_once_takes_effect_once_and_all_get_its_answer() {
    let world = World::start().await;
    let mut ada = somebody("ada@example.com");
    let command = world.store.identifiers.key.registration(&ada.email, Some("Ada"), "key 1");
    ada.user = world.store.identifiers.key.registered_user(command);
    let outcomes = join_all((0..50).map(|seconds| {
        let (world, (person, intent)) = (&world, retried(&ada, command, seconds));
        async move { register(world, &person, &intent).await }
    }))
    .await;
    let folded = world.fold(&ada).await.unwrap();
    for outcome in outcomes {
        let appended = outcome.unwrap();
        assert_eq!(appended.version, Some(Version::new(1)));
        assert_eq!(appended.snapshot, folded, "the answer is what the log says");
    }
    assert_eq!(world.log_items(&ada).await, [commit_key(1), "vault".to_owned()]);
    assert_eq!(world.all(&world.tables.identifiers).await.len(), 1);
}

#[tokio::test]
async fn a_registration_repeated_later_gets_its_answer_and_does_no_harm() {
    let world = World::start().await;
    let mut ada = somebody("ada@example.com");
    let command = world.store.identifiers.key.registration(&ada.email, None, "key 1");
    ada.user = world.store.identifiers.key.registered_user(command);
    let (first, intent) = retried(&ada, command, 0);
    register(&world, &first, &intent).await.unwrap();
    world.sign_in(&first, 1).await;

    let (_, intent) = retried(&ada, command, 3_600);
    let mut loaded = Loaded::unborn(ada.user).unwrap();
    let again = world.store.execute(&mut loaded, &intent).await.unwrap();
    assert_eq!(again.version, Some(Version::new(1)));
    assert_eq!(again.snapshot, world.fold(&first).await.unwrap());
    // What is loaded now is the user, not what the second try would have made: the next commit fits the log.
    let session = world.begin(&first);
    world.store.execute(&mut loaded, &sign_in(&first, 2, &session)).await.unwrap();
    assert_eq!(&world.fold(&first).await.unwrap(), loaded.snapshot());

    // The address has changed hands: its row is another's now. The first user's command is still answered.
    let row = world.all(&world.tables.identifiers).await.remove(0);
    let other = bits().to_string();
    let mut changed = row.clone();
    for name in ["user", "command"] {
        changed.insert(name.to_owned(), crate::fixture::text(&other));
    }
    world.put(&world.tables.identifiers, changed).await;
    let (_, intent) = retried(&ada, command, 7_200);
    let again = register(&world, &ada, &intent).await.unwrap();
    assert_eq!(again.version, Some(Version::new(1)));
}

#[tokio::test]
async fn another_registration_for_the_same_user_id_is_refused() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let other = Person { email: domain::Email::parse("other@example.com").unwrap(), ..ada.clone() };
    let refused = register(&world, &other, &registration(&other)).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::Rejected(domain::Rejection::AlreadyRegistered)));
    assert_eq!(world.store.find(&other.email).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_sign_ins_of_one_user_at_once_all_succeed_and_so_do_fifty_sign_outs() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let sessions: Vec<_> = (0..50).map(|_| world.begin(&ada)).collect();
    let signed_in = join_all(sessions.iter().zip(1..).map(|(session, attempt)| {
        let (world, ada) = (&world, &ada);
        async move { world.execute(ada, &sign_in(ada, attempt, session)).await }
    }))
    .await;
    let versions: BTreeSet<u64> =
        signed_in.into_iter().map(|appended| appended.unwrap().version.unwrap().number()).collect();
    assert_eq!(versions, (2..=51).collect());
    assert_eq!(world.session_rows(&ada).await.len(), 50);
    let folded = world.fold(&ada).await.unwrap();
    assert_eq!(folded.user.account().unwrap().sessions.len(), 50);

    let signed_out = join_all(sessions.iter().map(|session| {
        let (world, ada, session) = (&world, &ada, session.id);
        async move { world.execute(ada, &sign_out(session)).await }
    }))
    .await;
    let versions: BTreeSet<u64> =
        signed_out.into_iter().map(|appended| appended.unwrap().version.unwrap().number()).collect();
    assert_eq!(versions, (52..=101).collect());
    assert_eq!(world.session_rows(&ada).await, Vec::<String>::new());
    assert!(world.fold(&ada).await.unwrap().user.account().unwrap().sessions.is_empty());
}

#[tokio::test]
async fn the_fifty_first_session_ends_the_oldest() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let mut sessions = Vec::new();
    for attempt in 1..=MAX_SESSIONS as u64 + 1 {
        sessions.push(world.sign_in(&ada, attempt).await.id);
    }
    assert_eq!(world.session_row(&ada, sessions[0]).await, None);
    let rows: BTreeSet<String> = world.session_rows(&ada).await.into_iter().collect();
    assert_eq!(rows, sessions[1..].iter().map(ToString::to_string).collect());
}

#[tokio::test]
async fn a_session_that_was_revoked_meanwhile_changes_nothing() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    // The row is gone, and the log does not say why: expired and swept, or deleted by hand.
    let mut loaded = world.load(&ada).await;
    world.delete(&world.tables.sessions, key(&ada, &format!("session-{}", session.id))).await;
    let refused = world.store.execute(&mut loaded, &sign_out(session.id)).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::SessionEnded));
    assert_eq!(world.log_items(&ada).await.len(), 3);

    // The row is there and past its end.
    let late = world.sign_in(&ada, 2).await;
    let mut intent = sign_out(late.id);
    intent.at = late.ends;
    let refused = world.execute(&ada, &intent).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::SessionEnded));
    assert!(world.session_row(&ada, late.id).await.is_some());
    assert_eq!(world.log_items(&ada).await.len(), 4);
}

#[tokio::test]
async fn signing_out_twice_says_the_same_thing_twice() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    let mut loaded = world.load(&ada).await;
    let first = world.execute(&ada, &sign_out(session.id)).await.unwrap();
    assert_eq!(first.version, Some(Version::new(3)));
    for again in [world.execute(&ada, &sign_out(session.id)).await, {
        world.store.execute(&mut loaded, &sign_out(session.id)).await
    }] {
        let again = again.unwrap();
        assert_eq!((again.version, again.snapshot), (None, first.snapshot.clone()));
    }
    assert_eq!(world.log_items(&ada).await.len(), 4);
}

#[tokio::test]
async fn a_commit_too_large_to_be_stored_is_refused_before_it_is_sent() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.begin(&ada);
    let mut loaded = world.load(&ada).await;
    world.store.freshen(&mut loaded).await.unwrap();
    world.meter.reset();
    let mut intent = sign_in(&ada, 1, &session);
    intent.agent = Some("a".repeat(350 * 1024));
    let refused = world.store.execute(&mut loaded, &intent).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::Unavailable(_)));
    assert_eq!(world.meter.taken().requests, Vec::<String>::new());
    // The largest that passes is stored, and is read again.
    intent.agent = Some("a".repeat(349 * 1024));
    world.store.execute(&mut loaded, &intent).await.unwrap();
    assert_eq!(&world.fold(&ada).await.unwrap(), loaded.snapshot());
}
