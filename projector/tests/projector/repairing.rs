use domain::FOLD;
use projector::replay::Replay;

use crate::ground::{Ground, now, v};

#[tokio::test]
async fn a_repair_mends_what_is_not_up_to_date_and_leaves_the_rest() {
    let ground = Ground::new().await;
    let users = ground.many_registered(6).await;
    ground.caught_up(&users).await;
    let views = &ground.tables.views;
    ground.delete(views, Ground::view_key(users[0])).await;
    ground.signed_in(users[1]).await;
    ground.tear_view(users[2]).await;
    ground.delete(views, Ground::view_key(users[3])).await;
    ground.model_of_fold(FOLD - 1).catch_up(users[3], v(1), now()).await.unwrap();
    ground.model_of_fold(FOLD + 1).catch_up(users[4], v(1), now()).await.unwrap();
    let untouched = [4, 5].map(|index: usize| Ground::view_key(users[index]));
    let before =
        [ground.get(views, untouched[0].clone()).await, ground.get(views, untouched[1].clone()).await];

    let report = Replay::of(ground.model.clone()).repair(now()).await.unwrap();
    assert_eq!((report.done.written, report.found.equal, report.found.of_higher_fold), (4, 1, 1));
    for user in &users[..4] {
        ground.assert_shown(*user).await;
    }
    let after =
        [ground.get(views, untouched[0].clone()).await, ground.get(views, untouched[1].clone()).await];
    assert_eq!(after, before);
    let again = Replay::of(ground.model.clone()).repair(now()).await.unwrap();
    assert_eq!((again.done.written, again.found.equal), (0, 5));
}

#[tokio::test]
async fn a_parked_user_whose_log_has_healed_is_parked_no_more() {
    let ground = Ground::new().await;
    let users = ground.many_registered(2).await;
    let whole = ground.break_commit(users[0], 1).await;
    let replay = Replay::of(ground.model.clone());
    let report = replay.repair(now()).await.unwrap();
    assert_eq!((report.found.broken, report.done.parked, report.done.written), (1, 1, 1));
    assert!(ground.parked(users[0]).await.is_some());

    ground.delete(&ground.tables.events, Ground::commit_key(users[0], 1)).await;
    ground.put(&ground.tables.events, whole).await;
    let report = replay.repair(now()).await.unwrap();
    assert_eq!((report.found.parked, report.done.written), (1, 1));
    assert_eq!(ground.parked(users[0]).await, None);
    ground.assert_shown(users[0]).await;
}
