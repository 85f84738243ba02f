//! The figures are those of "DynamoDB read and write operations" in the AWS developer guide.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, KeysAndAttributes, Put, TransactGetItem, TransactWriteItem,
};
use testkit::{Engine, Meter, Taken};

struct Bench {
    _engine: Engine,
    client: Client,
    meter: Meter,
    table: String,
}

async fn bench() -> Bench {
    let engine = Engine::start().await;
    let (client, meter) = engine.metered();
    let table = engine.tables().await.events;
    Bench { _engine: engine, client, meter, table }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn key(item: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([("user".to_owned(), text("ada")), ("item".to_owned(), text(item))])
}

fn item(name: &str, bytes: usize) -> HashMap<String, AttributeValue> {
    let mut item = key(name);
    item.insert("sealed".to_owned(), text(&"x".repeat(bytes)));
    item
}

fn put(table: &str, name: &str, bytes: usize) -> TransactWriteItem {
    let put = Put::builder().table_name(table).set_item(Some(item(name, bytes)));
    let put =
        put.condition_expression("attribute_not_exists(#item)").expression_attribute_names("#item", "item");
    TransactWriteItem::builder().put(put.build().unwrap()).build()
}

impl Bench {
    async fn put(&self, name: &str, bytes: usize) {
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item(name, bytes)))
            .send()
            .await
            .unwrap();
    }

    fn assert_taken(&self, requests: &[&str], read_units: f64, write_units: f64) {
        let requests = requests.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(self.meter.taken(), Taken { requests, read_units, write_units });
        self.meter.reset();
    }
}

#[tokio::test]
async fn a_put_costs_a_write_unit_for_each_kilobyte_begun() {
    let bench = bench().await;
    bench.put("small", 100).await;
    bench.assert_taken(&["PutItem"], 0.0, 1.0);
    bench.put("large", 2_000).await;
    bench.assert_taken(&["PutItem"], 0.0, 2.0);
}

#[tokio::test]
async fn a_consistent_get_costs_a_read_unit_and_an_eventual_one_half() {
    let bench = bench().await;
    bench.put("small", 100).await;
    bench.meter.reset();
    for (consistent, units) in [(true, 1.0), (false, 0.5)] {
        let get = bench.client.get_item().table_name(&bench.table).set_key(Some(key("small")));
        get.consistent_read(consistent).send().await.unwrap();
        bench.assert_taken(&["GetItem"], units, 0.0);
    }
}

#[tokio::test]
async fn a_transaction_costs_two_write_units_for_each_item() {
    let bench = bench().await;
    let (first, second) = (put(&bench.table, "first", 100), put(&bench.table, "second", 100));
    let write = bench.client.transact_write_items().transact_items(first).transact_items(second);
    write.send().await.unwrap();
    bench.assert_taken(&["TransactWriteItems"], 0.0, 4.0);

    let get = |name| {
        let get = aws_sdk_dynamodb::types::Get::builder().table_name(&bench.table).set_key(Some(key(name)));
        TransactGetItem::builder().get(get.build().unwrap()).build()
    };
    let read = bench.client.transact_get_items().transact_items(get("first")).transact_items(get("second"));
    read.send().await.unwrap();
    bench.assert_taken(&["TransactGetItems"], 4.0, 0.0);
}

#[tokio::test]
async fn a_refused_condition_costs_as_if_it_had_held() {
    let bench = bench().await;
    bench.put("there", 100).await;
    bench.meter.reset();

    let again = bench.client.put_item().table_name(&bench.table).set_item(Some(item("there", 100)));
    let again =
        again.condition_expression("attribute_not_exists(#item)").expression_attribute_names("#item", "item");
    assert!(again.send().await.unwrap_err().into_service_error().is_conditional_check_failed_exception());
    bench.assert_taken(&["PutItem"], 0.0, 1.0);

    let (new, there) = (put(&bench.table, "new", 100), put(&bench.table, "there", 100));
    let write = bench.client.transact_write_items().transact_items(new).transact_items(there);
    assert!(write.send().await.unwrap_err().into_service_error().is_transaction_canceled_exception());
    bench.assert_taken(&["TransactWriteItems"], 0.0, 4.0);
}

#[tokio::test]
async fn a_condition_check_costs_two_units() {
    let bench = bench().await;
    bench.put("there", 100).await;
    bench.meter.reset();
    let check = ConditionCheck::builder().table_name(&bench.table).set_key(Some(key("there")));
    let check =
        check.condition_expression("attribute_exists(#item)").expression_attribute_names("#item", "item");
    let check = TransactWriteItem::builder().condition_check(check.build().unwrap()).build();
    let write = bench.client.transact_write_items().transact_items(check);
    write.transact_items(put(&bench.table, "new", 100)).send().await.unwrap();
    let taken = bench.meter.taken();
    assert!((taken.read_units + taken.write_units - 4.0).abs() < f64::EPSILON, "{taken:?}");
}

#[tokio::test]
async fn a_query_costs_what_it_reads_together_and_a_batch_each_item_alone() {
    let bench = bench().await;
    for name in ["a", "b", "c"] {
        bench.put(name, 1_000).await;
    }
    bench.meter.reset();

    let query = bench.client.query().table_name(&bench.table).consistent_read(true);
    let query = query.key_condition_expression("#user = :user").expression_attribute_names("#user", "user");
    query.expression_attribute_values(":user", text("ada")).send().await.unwrap();
    bench.assert_taken(&["Query"], 1.0, 0.0);

    let keys =
        KeysAndAttributes::builder().consistent_read(true).keys(key("a")).keys(key("b")).build().unwrap();
    bench.client.batch_get_item().request_items(&bench.table, keys).send().await.unwrap();
    bench.assert_taken(&["BatchGetItem"], 2.0, 0.0);
}
