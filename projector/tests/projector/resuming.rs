use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use domain::{FOLD, UserId};
use projector::replay::{Checkpoint, Phase, Replay, Unfit};
use storage::{Segment, View};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::ground::{Ground, now, v};

/// Users with logs of 300 KB each, so that a page of a scan ends in the middle of every third or fourth.
async fn long_logs(users: usize) -> (Ground, Vec<UserId>) {
    let ground = Ground::new().await;
    let users = ground.many_registered(users).await;
    for user in &users {
        for _ in 0..2 {
            ground.signed_in_with(*user, Some("x".repeat(150_000))).await;
        }
    }
    (ground, users)
}

/// A replay that hands over every checkpoint.
fn kept(replay: Replay) -> (Replay, UnboundedReceiver<Checkpoint>) {
    let (sender, checkpoints) = unbounded_channel();
    let replay = replay.keeping(move |checkpoint| {
        // Nobody listens any more when the test has seen enough.
        let _ = sender.send(checkpoint.clone());
    });
    (replay, checkpoints)
}

/// What a process that goes on would read of what one that was killed has written.
fn stored(checkpoint: &Checkpoint) -> Checkpoint {
    serde_json::from_str(&serde_json::to_string(checkpoint).unwrap()).unwrap()
}

async fn with_view(ground: &Ground, users: &[UserId]) -> HashSet<UserId> {
    let views = ground.model.views.read_all(users, true).await.unwrap();
    views.into_iter().filter(|stored| stored.view != View::Absent).map(|stored| stored.user).collect()
}

#[tokio::test]
async fn a_rebuild_goes_on_from_any_of_its_checkpoints_and_misses_nobody() {
    let (ground, _) = long_logs(12).await;
    let (whole, mut checkpoints) = kept(Replay::of(ground.model.clone()).in_segments(1));
    let uninterrupted = whole.rebuild(&ground.store.identifiers, now()).await.unwrap();
    assert_eq!((uninterrupted.covered.users, uninterrupted.done_before), (12, None));
    drop(whole);
    let mut kept = Vec::new();
    while let Some(checkpoint) = checkpoints.recv().await {
        kept.push(checkpoint);
    }
    assert!(kept.len() >= 3, "several pages: {kept:?}");
    assert_eq!((kept.first().map(Checkpoint::users) < Some(12), kept.last().unwrap().users()), (true, 12));

    for checkpoint in kept {
        let before = ground.dump(&ground.tables.views).await;
        let done_before = checkpoint.users();
        let replay = Replay::of(ground.model.clone()).in_segments(1);
        let replay = replay.resuming(Phase::Rebuild, stored(&checkpoint), now()).unwrap();
        let report = replay.rebuild(&ground.store.identifiers, now()).await.unwrap();
        // The counts are those of one run over everybody, and only those behind the checkpoint were done again.
        assert_eq!((report.covered, report.done), (uninterrupted.covered, uninterrupted.done));
        assert_eq!(report.done_before, Some(done_before));
        // What is sealed again differs, even if it says the same.
        let after = ground.dump(&ground.tables.views).await;
        let again = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert_eq!(again as u64, 12 - done_before, "after {done_before}");
        assert!(report.verified.holds(), "{:?}", report.verified);
    }
}

#[tokio::test]
async fn a_rebuild_that_is_killed_again_and_again_beside_writers_gets_done() {
    let (ground, users) = long_logs(10).await;
    let segments = 2;
    let mut unfinished: Option<Checkpoint> = None;
    let mut kills = 0;
    let report = loop {
        let replay = Replay::of(ground.model.clone()).in_segments(segments);
        let replay = match &unfinished {
            Some(checkpoint) => replay.resuming(Phase::Rebuild, stored(checkpoint), now()).unwrap(),
            None => replay,
        };
        let (replay, mut checkpoints) = kept(replay);
        let done_before = unfinished.as_ref().map_or(0, Checkpoint::users);
        let progress = async {
            while let Some(checkpoint) = checkpoints.recv().await {
                if checkpoint.users() > done_before {
                    return checkpoint;
                }
            }
            std::future::pending().await
        };
        let rebuild = replay.rebuild(&ground.store.identifiers, now());
        tokio::select! {
            biased;
            // It is dropped, with everything it had begun.
            checkpoint = progress => {
                kills += 1;
                assert!(kills < 50, "it goes on from where it was, or would never be done");
                unfinished = Some(checkpoint);
                // Somebody signs in who may lie before the checkpoint: the projector takes care of them.
                let user = users[kills % users.len()];
                ground.signed_in(user).await;
                ground.caught_up(&[user]).await;
            }
            report = rebuild => break report.unwrap(),
        }
    };
    assert!(kills >= 2, "{kills}");
    assert_eq!(report.covered.users, 10);
    assert!(report.verified.holds(), "{:?}", report.verified);
    for user in users {
        ground.assert_shown(user).await;
    }
}

#[tokio::test]
async fn a_user_whose_log_has_grown_behind_a_place_is_not_read_in_part() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    let vault = {
        let mut key = Ground::commit_key(user, 1);
        key.insert("item".into(), AttributeValue::S("vault".into()));
        let vault = ground.get(&ground.tables.events, key.clone()).await.unwrap();
        ground.delete(&ground.tables.events, key).await;
        vault
    };
    let mut scan = ground.model.log.scan(Segment { index: 0, total: 1 });
    while let Some(users) = scan.next().await.unwrap() {
        assert!(users.iter().all(|scanned| scanned.outcome.is_err()), "there is no vault");
    }
    // The place is behind the commit; what follows it are the vault and a commit, without the first one.
    let place = scan.position().unwrap().clone();
    ground.put(&ground.tables.events, vault).await;
    ground.signed_in(user).await;
    let mut scan = ground.model.log.scan(Segment { index: 0, total: 1 }).after(place);
    let mut met = Vec::new();
    while let Some(users) = scan.next().await.unwrap() {
        met.extend(users);
    }
    assert_eq!(met.len(), 1);
    assert_eq!(met[0].outcome.as_ref().unwrap().head.version, v(2));
}

#[tokio::test]
async fn a_repair_goes_on_too() {
    let (ground, users) = long_logs(10).await;
    let (replay, mut checkpoints) = kept(Replay::of(ground.model.clone()).in_segments(1));
    let first = tokio::select! {
        biased;
        checkpoint = checkpoints.recv() => checkpoint.unwrap(),
        _ = replay.repair(now()) => panic!("it was done before its first page"),
    };
    let replay = Replay::of(ground.model.clone()).in_segments(1);
    let report = replay.resuming(Phase::Repair, stored(&first), now()).unwrap().repair(now()).await.unwrap();
    assert_eq!(report.done_before, Some(first.users()));
    assert!((1..10).contains(&first.users()), "{first:?}");
    // Of those whom the first had begun and not told of, some may have been right already.
    assert_eq!((report.covered.users, report.found.absent + report.found.equal), (10, 10));
    assert_eq!(with_view(&ground, &users).await.len(), 10);
}

#[tokio::test]
async fn a_repair_that_goes_on_frees_who_was_parked_before_its_place() {
    let (ground, users) = long_logs(10).await;
    let whole = ground.break_commit(users[0], 2).await;
    // Killed when all but the end was done.
    let (replay, mut checkpoints) = kept(Replay::of(ground.model.clone()).in_segments(1));
    replay.repair(now()).await.unwrap();
    drop(replay);
    let mut last = None;
    while let Some(checkpoint) = checkpoints.recv().await {
        last = Some(checkpoint);
    }
    assert!(ground.parked(users[0]).await.is_some());
    // The cause is gone, and the list of the parked says: run a repair.
    ground.put(&ground.tables.events, whole).await;
    let replay = Replay::of(ground.model.clone()).in_segments(1);
    let report = replay.resuming(Phase::Repair, stored(&last.unwrap()), now()).unwrap();
    let report = report.repair(now()).await.unwrap();
    assert_eq!(report.done_before, Some(10));
    assert_eq!(ground.parked(users[0]).await, None);
    assert_eq!((report.freed, report.found.broken), (1, 1), "as the first run counted");
    ground.assert_shown(users[0]).await;
}

#[tokio::test]
async fn the_checkpoint_of_something_else_is_refused() {
    let ground = Ground::new().await;
    ground.registered().await;
    let last = Arc::new(Mutex::new(None));
    let keeping = Arc::clone(&last);
    let replay = Replay::of(ground.model.clone())
        .in_segments(4)
        .keeping(move |checkpoint| *keeping.lock().unwrap() = Some(checkpoint.clone()));
    replay.rebuild(&ground.store.identifiers, now()).await.unwrap();
    let checkpoint = last.lock().unwrap().clone().unwrap();
    let resuming = |replay: Replay, later| {
        replay.resuming(Phase::Rebuild, stored(&checkpoint), now() + later).map(|_| ()).unwrap_err()
    };
    let of = |model: &projector::ReadModel| Replay::of(model.clone()).in_segments(4);
    let soon = TimeDelta::minutes(1);

    assert!(of(&ground.model).resuming(Phase::Rebuild, checkpoint.clone(), now() + soon).is_ok());
    let repair = of(&ground.model).resuming(Phase::Repair, checkpoint.clone(), now()).unwrap_err();
    assert_eq!(repair, Unfit::Phase);
    let newer = ground.model_of_fold(FOLD + 1);
    assert_eq!(resuming(of(&newer), soon), Unfit::Fold { kept: FOLD, own: FOLD + 1 });
    assert_eq!(resuming(Replay::of(ground.model.clone()).in_segments(8), soon), Unfit::Segments);
    let part = Replay::of(ground.model.clone()).only(Segment { index: 1, total: 4 });
    assert_eq!(resuming(part, soon), Unfit::Segments);
    assert_eq!(resuming(of(&ground.model), TimeDelta::hours(25)), Unfit::Old(now()));
    // It was kept while the clock was wrong: when it began, nobody can tell.
    assert_eq!(resuming(of(&ground.model), TimeDelta::hours(-25)), Unfit::Future(now()));

    let others = Ground::new().await;
    let deployment = Unfit::Deployment(ground.keys.deployment.clone());
    assert_eq!(resuming(of(&others.model), soon), deployment);
    let tables = Box::pin(ground.engine.tables()).await;
    let elsewhere = ground.model_in(&tables);
    let (events, views) = (ground.tables.events.clone(), ground.tables.views.clone());
    assert_eq!(resuming(of(&elsewhere), soon), Unfit::Tables { events, views });

    let mut newer = serde_json::to_value(&checkpoint).unwrap();
    newer["format"] = 2.into();
    let newer: Checkpoint = serde_json::from_value(newer).unwrap();
    assert_eq!(of(&ground.model).resuming(Phase::Rebuild, newer, now()).unwrap_err(), Unfit::Format);
}
