use aws_sdk_dynamodb::types::AttributeValue;
use domain::{FOLD, Version};
use projector::CaughtUp;
use storage::{Put, Replacing, View};

use crate::faults::Faults;
use crate::ground::{Ground, now, v};

#[tokio::test]
async fn the_view_is_the_fold_of_the_log_after_every_commit() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    assert_eq!(ground.model.catch_up(user, v(1), now()).await.unwrap(), CaughtUp::Projected);
    ground.assert_shown(user).await;
    let session = ground.signed_in(user).await;
    ground.model.catch_up(user, v(2), now()).await.unwrap();
    ground.assert_shown(user).await;
    ground.signed_out(user, session).await;
    ground.model.catch_up(user, v(3), now()).await.unwrap();
    ground.assert_shown(user).await;
    assert_eq!(ground.model.catch_up(user, v(3), now()).await.unwrap(), CaughtUp::Current);
}

#[tokio::test]
async fn a_user_without_a_log_gets_no_view() {
    let ground = Ground::new().await;
    let nobody = domain::UserId::new(uuid::Uuid::from_u128(9));
    assert_eq!(ground.model.catch_up(nobody, Version::NONE, now()).await.unwrap(), CaughtUp::Current);
    assert_eq!(ground.view(nobody).await, View::Absent);
}

#[tokio::test]
async fn a_commit_that_was_named_and_is_gone_does_not_keep_the_view_from_the_end_of_the_log() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    assert_eq!(ground.model.catch_up(user, v(900), now()).await.unwrap(), CaughtUp::CommitGone);
    ground.assert_shown(user).await;
    assert_eq!(ground.model.catch_up(user, v(900), now()).await.unwrap(), CaughtUp::CommitGone);
    ground.signed_in(user).await;
    assert_eq!(ground.model.catch_up(user, v(2), now()).await.unwrap(), CaughtUp::Projected);
    ground.assert_shown(user).await;
    let nobody = domain::UserId::new(uuid::Uuid::from_u128(9));
    assert_eq!(ground.model.catch_up(nobody, v(900), now()).await.unwrap(), CaughtUp::CommitGone);
    assert_eq!(ground.view(nobody).await, View::Absent);
}

#[tokio::test]
async fn a_view_read_late_costs_another_try_and_nothing_else() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    let faults = Faults::default();
    let model = ground.model_of(&faults.client(&ground.engine));
    model.catch_up(user, v(1), now()).await.unwrap();
    ground.signed_in(user).await;
    // Another projector brings the view to 2; this one still reads that there is none, and loses with what it folds.
    ground.model.catch_up(user, v(2), now()).await.unwrap();
    faults.answer_the_next_batch_as_the_last();
    assert_eq!(model.catch_up(user, v(2), now()).await.unwrap(), CaughtUp::Current);
    ground.assert_shown(user).await;
}

#[tokio::test]
async fn many_projectors_at_once_end_with_one_right_view() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    for round in 1..=5 {
        ground.signed_in(user).await;
        let projectors = (0..8).map(|_| ground.model.catch_up(user, v(round + 1), now()));
        for outcome in futures::future::join_all(projectors).await {
            assert!(matches!(outcome, Ok(CaughtUp::Projected | CaughtUp::Current)), "{outcome:?}");
        }
        ground.assert_shown(user).await;
    }
}

#[tokio::test]
async fn a_view_of_a_lower_fold_is_made_again_from_the_first_commit() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    ground.caught_up(&[user]).await;
    let newer = ground.model_of_fold(FOLD + 1);
    assert_eq!(newer.catch_up(user, v(1), now()).await.unwrap(), CaughtUp::Projected);
    assert_eq!(newer.views.read(user).await.unwrap(), View::Of(ground.fold(user).await));
}

#[tokio::test]
async fn a_view_of_a_higher_fold_is_left_alone() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    let newer = ground.model_of_fold(FOLD + 1);
    newer.catch_up(user, v(1), now()).await.unwrap();
    ground.signed_in(user).await;
    let before = ground.dump(&ground.tables.views).await;
    assert_eq!(ground.model.catch_up(user, v(2), now()).await.unwrap(), CaughtUp::OfHigherFold);
    assert_eq!(ground.dump(&ground.tables.views).await, before);
    assert_eq!(
        ground.model.views.put(user, &ground.fold(user).await, Replacing::OlderOrEqual).await.unwrap(),
        Put::Lost
    );
}

#[tokio::test]
async fn a_view_that_shows_more_than_the_log_holds_is_left_for_somebody_to_look_at() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    ground.signed_in(user).await;
    ground.model_of_fold(FOLD - 1).catch_up(user, v(2), now()).await.unwrap();
    ground.delete(&ground.tables.events, Ground::commit_key(user, 2)).await;
    let before = ground.dump(&ground.tables.views).await;
    assert_eq!(ground.model.catch_up(user, v(1), now()).await.unwrap(), CaughtUp::BeyondLog);
    assert_eq!(ground.dump(&ground.tables.views).await, before);
}

#[tokio::test]
async fn a_torn_view_is_made_again() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    ground.caught_up(&[user]).await;
    ground.tear_view(user).await;
    assert!(matches!(ground.view(user).await, View::Torn(_)));
    assert_eq!(ground.model.catch_up(user, v(1), now()).await.unwrap(), CaughtUp::Projected);
    ground.assert_shown(user).await;
}

#[tokio::test]
async fn a_user_whose_log_is_broken_is_parked_until_it_can_be_read() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    ground.caught_up(&[user]).await;
    let shown = ground.view(user).await;
    ground.signed_in(user).await;
    let whole = ground.break_commit(user, 2).await;
    assert_eq!(ground.model.catch_up(user, v(2), now()).await.unwrap(), CaughtUp::Parked);
    let parked = ground.parked(user).await.unwrap();
    assert_eq!(parked.reason, "seal");
    assert_eq!(ground.view(user).await, shown, "what could be read stays");
    let (listed, _) = ground.model.views.parked(None).await.unwrap();
    assert_eq!(listed, [(user, parked.clone())]);

    let later = now() + chrono::TimeDelta::hours(1);
    assert_eq!(ground.model.catch_up(user, v(2), later).await.unwrap(), CaughtUp::Parked);
    assert_eq!(ground.parked(user).await.unwrap().since, parked.since, "parked since the first time");

    ground.put(&ground.tables.events, whole).await;
    assert_eq!(ground.model.catch_up(user, v(2), later).await.unwrap(), CaughtUp::Projected);
    assert_eq!(ground.parked(user).await, None);
    ground.assert_shown(user).await;
}

#[tokio::test]
async fn a_user_without_a_readable_view_is_parked_too() {
    let ground = Ground::new().await;
    let (absent, torn) = (ground.registered().await, ground.registered().await);
    ground.caught_up(&[torn]).await;
    ground.tear_view(torn).await;
    for user in [absent, torn] {
        let whole = ground.break_commit(user, 1).await;
        assert_eq!(ground.model.catch_up(user, v(1), now()).await.unwrap(), CaughtUp::Parked);
        assert_eq!(ground.parked(user).await.unwrap().reason, "seal");
        ground.put(&ground.tables.events, whole).await;
        ground.model.catch_up(user, v(1), now()).await.unwrap();
        assert_eq!(ground.parked(user).await, None);
        ground.assert_shown(user).await;
    }
}

#[tokio::test]
async fn a_mark_meant_for_an_older_view_is_put_on_the_newer_one() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    let faults = Faults::default();
    let model = ground.model_of(&faults.client(&ground.engine));
    model.views.read(user).await.unwrap();
    ground.caught_up(&[user]).await;
    ground.signed_in(user).await;
    ground.break_commit(user, 2).await;
    // It still reads that there is no view.
    faults.answer_the_next_batch_as_the_last();
    assert_eq!(model.catch_up(user, v(2), now()).await.unwrap(), CaughtUp::Parked);
    assert_eq!(ground.parked(user).await.unwrap().reason, "seal");
    assert!(matches!(ground.view(user).await, View::Of(shown) if shown.head.version == v(1)));
}

#[tokio::test]
async fn a_mark_goes_even_if_the_log_has_not_grown_since() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    ground.caught_up(&[user]).await;
    ground.model.views.park(user, v(1), &storage::Broken::NoVault, now()).await.unwrap();
    ground.model.catch_up(user, v(1), now()).await.unwrap();
    assert_eq!(ground.parked(user).await, None);
    ground.assert_shown(user).await;
}

#[tokio::test]
async fn a_log_above_a_megabyte_is_shown_whole() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    for _ in 0..6 {
        ground.signed_in_with(user, Some("x".repeat(200_000))).await;
    }
    ground.model.catch_up(user, v(7), now()).await.unwrap();
    let View::Of(shown) = ground.view(user).await else { panic!("no view") };
    assert_eq!(shown.head.version, v(7));
    assert_eq!(shown.user.account().unwrap().sessions.len(), 6);
    ground.assert_shown(user).await;
}

#[tokio::test]
async fn the_view_of_somebody_erased_goes_also_if_an_older_one_or_none_was_read() {
    for was_there in [false, true] {
        let ground = Ground::new().await;
        let user = ground.registered().await;
        let faults = Faults::default();
        let model = ground.model_of(&faults.client(&ground.engine));
        if was_there {
            ground.caught_up(&[user]).await;
        }
        model.views.read(user).await.unwrap();
        ground.signed_in(user).await;
        ground.caught_up(&[user]).await;
        let mut vault = Ground::commit_key(user, 1);
        vault.insert("item".into(), AttributeValue::S("vault".into()));
        vault.insert("erased".into(), AttributeValue::S("2100-01-01T00:00:00.000Z".into()));
        ground.put(&ground.tables.events, vault).await;

        faults.answer_the_next_batch_as_the_last();
        assert_eq!(model.catch_up(user, v(2), now()).await.unwrap(), CaughtUp::Current);
        assert_eq!(ground.view(user).await, View::Absent);
    }
}
