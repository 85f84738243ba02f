use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::FOLD;
use projector::replay::{Findings, Phase, Progress, Replay, ReplayError};
use storage::{Segment, View};

use crate::faults::Faults;
use crate::ground::{Ground, now, until, v};

#[tokio::test]
async fn deleted_views_come_back_equal() {
    let ground = Ground::new().await;
    let users = ground.many_registered(25).await;
    for user in &users[..10] {
        ground.signed_in(*user).await;
    }
    let seen = Arc::new(Mutex::new(Vec::<Progress>::new()));
    let progress = Arc::clone(&seen);
    let replay =
        Replay::of(ground.model.clone()).reporting(move |so_far| progress.lock().unwrap().push(so_far));
    let report = replay.rebuild(&ground.store.identifiers, now()).await.unwrap();
    assert_eq!((report.covered.users, report.covered.commits, report.covered.events), (25, 35, 35));
    assert_eq!(report.done.written, 25);
    assert!(report.verified.holds(), "{report:?}");
    for user in users {
        ground.assert_shown(user).await;
    }
    for phase in [Phase::Rebuild, Phase::Verify] {
        let seen = seen.lock().unwrap();
        let last = seen.iter().filter(|progress| progress.phase == phase).map(|at| (at.users, at.commits));
        assert_eq!(last.max(), Some((25, 35)));
    }
}

#[tokio::test]
async fn a_rebuild_deletes_views_without_a_log_and_keeps_those_whose_log_is_broken() {
    let ground = Ground::new().await;
    let users = ground.many_registered(3).await;
    ground.caught_up(&users).await;
    for item in ["commit-0000000001", "vault"] {
        let mut key = Ground::commit_key(users[0], 1);
        key.insert("item".into(), AttributeValue::S(item.into()));
        ground.delete(&ground.tables.events, key).await;
    }
    // This log has lost its first commit, and so is broken, not missing.
    ground.signed_in(users[1]).await;
    ground.delete(&ground.tables.events, Ground::commit_key(users[1], 1)).await;

    let report = Replay::of(ground.model.clone()).rebuild(&ground.store.identifiers, now()).await.unwrap();
    assert_eq!((report.swept, report.done.parked, report.done.written), (1, 1, 1));
    assert_eq!(ground.view(users[0]).await, View::Absent);
    assert_eq!(ground.parked(users[1]).await.unwrap().reason, "gap");
    ground.assert_shown(users[2]).await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_writes_nothing() {
    let ground = Ground::new().await;
    let users = ground.many_registered(8).await;
    ground.caught_up(&users).await;
    let views = &ground.tables.views;
    ground.delete(views, Ground::view_key(users[0])).await;
    ground.signed_in(users[1]).await;
    ground.tear_view(users[2]).await;
    ground.delete(views, Ground::view_key(users[3])).await;
    ground.model_of_fold(FOLD - 1).catch_up(users[3], v(1), now()).await.unwrap();
    ground.model_of_fold(FOLD + 1).catch_up(users[4], v(1), now()).await.unwrap();
    ground.model.views.park(users[5], v(1), &storage::Broken::NoVault, now()).await.unwrap();
    ground.break_commit(users[6], 1).await;
    let mut orphan = ground.get(views, Ground::view_key(users[7])).await.unwrap();
    orphan.insert("user".into(), AttributeValue::S(uuid::Uuid::from_u128(1).to_string()));
    ground.put(views, orphan).await;

    let before = (ground.dump(views).await, ground.dump(&ground.tables.events).await);
    let report = Replay::of(ground.model.clone()).dry_run().await.unwrap();
    let found = Findings {
        equal: 1,
        absent: 1,
        behind: 1,
        torn: 1,
        of_lower_fold: 1,
        of_higher_fold: 1,
        parked: 1,
        broken: 1,
        ..Findings::default()
    };
    assert_eq!((report.found, report.orphaned), (found, 1));
    assert_eq!((ground.dump(views).await, ground.dump(&ground.tables.events).await), before);
}

#[tokio::test]
async fn two_rebuilds_at_once_under_traffic_end_right() {
    let ground = Ground::new().await;
    let users = ground.many_registered(30).await;
    ground.caught_up(&users).await;
    let replay = Replay::of(ground.model.clone()).in_segments(3);
    let identifiers = &ground.store.identifiers;
    let (first, second, ()) =
        tokio::join!(replay.rebuild(identifiers, now()), replay.rebuild(identifiers, now()), async {
            for user in &users {
                ground.signed_in(*user).await;
                ground.model.catch_up(*user, v(2), now()).await.unwrap();
            }
        });
    for report in [first.unwrap(), second.unwrap()] {
        assert!(report.verified.holds(), "{:?}", report.verified);
    }
    for user in users {
        ground.assert_shown(user).await;
    }
}

#[tokio::test]
async fn the_segments_together_are_the_whole() {
    let ground = Ground::new().await;
    let users = ground.many_registered(20).await;
    let mut written = 0;
    for index in 0..4 {
        let replay = Replay::of(ground.model.clone()).only(Segment { index, total: 4 });
        let report = replay.rebuild(&ground.store.identifiers, now()).await.unwrap();
        assert!(report.verified.holds());
        written += report.done.written;
    }
    assert_eq!(written, 20);
    for user in users {
        ground.assert_shown(user).await;
    }
}

#[tokio::test]
async fn a_log_above_a_megabyte_is_rebuilt_whole() {
    let ground = Ground::new().await;
    let users = ground.many_registered(3).await;
    for _ in 0..6 {
        ground.signed_in_with(users[1], Some("x".repeat(200_000))).await;
    }
    let replay = Replay::of(ground.model.clone()).in_segments(1);
    let report = replay.rebuild(&ground.store.identifiers, now()).await.unwrap();
    assert_eq!((report.covered.users, report.covered.commits), (3, 9));
    assert!(report.verified.holds(), "{:?}", report.verified);
    let View::Of(shown) = ground.view(users[1]).await else { panic!("no view") };
    assert_eq!(shown.user.account().unwrap().sessions.len(), 6);
}

#[tokio::test]
async fn a_replay_goes_on_where_it_stood_when_dynamodb_was_away() {
    let ground = Ground::new().await;
    let users = ground.many_registered(6).await;
    // A broken log is queried before it is parked, in the middle of a page of the scan.
    ground.break_commit(users[2], 1).await;
    let faults = Faults::default();
    let replay = Replay::of(ground.model_of(&faults.client(&ground.engine))).in_segments(1);
    faults.refuse("Query", &users[2]);
    faults.refuse("PutItem", &users[4]);
    let back = async {
        until(|| faults.was_hit()).await;
        faults.heal();
    };
    let (report, ()) = tokio::join!(replay.rebuild(&ground.store.identifiers, now()), back);
    let report = report.unwrap();
    assert_eq!((report.covered.users, report.done.written, report.done.parked), (6, 5, 1));
}

#[tokio::test]
async fn a_replay_ends_when_dynamodb_does_not_come_back() {
    let ground = Ground::new().await;
    ground.registered().await;
    let faults = Faults::default();
    faults.refuse("Scan", &ground.tables.events);
    let replay = Replay::of(ground.model_of(&faults.client(&ground.engine)));
    let ended = replay.rebuild(&ground.store.identifiers, now()).await;
    assert!(matches!(ended, Err(ReplayError::Unavailable(_))), "{ended:?}");
}
