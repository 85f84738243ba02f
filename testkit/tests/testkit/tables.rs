use aws_sdk_dynamodb::types::{
    KeySchemaElement, ProjectionType, StreamViewType, TableDescription, TimeToLiveStatus,
};
use storage::tables::Tables;
use testkit::Engine;

async fn describe(engine: &Engine, table: &str) -> TableDescription {
    engine.client().describe_table().table_name(table).send().await.unwrap().table.unwrap()
}

#[tokio::test]
async fn the_tables_are_those_of_the_template() {
    let engine = Engine::start().await;
    let tables = engine.tables().await;

    let events = describe(&engine, &tables.events).await;
    let keys: Vec<_> = events.key_schema().iter().map(KeySchemaElement::attribute_name).collect();
    assert_eq!(keys, ["user", "item"]);
    let stream = events.stream_specification().unwrap();
    assert_eq!(stream.stream_view_type(), Some(&StreamViewType::KeysOnly));
    assert_eq!(events.deletion_protection_enabled(), Some(true));
    assert!(events.latest_stream_arn().is_some());

    let identifiers = describe(&engine, &tables.identifiers).await;
    assert_eq!(identifiers.key_schema()[0].attribute_name(), "identifier");
    assert_eq!(identifiers.deletion_protection_enabled(), Some(true));
    assert!(identifiers.latest_stream_arn().is_none());

    let views = describe(&engine, &tables.views).await;
    let parked = &views.global_secondary_indexes()[0];
    assert_eq!(parked.index_name(), Some("parked"));
    let projection = parked.projection().unwrap();
    assert_eq!(projection.projection_type(), Some(&ProjectionType::Include));
    assert_eq!(projection.non_key_attributes(), ["parked_reason"]);

    let expiry = engine.client().describe_time_to_live().table_name(&tables.sessions).send().await.unwrap();
    let expiry = expiry.time_to_live_description().unwrap();
    assert_eq!(expiry.time_to_live_status(), Some(&TimeToLiveStatus::Enabled));
    assert_eq!(expiry.attribute_name(), Some("expires"));
}

#[tokio::test]
async fn creating_the_tables_again_or_twice_at_once_keeps_what_is_in_them() {
    let engine = Engine::start().await;
    let client = engine.client();
    let tables = engine.tables().await;
    client
        .put_item()
        .table_name(&tables.identifiers)
        .item("identifier", aws_sdk_dynamodb::types::AttributeValue::S("kept".into()))
        .send()
        .await
        .unwrap();

    let (first, second) = tokio::join!(tables.create(&client), tables.create(&client));
    first.unwrap();
    second.unwrap();
    let kept = client.scan().table_name(&tables.identifiers).send().await.unwrap();
    assert_eq!(kept.count(), 1);
}

#[tokio::test]
async fn creation_finishes_what_a_killed_creation_left_undone() {
    let engine = Engine::start().await;
    let client = engine.client();
    let tables = engine.tables().await;
    let half = Tables::prefixed(&format!("{}-half", tables.sessions));
    // Everything but the time to live, as if the process had been killed between the two requests.
    let sessions = describe(&engine, &tables.sessions).await;
    client
        .create_table()
        .table_name(&half.sessions)
        .set_key_schema(sessions.key_schema)
        .set_attribute_definitions(sessions.attribute_definitions)
        .billing_mode(aws_sdk_dynamodb::types::BillingMode::PayPerRequest)
        .send()
        .await
        .unwrap();

    half.create(&client).await.unwrap();
    let expiry = client.describe_time_to_live().table_name(&half.sessions).send().await.unwrap();
    assert_eq!(
        expiry.time_to_live_description().unwrap().time_to_live_status(),
        Some(&TimeToLiveStatus::Enabled)
    );
}
