//! What a user is told of without having shown that the address is theirs is bounded: changes of password, 3 within any hour
//! and 10 within any day, and moves to another address, one a day from one address, whoever has it.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use domain::{Command, Email, EmailChange, SessionId};
use futures::future::join_all;
use storage::{Enclosed, ExecuteError, Guessed, Intent};
use testkit::Fault;

use crate::fixture::{Person, World, change_password, intent, noon, put_in_by, request_reset};

fn minute(minutes: i64) -> DateTime<Utc> {
    noon() + TimeDelta::minutes(minutes)
}

/// Changes the password, whatever it is; how long to wait before the next try if there were too many changes.
async fn changes(
    world: &World,
    person: &mut Person,
    acting: SessionId,
    now: DateTime<Utc>,
) -> Result<(), TimeDelta> {
    let intent = Intent { at: now, ..change_password(person, 2, acting) };
    match world.execute(person, &intent).await {
        Ok(appended) => {
            assert!(appended.version.is_some());
            person.credential = put_in_by(&intent);
            Ok(())
        }
        Err(ExecuteError::TooManyMails(wait)) => Err(wait),
        Err(error) => panic!("{error:?}"),
    }
}

/// Has the user show that the address is theirs.
async fn verifies(world: &World, person: &Person) {
    let command = Command::VerifyEmail { email: person.email.clone(), credential: person.credential };
    world.execute(person, &intent(command, Enclosed::Nothing)).await.unwrap();
}

async fn version(world: &World, person: &Person) -> u64 {
    world.fold(person).await.unwrap().head.version.number()
}

#[tokio::test]
async fn whoever_is_not_verified_changes_the_password_three_times_within_any_hour_and_ten_within_any_day() {
    let world = World::start().await;
    let mut ada = world.register("ada@example.com").await;
    let acting = world.sign_in(&ada, 1).await.id;
    let mut changed = Vec::new();
    let mut waited_until = None;
    // Every ten minutes for a day and a bit.
    for minutes in (0..1_470).step_by(10) {
        let now = minute(minutes);
        let told = world.store.sessions.wait_before_change(ada.user, now).await.unwrap();
        match changes(&world, &mut ada, acting, now).await {
            Ok(()) => {
                assert_eq!(told, TimeDelta::zero(), "{minutes}");
                assert!(waited_until.is_none_or(|until| until <= now), "{minutes}");
                changed.push(minutes);
            }
            Err(wait) => {
                assert_eq!(told, wait, "what is read says what the condition says: {minutes}");
                assert!(wait > TimeDelta::zero());
                waited_until = Some(now + wait);
            }
        }
    }
    assert_eq!(changed, [0, 10, 20, 60, 70, 80, 120, 130, 140, 180, 1_440, 1_450, 1_460]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_changes_at_once_by_whoever_is_not_verified_three_become_events() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let acting = world.sign_in(&ada, 1).await.id;
    // Each knows the password as it is whenever it looks, and tries until it has changed it or may not.
    let changed = join_all((0..50).map(|_| async {
        loop {
            let credential = world.load(&ada).await.vault().unwrap().credential;
            let now = Person { credential, ..ada.clone() };
            match world.execute(&now, &change_password(&now, 2, acting)).await {
                Ok(_) => return true,
                Err(ExecuteError::TooManyMails(wait)) => {
                    assert_eq!(wait, TimeDelta::hours(1));
                    return false;
                }
                Err(ExecuteError::Rejected(domain::Rejection::CredentialMismatch)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }))
    .await;
    assert_eq!(changed.iter().filter(|changed| **changed).count(), 3);
    assert_eq!(version(&world, &ada).await, 5, "a registration, a sign-in and three changes");
}

#[tokio::test]
async fn whoever_is_verified_changes_it_as_often_as_they_like_whatever_a_view_or_a_count_says() {
    let world = World::start().await;
    let mut ada = world.register("ada@example.com").await;
    let acting = world.sign_in(&ada, 1).await.id;
    for _ in 0..3 {
        changes(&world, &mut ada, acting, noon()).await.unwrap();
    }
    world.project(&ada).await;
    assert!(changes(&world, &mut ada, acting, noon()).await.is_err());
    verifies(&world, &ada).await;
    let counted = world.item(&world.tables.sessions, &ada, "changes").await;
    // The view still says that nobody has verified the address.
    for _ in 0..12 {
        changes(&world, &mut ada, acting, noon()).await.unwrap();
    }
    assert_eq!(world.item(&world.tables.sessions, &ada, "changes").await, counted);
}

#[tokio::test]
async fn a_change_is_counted_and_written_at_once_or_not_at_all() {
    for fault in [Fault::DropAfter, Fault::DropBefore, Fault::cancelled(&["None", "TransactionConflict"])] {
        let world = World::start().await;
        let mut ada = world.register("ada@example.com").await;
        let acting = world.sign_in(&ada, 1).await.id;
        world.faults.script("TransactWriteItems", 1, fault.clone());
        for _ in 0..3 {
            changes(&world, &mut ada, acting, noon()).await.unwrap();
        }
        assert_eq!(world.faults.outstanding(), 0, "{fault:?} did not occur");
        let (vault, before) = (world.vault(&ada).await, version(&world, &ada).await);
        let counted = world.item(&world.tables.sessions, &ada, "changes").await;
        assert_eq!(changes(&world, &mut ada, acting, noon()).await, Err(TimeDelta::hours(1)), "{fault:?}");
        assert_eq!((world.vault(&ada).await, version(&world, &ada).await), (vault, before));
        assert_eq!(world.item(&world.tables.sessions, &ada, "changes").await, counted);
    }
}

#[tokio::test]
async fn whose_process_died_before_the_change_was_written_has_not_used_one_up() {
    let world = World::start().await;
    let mut ada = world.register("ada@example.com").await;
    let acting = world.sign_in(&ada, 1).await.id;
    let given_up = world.store.clone().with_no_new_try_after(std::time::Duration::ZERO);
    for _ in 0..5 {
        world.faults.script("TransactWriteItems", 1, Fault::DropBefore);
        let lost = given_up.execute(&mut world.load(&ada).await, &change_password(&ada, 2, acting)).await;
        assert!(matches!(lost, Err(ExecuteError::Unavailable(_))), "{lost:?}");
    }
    for _ in 0..3 {
        changes(&world, &mut ada, acting, noon()).await.unwrap();
    }
    assert!(changes(&world, &mut ada, acting, noon()).await.is_err());
}

#[tokio::test]
async fn neither_mails_that_strangers_ask_for_nor_changes_use_up_the_other() {
    let world = World::start().await;
    let mut ada = world.register("ada@example.com").await;
    let acting = world.sign_in(&ada, 1).await.id;
    for _ in 0..3 {
        world.execute(&ada, &request_reset(&ada)).await.unwrap();
        changes(&world, &mut ada, acting, noon()).await.unwrap();
    }
    let refused = world.execute(&ada, &request_reset(&ada)).await;
    assert!(matches!(refused, Err(ExecuteError::TooManyMails(_))), "{refused:?}");
    assert!(changes(&world, &mut ada, acting, noon()).await.is_err());
}

/// Registers an address, asks for another and takes it, an hour later at most; whether that is let.
async fn leaves(
    world: &World,
    from: &str,
    to: &str,
    verified: bool,
    now: DateTime<Utc>,
) -> Result<(), TimeDelta> {
    let person = world.register(from).await;
    if verified {
        verifies(world, &person).await;
    }
    let acting = world.sign_in(&person, 1).await.id;
    takes(world, &person, acting, to, now).await
}

async fn takes(
    world: &World,
    person: &Person,
    acting: SessionId,
    to: &str,
    now: DateTime<Utc>,
) -> Result<(), TimeDelta> {
    let email = Email::parse(to).unwrap();
    let ends = (now + TimeDelta::hours(24)).trunc_subsecs(0);
    let asked = Command::RequestEmailChange { session: acting, email: email.clone(), ends };
    let unknown = Guessed::Unknown(world.store.identifiers.key.email(&email));
    let asked = intent(asked, Enclosed::MailElsewhere { acting, to: unknown, unverified: false });
    world.execute(person, &asked).await.unwrap();
    let change = EmailChange { from: person.email.clone(), to: email, ends };
    let command = Command::ConfirmEmailChange { change, credential: person.credential };
    match world.execute(person, &Intent { at: now, ..intent(command, Enclosed::Nothing) }).await {
        Ok(_) => Ok(()),
        Err(ExecuteError::TooManyMails(wait)) => Err(wait),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn an_address_that_nobody_verified_is_left_once_a_day_whoever_has_it() {
    let world = World::start().await;
    leaves(&world, "ada@example.com", "eve1@example.com", false, noon()).await.unwrap();
    // Registered once more, by the same or by another: it is told of no other move before a day has passed.
    let person = world.register("ada@example.com").await;
    let acting = world.sign_in(&person, 1).await.id;
    let refused = takes(&world, &person, acting, "eve2@example.com", minute(60)).await;
    assert_eq!(refused, Err(TimeDelta::hours(23)));
    assert_eq!(world.store.find(&person.email).await.unwrap(), Some(person.user));
    takes(&world, &person, acting, "eve2@example.com", minute(24 * 60)).await.unwrap();
    assert_eq!(world.store.find(&person.email).await.unwrap(), None);
    // Whoever shows that it is theirs goes whenever they like.
    leaves(&world, "ada@example.com", "augusta@example.com", true, minute(24 * 60)).await.unwrap();
    leaves(&world, "ada@example.com", "eve3@example.com", true, minute(24 * 60)).await.unwrap();
    leaves(&world, "bob@example.com", "eve4@example.com", false, minute(24 * 60)).await.unwrap();
}

#[tokio::test]
async fn a_count_that_was_made_up_keeps_nobody_from_a_change() {
    let world = World::start().await;
    let mut ada = world.register("ada@example.com").await;
    let acting = world.sign_in(&ada, 1).await.id;
    for value in
        [crate::fixture::text("soon"), aws_sdk_dynamodb::types::AttributeValue::N(i64::MAX.to_string())]
    {
        let mut item = crate::fixture::key(&ada, "changes");
        item.insert("sent3".to_owned(), value.clone());
        world.put(&world.tables.sessions, item).await;
        let wait = world.store.sessions.wait_before_change(ada.user, noon()).await.unwrap();
        assert_eq!(wait, TimeDelta::zero(), "{value:?}");
        changes(&world, &mut ada, acting, noon()).await.unwrap();
    }
}
