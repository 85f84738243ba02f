use aws_lambda_events::event::streams::DynamoDbEventResponse;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::UserId;
use projector::handle;
use storage::View;
use uuid::Uuid;

use crate::faults::Faults;
use crate::ground::{Ground, batch, now, records};

fn failed(response: &DynamoDbEventResponse) -> Vec<&str> {
    response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_deref().unwrap()).collect()
}

#[tokio::test]
async fn duplicated_reordered_and_lost_records_make_no_difference() {
    let ground = Ground::new().await;
    let (ada, bob) = (ground.registered().await, ground.registered().await);
    for user in [ada, bob] {
        ground.signed_in(user).await;
        ground.signed_in(user).await;
    }
    // Bob's second commit is named by no record.
    let event = batch(&[(ada, 3), (bob, 3), (ada, 1), (ada, 3), (ada, 2), (bob, 1), (bob, 1)]);
    for _ in 0..2 {
        assert!(handle(&ground.model, event.clone(), now()).await.batch_item_failures.is_empty());
        ground.assert_shown(ada).await;
        ground.assert_shown(bob).await;
    }
}

#[tokio::test]
async fn batches_without_commits_are_done_with_at_once() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    let nothing = records(&[
        ("MODIFY", user.to_string(), "vault".into()),
        ("INSERT", "no id".into(), "commit-0000000001".into()),
        ("INSERT", user.to_string(), "commit-1".into()),
    ]);
    for event in [batch(&[]), nothing] {
        assert!(handle(&ground.model, event, now()).await.batch_item_failures.is_empty());
    }
    assert_eq!(ground.view(user).await, View::Absent);
}

#[tokio::test]
async fn the_earliest_record_that_could_not_be_processed_is_reported() {
    let ground = Ground::new().await;
    let users = ground.many_registered(4).await;
    let faults = Faults::default();
    let model = ground.model_of(&faults.client(&ground.engine));
    faults.refuse("Query", &users[1]);
    faults.refuse("PutItem", &users[3]);
    let event = batch(&[(users[0], 1), (users[3], 1), (users[1], 1), (users[2], 1), (users[3], 1)]);
    assert_eq!(failed(&handle(&model, event.clone(), now()).await), ["2"]);
    for user in [users[0], users[2]] {
        ground.assert_shown(user).await;
    }
    assert_eq!(ground.view(users[1]).await, View::Absent);

    faults.heal();
    assert!(handle(&model, event, now()).await.batch_item_failures.is_empty());
    for user in users {
        ground.assert_shown(user).await;
    }
}

#[tokio::test]
async fn a_commit_that_is_named_and_gone_holds_nobody_up() {
    let ground = Ground::new().await;
    let (ada, bob) = (ground.registered().await, ground.registered().await);
    let event = batch(&[(bob, 900), (ada, 1), (bob, 1)]);
    assert!(handle(&ground.model, event, now()).await.batch_item_failures.is_empty());
    ground.assert_shown(ada).await;
    ground.assert_shown(bob).await;
}

#[tokio::test]
async fn what_is_removed_frees_the_user_it_parked() {
    let ground = Ground::new().await;
    let registered = ground.registered().await;
    let nobody = UserId::new(Uuid::from_u128(9));
    ground.caught_up(&[registered]).await;
    for user in [registered, nobody] {
        let mut stray = ground.get(&ground.tables.events, Ground::commit_key(registered, 1)).await.unwrap();
        stray.extend(Ground::commit_key(user, 900));
        ground.put(&ground.tables.events, stray).await;
        assert!(handle(&ground.model, batch(&[(user, 900)]), now()).await.batch_item_failures.is_empty());
        assert!(ground.parked(user).await.is_some());

        ground.delete(&ground.tables.events, Ground::commit_key(user, 900)).await;
        let removed = records(&[("REMOVE", user.to_string(), "commit-0000000900".into())]);
        assert!(handle(&ground.model, removed, now()).await.batch_item_failures.is_empty());
        assert_eq!(ground.parked(user).await, None);
    }
    ground.assert_shown(registered).await;
    assert_eq!(ground.view(nobody).await, View::Absent);
}

#[tokio::test]
async fn a_tail_that_is_removed_fails_no_batch() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    ground.signed_in(user).await;
    ground.caught_up(&[user]).await;
    let shown = ground.view(user).await;
    ground.delete(&ground.tables.events, Ground::commit_key(user, 2)).await;
    let removed = records(&[("REMOVE", user.to_string(), "commit-0000000002".into())]);
    assert!(handle(&ground.model, removed, now()).await.batch_item_failures.is_empty());
    assert_eq!(ground.view(user).await, shown);
}

#[tokio::test]
async fn a_batch_whose_views_cannot_be_read_is_left_from_its_first_commit_on() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    let faults = Faults::default();
    let model = ground.model_of(&faults.client(&ground.engine));
    faults.refuse("BatchGetItem", &user);
    let event = records(&[
        ("MODIFY", user.to_string(), "vault".into()),
        ("INSERT", user.to_string(), "commit-0000000001".into()),
    ]);
    assert_eq!(failed(&handle(&model, event, now()).await), ["2"]);
}

#[tokio::test]
async fn a_poisoned_user_is_parked_and_holds_nobody_up() {
    let ground = Ground::new().await;
    let users = ground.many_registered(3).await;
    ground.break_commit(users[1], 1).await;
    let event = batch(&[(users[0], 1), (users[1], 1), (users[2], 1)]);
    assert!(handle(&ground.model, event, now()).await.batch_item_failures.is_empty());
    ground.assert_shown(users[0]).await;
    ground.assert_shown(users[2]).await;
    assert_eq!(ground.parked(users[1]).await.unwrap().reason, "seal");
}

#[tokio::test]
async fn a_view_with_a_count_of_marks_that_nobody_writes_holds_nobody_up() {
    let ground = Ground::new().await;
    let (ada, bob) = (ground.registered().await, ground.registered().await);
    ground.caught_up(&[ada, bob]).await;
    let mut view = ground.get(&ground.tables.views, Ground::view_key(ada)).await.unwrap();
    view.insert("marks".into(), AttributeValue::N("0".into()));
    ground.put(&ground.tables.views, view).await;
    ground.signed_in(ada).await;
    ground.signed_in(bob).await;
    let response = handle(&ground.model, batch(&[(ada, 2), (bob, 2)]), now()).await;
    assert_eq!(failed(&response), Vec::<&str>::new());
    ground.assert_shown(ada).await;
    ground.assert_shown(bob).await;
}
