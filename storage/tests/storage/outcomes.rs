//! Lost answers, and answers that say nothing: each time one commit, and the right answer.

use domain::{Rejection, Version};
use storage::{ExecuteError, Intent, Loaded};
use testkit::Fault;

use crate::fixture::{
    NEW_PHC, Person, World, change_password, commit_key, disable, end_others, end_reused, end_session, key,
    put_in_by, registration, rename, request_reset, reset_password, sign_in, sign_in_rehashed, sign_out,
    somebody,
};

const WRITE: &str = "TransactWriteItems";
/// How a commit is written that nothing goes with.
const WRITE_ALONE: &str = "PutItem";

/// Everything that may happen to a write once without the caller being told.
fn faults(actions: usize) -> Vec<Fault> {
    let mut faults = if actions == 1 {
        vec![Fault::error(400, "TransactionConflictException")]
    } else {
        let mut conflict = vec!["None"; actions];
        conflict[actions - 1] = "TransactionConflict";
        let mut throttled = vec!["None"; actions];
        throttled[0] = "ThrottlingError";
        vec![
            Fault::cancelled(&conflict),
            Fault::cancelled(&throttled),
            Fault::error_after(400, "TransactionInProgressException"),
        ]
    };
    faults.extend([
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::error(500, "InternalServerError"),
        Fault::error_after(500, "InternalServerError"),
        Fault::error(503, "ServiceUnavailable"),
        Fault::error_after(503, "ServiceUnavailable"),
        Fault::AnswerAfter(200, serde_json::Value::String("not what DynamoDB says".into())),
        Fault::error(400, "ThrottlingException"),
        Fault::error(400, "ProvisionedThroughputExceededException"),
        Fault::error(400, "RequestLimitExceeded"),
    ]);
    faults
}

/// Carries the intent out with each fault in turn on its way; `prepare` makes the user it is for.
async fn survives(actions: usize, version: u64, prepare: impl AsyncFn(&World) -> (Person, Loaded, Intent)) {
    for fault in faults(actions) {
        let world = World::start().await;
        let (person, mut loaded, intent) = prepare(&world).await;
        let write = if actions == 1 { WRITE_ALONE } else { WRITE };
        world.faults.script(write, 1, fault.clone());
        let appended = world.store.execute(&mut loaded, &intent).await;
        assert_eq!(world.faults.outstanding(), 0, "{fault:?} did not occur");
        let appended = appended.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert_eq!(appended.version, Some(Version::new(version)), "{fault:?}");
        let mut items: Vec<_> = (1..=version).map(commit_key).collect();
        items.push("vault".to_owned());
        assert_eq!(world.log_items(&person).await, items, "{fault:?}");
        assert_eq!(world.fold(&person).await.as_ref(), Ok(&appended.snapshot), "{fault:?}");
        assert_eq!(loaded.snapshot(), &appended.snapshot);
    }
}

#[tokio::test]
async fn a_registration_takes_effect_once_whatever_becomes_of_the_answer() {
    survives(3, 1, async |_| {
        let ada = somebody("ada@example.com");
        let intent = registration(&ada);
        (ada.clone(), Loaded::unborn(ada.user).unwrap(), intent)
    })
    .await;
}

#[tokio::test]
async fn a_sign_in_takes_effect_once_whatever_becomes_of_the_answer() {
    survives(2, 2, async |world| {
        let ada = world.register("ada@example.com").await;
        let intent = sign_in(&ada, 1, &world.begin(&ada));
        let loaded = world.load(&ada).await;
        (ada, loaded, intent)
    })
    .await;
}

#[tokio::test]
async fn a_sign_in_with_a_stronger_verifier_takes_effect_once_whatever_becomes_of_the_answer() {
    survives(3, 2, async |world| {
        let ada = world.register("ada@example.com").await;
        let loaded = world.load(&ada).await;
        let intent = sign_in_rehashed(&loaded, &ada, 1, &world.begin(&ada));
        (ada, loaded, intent)
    })
    .await;
}

#[tokio::test]
async fn a_sign_out_takes_effect_once_whatever_becomes_of_the_answer() {
    survives(2, 3, async |world| {
        let ada = world.register("ada@example.com").await;
        let session = world.sign_in(&ada, 1).await;
        (ada.clone(), world.load(&ada).await, sign_out(session.id))
    })
    .await;
}

#[tokio::test]
async fn a_new_name_takes_effect_once_whatever_becomes_of_the_answer() {
    survives(1, 3, async |world| {
        let ada = world.register("ada@example.com").await;
        let session = world.sign_in(&ada, 1).await;
        (ada.clone(), world.load(&ada).await, rename(session.id, "Augusta"))
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_stolen_session_takes_effect_once_whatever_becomes_of_the_answer() {
    survives(2, 3, async |world| {
        let ada = world.register("ada@example.com").await;
        let session = world.sign_in(&ada, 1).await;
        (ada.clone(), world.load(&ada).await, end_reused(session.id))
    })
    .await;
}

#[tokio::test]
async fn a_change_of_password_takes_effect_once_whatever_becomes_of_the_answer() {
    survives(4, 4, async |world| {
        let ada = world.register("ada@example.com").await;
        let (acting, _other) = (world.sign_in(&ada, 1).await, world.sign_in(&ada, 2).await);
        (ada.clone(), world.load(&ada).await, change_password(&ada, 3, acting.id))
    })
    .await;
}

#[tokio::test]
async fn a_request_for_a_reset_takes_effect_once_whatever_becomes_of_the_answer() {
    survives(2, 2, async |world| {
        let ada = world.register("ada@example.com").await;
        (ada.clone(), world.load(&ada).await, request_reset(&ada))
    })
    .await;
}

#[tokio::test]
async fn a_reset_takes_effect_once_whatever_becomes_of_the_answer() {
    survives(4, 4, async |world| {
        let ada = world.register("ada@example.com").await;
        world.sign_in(&ada, 1).await;
        world.sign_in(&ada, 2).await;
        (ada.clone(), world.load(&ada).await, reset_password(&ada, 2))
    })
    .await;
}

#[tokio::test]
async fn a_password_is_disabled_once_whatever_becomes_of_the_answer() {
    survives(1, 2, async |world| {
        let ada = world.register("ada@example.com").await;
        (ada.clone(), world.load(&ada).await, disable(100))
    })
    .await;
}

#[tokio::test]
async fn the_end_of_other_sessions_takes_effect_once_whatever_becomes_of_the_answer() {
    survives(3, 4, async |world| {
        let ada = world.register("ada@example.com").await;
        let (acting, other) = (world.sign_in(&ada, 1).await, world.sign_in(&ada, 2).await);
        (ada.clone(), world.load(&ada).await, end_session(acting.id, other.id))
    })
    .await;
    survives(3, 4, async |world| {
        let ada = world.register("ada@example.com").await;
        let (acting, _other) = (world.sign_in(&ada, 1).await, world.sign_in(&ada, 2).await);
        (ada.clone(), world.load(&ada).await, end_others(acting.id))
    })
    .await;
}

#[tokio::test]
async fn the_verifier_is_that_of_the_commit_whatever_becomes_of_the_answer() {
    for fault in faults(3) {
        let world = World::start().await;
        let ada = world.register("ada@example.com").await;
        let acting = world.sign_in(&ada, 1).await;
        let intent = change_password(&ada, 2, acting.id);
        world.faults.script(WRITE, 1, fault.clone());
        let appended = world.execute(&ada, &intent).await.unwrap();
        assert_eq!(appended.snapshot.user.account().unwrap().credential, put_in_by(&intent), "{fault:?}");
        let loaded = world.load(&ada).await;
        let vault = loaded.vault().unwrap();
        assert_eq!(vault.credential, put_in_by(&intent), "{fault:?}");
        assert_eq!(world.store.verifier(vault).unwrap().as_str(), NEW_PHC, "{fault:?}");
    }
}

#[tokio::test]
async fn a_change_of_password_that_could_not_be_settled_can_be_asked_again() {
    for fault in [Fault::DropBefore, Fault::DropAfter] {
        let world = World::start().await;
        let ada = world.register("ada@example.com").await;
        let acting = world.sign_in(&ada, 1).await;
        let intent = change_password(&ada, 2, acting.id);
        let mut loaded = world.load(&ada).await;
        world.faults.script(WRITE, 1, fault.clone());
        world.faults.script("GetItem", 1, Fault::DropBefore);
        let unknown = world.store.execute(&mut loaded, &intent).await;
        assert!(matches!(unknown, Err(ExecuteError::Unavailable(_))));
        let appended = world.store.execute(&mut loaded, &intent).await.unwrap();
        assert_eq!(appended.version, Some(Version::new(3)), "{fault:?}");
        assert_eq!(world.log_items(&ada).await.len(), 4);
        let loaded = world.load(&ada).await;
        assert_eq!(loaded.vault().unwrap().credential, put_in_by(&intent));
        assert_eq!(world.store.verifier(loaded.vault().unwrap()).unwrap().as_str(), NEW_PHC);
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_reading_the_commit_and_nothing_else() {
    for (fault, requests) in
        [(Fault::DropAfter, &[WRITE, "GetItem"][..]), (Fault::DropBefore, &[WRITE, "GetItem", WRITE][..])]
    {
        let world = World::start().await;
        let ada = world.register("ada@example.com").await;
        world.project(&ada).await;
        let intent = sign_in(&ada, 1, &world.begin(&ada));
        let mut loaded = world.load(&ada).await;
        world.meter.reset();
        world.faults.script(WRITE, 1, fault);
        world.store.execute(&mut loaded, &intent).await.unwrap();
        assert_eq!(world.meter.taken().requests, requests);
    }
}

#[tokio::test]
async fn a_lost_write_that_another_commit_overtook_is_decided_again() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let (mut loaded, mine) = (world.load(&ada).await, sign_in(&ada, 2, &world.begin(&ada)));
    world.store.freshen(&mut loaded).await.unwrap();
    world.sign_in(&ada, 1).await;
    world.faults.script(WRITE, 1, Fault::DropBefore);
    let appended = world.store.execute(&mut loaded, &mine).await.unwrap();
    assert_eq!(appended.version, Some(Version::new(3)));
    assert_eq!(world.fold(&ada).await.unwrap(), appended.snapshot);
    assert_eq!(world.session_rows(&ada).await.len(), 2);
}

#[tokio::test]
async fn a_lone_commit_that_another_one_overtook_is_decided_again() {
    for fault in [None, Some(Fault::DropBefore), Some(Fault::error(400, "TransactionConflictException"))] {
        let world = World::start().await;
        let ada = world.register("ada@example.com").await;
        let session = world.sign_in(&ada, 1).await.id;
        let (mut loaded, mine) = (world.load(&ada).await, rename(session, "Augusta"));
        world.store.freshen(&mut loaded).await.unwrap();
        world.execute(&ada, &rename(session, "Byron")).await.unwrap();
        if let Some(fault) = fault {
            world.faults.script(WRITE_ALONE, 1, fault);
        }
        let appended = world.store.execute(&mut loaded, &mine).await.unwrap();
        assert_eq!(appended.version, Some(Version::new(4)));
        assert_eq!(world.fold(&ada).await.unwrap(), appended.snapshot);
    }
}

#[tokio::test]
async fn who_was_let_in_before_their_session_ended_renames_nobody() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await.id;
    let mut loaded = world.load(&ada).await;
    world.store.freshen(&mut loaded).await.unwrap();
    world.execute(&ada, &sign_out(session)).await.unwrap();
    let refused = world.store.execute(&mut loaded, &rename(session, "Eve")).await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(Rejection::SessionEnded))), "{refused:?}");
    assert_eq!(world.fold(&ada).await.unwrap().head.version, Version::new(3));
}

#[tokio::test]
async fn a_lone_commit_refused_for_good_is_not_sent_again() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await.id;
    let mut loaded = world.load(&ada).await;
    world.store.freshen(&mut loaded).await.unwrap();
    for fault in [Fault::error(400, "ValidationException"), Fault::error(400, "AccessDeniedException")] {
        world.meter.reset();
        world.faults.script(WRITE_ALONE, 1, fault.clone());
        let refused = world.store.execute(&mut loaded, &rename(session, "Augusta")).await;
        assert!(matches!(refused, Err(ExecuteError::Unavailable(_))));
        assert_eq!(world.meter.taken().requests, [WRITE_ALONE], "{fault:?}");
    }
}

#[tokio::test]
async fn what_could_not_be_settled_can_be_asked_again_and_still_takes_effect_once() {
    for fault in [Fault::DropBefore, Fault::DropAfter] {
        let world = World::start().await;
        let ada = world.register("ada@example.com").await;
        let intent = sign_in(&ada, 1, &world.begin(&ada));
        let mut loaded = world.load(&ada).await;
        world.faults.script(WRITE, 1, fault.clone());
        world.faults.script("GetItem", 1, Fault::DropBefore);
        let unknown = world.store.execute(&mut loaded, &intent).await;
        assert!(matches!(unknown, Err(ExecuteError::Unavailable(_))));
        let appended = world.store.execute(&mut loaded, &intent).await.unwrap();
        assert_eq!(appended.version, Some(Version::new(2)), "{fault:?}");
        assert_eq!(world.fold(&ada).await.unwrap(), appended.snapshot);
        assert_eq!(world.log_items(&ada).await.len(), 3);
        assert_eq!(world.session_rows(&ada).await.len(), 1);
    }
}

#[tokio::test]
async fn a_command_that_took_effect_unseen_is_not_carried_out_again_from_a_later_version() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let intent = sign_in(&ada, 1, &world.begin(&ada));
    world.execute(&ada, &intent).await.unwrap();
    world.sign_in(&ada, 2).await;
    // The same intent against a user who has moved on: its session is there already.
    let again = world.execute(&ada, &intent).await;
    assert!(matches!(again, Err(ExecuteError::Unavailable(_))), "{again:?}");
    assert_eq!(world.log_items(&ada).await.len(), 4);
}

#[tokio::test]
async fn a_transaction_refused_for_good_is_not_sent_again() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let intent = sign_in(&ada, 1, &world.begin(&ada));
    let mut loaded = world.load(&ada).await;
    world.store.freshen(&mut loaded).await.unwrap();
    for fault in [
        Fault::cancelled(&["None", "ValidationError"]),
        Fault::error(400, "ValidationException"),
        Fault::error(400, "AccessDeniedException"),
    ] {
        world.meter.reset();
        world.faults.script(WRITE, 1, fault.clone());
        let refused = world.store.execute(&mut loaded, &intent).await;
        assert!(matches!(refused, Err(ExecuteError::Unavailable(_))));
        assert_eq!(world.meter.taken().requests, [WRITE], "{fault:?}");
    }
}

#[tokio::test]
async fn a_registration_whose_commit_was_taken_away_is_not_said_to_be_there() {
    let world = World::start().await;
    let ada = somebody("ada@example.com");
    let intent = registration(&ada);
    world.store.execute(&mut Loaded::unborn(ada.user).unwrap(), &intent).await.unwrap();
    world.delete(&world.tables.events, key(&ada, &commit_key(1))).await;
    let again = world.store.execute(&mut Loaded::unborn(ada.user).unwrap(), &intent).await;
    assert!(matches!(again, Err(ExecuteError::Unavailable(_))), "{again:?}");
}
