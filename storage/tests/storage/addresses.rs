//! Addresses that change hands: each by one transaction, whatever becomes of its answer and whoever writes meanwhile.

use chrono::{SubsecRound as _, TimeDelta};
use domain::{Command, EmailChange, Rejection, Version};
use storage::{Enclosed, ExecuteError, Guessed, Intent, Loaded};
use testkit::Fault;

use crate::fixture::{PHC, Person, World, commit_key, intent, noon, sign_in, somebody, text};

const WRITE: &str = "TransactWriteItems";

/// Everything that may happen to a transaction once without the caller being told.
fn faults() -> Vec<Fault> {
    vec![
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::error(500, "InternalServerError"),
        Fault::error_after(500, "InternalServerError"),
        Fault::error_after(400, "TransactionInProgressException"),
        Fault::error(400, "ThrottlingException"),
        Fault::cancelled(&["None", "None", "TransactionConflict"]),
    ]
}

/// Somebody else who registers the address of this person, a day later.
fn newcomer_at(owner: &Person) -> (Person, Intent) {
    let newcomer = Person { email: owner.email.clone(), ..somebody("whoever@example.com") };
    let (email, credential) = (newcomer.email.clone(), newcomer.credential);
    let command = Command::Register { email, name: None, credential };
    let enclosed = Enclosed::VerifierAndYielded { verifier: PHC.to_owned().into(), by: owner.user };
    let registration = Intent { at: noon() + TimeDelta::hours(24), ..intent(command, enclosed) };
    (newcomer, registration)
}

async fn owner_of(world: &World, person: &Person) -> Option<domain::UserId> {
    world.store.find(&person.email).await.unwrap()
}

#[tokio::test]
async fn an_address_is_yielded_once_whatever_becomes_of_the_answer() {
    for fault in faults() {
        let world = World::start().await;
        let ada = world.register("ada@example.com").await;
        world.sign_in(&ada, 1).await;
        let (newcomer, registration) = newcomer_at(&ada);
        let mut owner = world.load(&ada).await;
        world.faults.script(WRITE, 1, fault.clone());
        let mut unborn = Loaded::unborn(newcomer.user).unwrap();
        let appended = world.store.register_instead(&mut unborn, &mut owner, &registration).await;
        assert_eq!(world.faults.outstanding(), 0, "{fault:?} did not occur");
        let appended = appended.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert_eq!(appended.version, Some(Version::new(1)), "{fault:?}");
        assert_eq!(owner_of(&world, &ada).await, Some(newcomer.user), "{fault:?}");
        assert_eq!(world.log_items(&newcomer).await, [commit_key(1), "vault".to_owned()], "{fault:?}");
        let items = [commit_key(1), commit_key(2), commit_key(3), "vault".to_owned()];
        assert_eq!(world.log_items(&ada).await, items, "{fault:?}");
        let folded = world.fold(&ada).await.unwrap();
        let account = folded.user.account().unwrap();
        assert!(account.email.is_none() && account.sessions.is_empty(), "{fault:?}");
        assert!(world.session_rows(&ada).await.is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn an_owner_who_did_something_meanwhile_yields_after_it() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let mut owner = world.load(&ada).await;
    world.store.freshen(&mut owner).await.unwrap();
    let session = world.begin(&ada);
    world.execute(&ada, &sign_in(&ada, 1, &session)).await.unwrap();
    let (newcomer, registration) = newcomer_at(&ada);
    let mut unborn = Loaded::unborn(newcomer.user).unwrap();
    world.store.register_instead(&mut unborn, &mut owner, &registration).await.unwrap();
    assert_eq!(owner_of(&world, &ada).await, Some(newcomer.user));
    assert!(world.session_rows(&ada).await.is_empty(), "the session that began meanwhile has ended, too");
    assert_eq!(world.fold(&ada).await.unwrap().head.version, Version::new(3));
}

#[tokio::test]
async fn an_owner_who_verified_the_address_meanwhile_keeps_it() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let mut owner = world.load(&ada).await;
    world.store.freshen(&mut owner).await.unwrap();
    let command = Command::VerifyEmail { email: ada.email.clone(), credential: ada.credential };
    world.execute(&ada, &intent(command, Enclosed::Nothing)).await.unwrap();
    let (newcomer, registration) = newcomer_at(&ada);
    let mut unborn = Loaded::unborn(newcomer.user).unwrap();
    let kept = world.store.register_instead(&mut unborn, &mut owner, &registration).await;
    assert!(matches!(kept, Err(ExecuteError::Rejected(Rejection::AddressKept))), "{kept:?}");
    assert_eq!(owner_of(&world, &ada).await, Some(ada.user));
    assert!(world.log_items(&newcomer).await.is_empty());
}

#[tokio::test]
async fn a_second_newcomer_finds_the_address_taken() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let (mut first_sees, mut second_sees) = (world.load(&ada).await, world.load(&ada).await);
    world.store.freshen(&mut second_sees).await.unwrap();
    let ((first, one), (second, two)) = (newcomer_at(&ada), newcomer_at(&ada));
    let mut unborn = Loaded::unborn(first.user).unwrap();
    world.store.register_instead(&mut unborn, &mut first_sees, &one).await.unwrap();
    let mut unborn = Loaded::unborn(second.user).unwrap();
    let late = world.store.register_instead(&mut unborn, &mut second_sees, &two).await;
    assert!(matches!(late, Err(ExecuteError::Taken)), "{late:?}");
    assert_eq!(owner_of(&world, &ada).await, Some(first.user));
    assert!(world.log_items(&second).await.is_empty());
}

/// A person who has asked for another address; whoever will have it, and the confirmation.
async fn moving(world: &World) -> (Person, Person, Intent) {
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    let there = somebody("augusta@example.com");
    let ends = (noon() + TimeDelta::hours(24)).trunc_subsecs(0);
    let command = Command::RequestEmailChange { session: session.id, email: there.email.clone(), ends };
    let to = Guessed::Unknown(world.store.identifiers.key.email(&there.email));
    let asking = intent(command, Enclosed::MailElsewhere { acting: session.id, to, unverified: false });
    world.execute(&ada, &asking).await.unwrap();
    let change = EmailChange { from: ada.email.clone(), to: there.email.clone(), ends };
    let command = Command::ConfirmEmailChange { change, credential: ada.credential };
    (ada, there, intent(command, Enclosed::Nothing))
}

#[tokio::test]
async fn another_address_is_taken_once_whatever_becomes_of_the_answer() {
    for fault in faults() {
        let world = World::start().await;
        let (ada, there, confirmation) = moving(&world).await;
        world.faults.script(WRITE, 1, fault.clone());
        let appended = world.execute(&ada, &confirmation).await;
        assert_eq!(world.faults.outstanding(), 0, "{fault:?} did not occur");
        assert_eq!(appended.unwrap().version, Some(Version::new(4)), "{fault:?}");
        assert_eq!(owner_of(&world, &there).await, Some(ada.user), "{fault:?}");
        assert_eq!(owner_of(&world, &ada).await, None, "{fault:?}");
        assert_eq!(world.fold(&ada).await.unwrap().head.version, Version::new(4), "{fault:?}");
    }
}

#[tokio::test]
async fn nobody_lets_go_of_an_address_that_leads_to_somebody_else() {
    let world = World::start().await;
    let (ada, there, confirmation) = moving(&world).await;
    let bob = world.register("bob@example.com").await;
    // Somebody has made it lead there by hand, and it stays so: who has it by the log is for `annals verify` to tell.
    let table = &world.tables.identifiers;
    let item = world.get(table, world.identifier_key(&ada)).await.unwrap();
    world.patch(table, item, "user", Some(text(&bob.user.to_string()))).await;
    let refused = world.execute(&ada, &confirmation).await;
    assert!(matches!(refused, Err(ExecuteError::Unavailable(_))), "{refused:?}");
    assert_eq!(owner_of(&world, &ada).await, Some(bob.user));
    assert_eq!(owner_of(&world, &there).await, None);
    assert_eq!(world.fold(&ada).await.unwrap().head.version, Version::new(3));
}
