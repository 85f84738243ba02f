//! Random histories, carried out by the store: what it says is what the log says, and what rows there are.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use domain::{Command, CredentialId, MAX_SESSIONS, Rejection, SessionId};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::test_runner::TestCaseResult;
use storage::{ExecuteError, NewSession, Put, Replacing, Rotation, Snapshot};
use testkit::Fault;

use crate::fixture::{
    Item, Person, World, bits, change_password, disable, end_reused, put_in_by, request_reset,
    reset_password, second, sign_in, sign_out, view_key,
};

#[derive(Debug, Clone)]
enum Step {
    SignIn,
    SignInWithAnotherPassword,
    ChangePassword(usize),
    RequestReset,
    ResetPassword,
    /// As many have failed as may.
    Disable,
    SignOut(usize),
    EndReused(usize),
    Refresh(usize),
    Project,
    /// One who can write the table puts back the view that was there before, or none.
    OldView,
    NoView,
    Fault(Fault),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::SignIn),
        1 => Just(Step::SignInWithAnotherPassword),
        1 => any::<usize>().prop_map(Step::ChangePassword),
        1 => Just(Step::RequestReset),
        1 => Just(Step::ResetPassword),
        1 => Just(Step::Disable),
        3 => any::<usize>().prop_map(Step::SignOut),
        1 => any::<usize>().prop_map(Step::EndReused),
        3 => any::<usize>().prop_map(Step::Refresh),
        3 => Just(Step::Project),
        1 => Just(Step::OldView),
        1 => Just(Step::NoView),
        1 => Just(Step::Fault(Fault::DropAfter)),
        1 => Just(Step::Fault(Fault::DropBefore)),
        1 => Just(Step::Fault(Fault::cancelled(&["TransactionConflict", "None"]))),
    ];
    proptest::collection::vec(step, 1..90)
}

async fn live(steps: Vec<Step>) -> TestCaseResult {
    let world = World::start().await;
    let mut ada = world.register("ada@example.com").await;
    let mut begun: Vec<(NewSession, String)> = Vec::new();
    let (mut old_views, mut attempt): (Vec<Item>, u64) = (Vec::new(), 0);
    let mut state: Snapshot = world.fold(&ada).await.unwrap();
    for (seconds, step) in (1..).map(|minute| minute * 60).zip(steps) {
        let number = |index: usize| begun.get(index % begun.len().max(1)).map(|(session, _)| session.id);
        let intent = match step {
            Step::SignIn | Step::SignInWithAnotherPassword => {
                attempt += 1;
                let session = world.begin(&ada);
                let mut intent = sign_in(&ada, attempt, &session);
                if let (Step::SignInWithAnotherPassword, Command::SignIn { credential, .. }) =
                    (&step, &mut intent.command)
                {
                    *credential = CredentialId::new(bits());
                } else {
                    begun.push((session.clone(), session.token));
                }
                Some(intent)
            }
            Step::ChangePassword(index) => {
                attempt += 1;
                number(index).map(|acting| change_password(&ada, attempt, acting))
            }
            Step::RequestReset => Some(request_reset(&ada)),
            Step::ResetPassword => Some(reset_password(&ada, attempt)),
            Step::Disable => {
                attempt += 100;
                Some(disable(attempt))
            }
            Step::SignOut(index) => number(index).map(sign_out),
            Step::EndReused(index) => number(index).map(end_reused),
            Step::Refresh(index) => {
                let count = begun.len().max(1);
                if let Some((session, token)) = begun.get_mut(index % count) {
                    let parsed = world.store.sessions.parse(token).unwrap();
                    let now = second(seconds);
                    let rotated = world.store.sessions.rotate(&parsed, Some("browser"), now).await.unwrap();
                    let account = state.user.account().unwrap();
                    let alive = account.sessions.iter().any(|live| live.id == session.id);
                    match rotated {
                        Rotation::Next { token: successor, .. } => {
                            prop_assert!(alive);
                            *token = successor;
                        }
                        Rotation::Ended => prop_assert!(!alive),
                        Rotation::Reused => prop_assert!(false, "nobody has a copy"),
                    }
                }
                None
            }
            Step::Project => {
                let put = world.store.views.put(ada.user, &state, Replacing::OlderOrEqual).await.unwrap();
                prop_assert_eq!(put, Put::Written);
                old_views.push(world.view(&ada).await);
                None
            }
            Step::OldView => {
                if let Some(view) = old_views.first() {
                    world.put(&world.tables.views, view.clone()).await;
                }
                None
            }
            Step::NoView => {
                world.delete(&world.tables.views, view_key(&ada)).await;
                None
            }
            Step::Fault(fault) => {
                world.faults.script("TransactWriteItems", 1, fault);
                None
            }
        };
        let Some(mut intent) = intent else { continue };
        intent.at = second(seconds) + TimeDelta::microseconds(seconds % 1_000);
        match world.execute(&ada, &intent).await {
            Ok(appended) => {
                let before = state.head.version;
                let grown = appended.version.is_some();
                prop_assert_eq!(appended.snapshot.head.version, if grown { before.next() } else { before });
                state = appended.snapshot;
                if let Command::ChangePassword { .. } | Command::ResetPassword { .. } = intent.command {
                    ada.credential = put_in_by(&intent);
                    let left = usize::from(matches!(intent.command, Command::ChangePassword { .. }));
                    prop_assert_eq!(state.user.account().unwrap().sessions.len(), left);
                }
            }
            Err(error) => had_reason(&error, &intent.command, &state)?,
        }
        prop_assert_eq!(&world.fold(&ada).await.unwrap(), &state);
    }
    fits_together(&world, &ada, &state).await
}

/// That a command was refused because of what the log says.
fn had_reason(error: &ExecuteError, command: &Command, state: &Snapshot) -> TestCaseResult {
    let account = state.user.account().unwrap();
    let fits = match (error, command) {
        (ExecuteError::Rejected(Rejection::SessionEnded), Command::ChangePassword { session, .. }) => {
            !account.sessions.iter().any(|live| live.id == *session)
        }
        (ExecuteError::Rejected(Rejection::PasswordDisabled), _) => account.password_disabled,
        // A minute apart: now and then there are more than three within an hour.
        (ExecuteError::TooManyMails(_), command) => match command {
            Command::RequestPasswordReset { .. } => true,
            Command::ChangePassword { .. } => !account.email_verified,
            _ => false,
        },
        (ExecuteError::Rejected(Rejection::CredentialMismatch), _) => true,
        _ => false,
    };
    prop_assert!(fits, "{error:?}: {command:?}");
    Ok(())
}

/// That rows, vault and log say the same at the end of a history.
async fn fits_together(world: &World, ada: &Person, state: &Snapshot) -> TestCaseResult {
    let known: BTreeSet<SessionId> =
        state.user.account().unwrap().sessions.iter().map(|session| session.id).collect();
    prop_assert!(known.len() <= MAX_SESSIONS);
    let rows: BTreeSet<SessionId> =
        world.session_rows(ada).await.iter().map(|id| id.parse().unwrap()).collect();
    prop_assert_eq!(rows, known, "a row for every session of the log, and no other");
    let loaded = world.load(ada).await;
    prop_assert_eq!(loaded.vault().unwrap().credential, ada.credential);
    prop_assert!(world.store.verifier(loaded.vault().unwrap()).is_ok());
    let scanned = world.scan().await;
    prop_assert_eq!(scanned[0].outcome.as_ref(), Ok(state));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_store_says_is_what_the_log_says_whatever_happens_on_the_way(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(live(steps))?;
    }
}
