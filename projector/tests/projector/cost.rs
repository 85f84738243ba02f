use projector::handle;

use crate::ground::{Ground, batch, now, v};

#[tokio::test]
async fn projecting_a_user_takes_three_requests_one_write_unit_and_one_and_a_half_read_units() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    let (client, meter) = ground.engine.metered();
    let model = ground.model_of(&client);
    model.catch_up(user, v(1), now()).await.unwrap();
    let taken = meter.taken();
    assert_eq!(taken.requests, ["BatchGetItem", "Query", "PutItem"]);
    // An absent view costs as much as a small one.
    assert!(taken.cost(1.5, 1.0), "{taken:?}");

    ground.signed_in(user).await;
    meter.reset();
    model.catch_up(user, v(2), now()).await.unwrap();
    let taken = meter.taken();
    assert_eq!(taken.requests, ["BatchGetItem", "Query", "PutItem"]);
    assert!(taken.cost(1.5, 1.0), "{taken:?}");
}

#[tokio::test]
async fn a_batch_of_a_hundred_users_reads_their_views_in_one_request() {
    let ground = Ground::new().await;
    let users = ground.many_registered(100).await;
    let (client, meter) = ground.engine.metered();
    let commits: Vec<_> = users.iter().map(|user| (*user, 1)).collect();
    let response = handle(&ground.model_of(&client), batch(&commits), now()).await;
    assert!(response.batch_item_failures.is_empty());
    let taken = meter.taken();
    let count = |name| taken.requests.iter().filter(|request| *request == name).count();
    assert_eq!((count("BatchGetItem"), count("Query"), count("PutItem")), (1, 100, 100));
    assert_eq!(taken.requests.len(), 201);
    assert!(taken.cost(150.0, 100.0), "{taken:?}");
}
