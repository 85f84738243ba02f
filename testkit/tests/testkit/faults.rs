use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::types::{AttributeValue, Delete, TransactWriteItem};
use testkit::{Engine, Fault};

fn key(name: &str) -> HashMap<String, AttributeValue> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    HashMap::from([("user".to_owned(), text("ada")), ("item".to_owned(), text(name))])
}

async fn put(client: &Client, table: &str, name: &str) -> Result<PutItemOutput, SdkError<PutItemError>> {
    client.put_item().table_name(table).set_item(Some(key(name))).send().await
}

#[tokio::test]
async fn a_request_takes_effect_or_not_as_its_fault_says_and_is_answered_as_it_says() {
    let engine = Engine::start().await;
    let (client, faults, meter) = engine.faulty();
    let table = engine.tables().await.events;
    for (fault, effect) in [
        (Fault::DropBefore, false),
        (Fault::DropAfter, true),
        (Fault::error(500, "InternalServerError"), false),
        (Fault::error_after(500, "InternalServerError"), true),
    ] {
        let name = format!("{fault:?}");
        faults.script("PutItem", 1, fault.clone());
        let error = put(&client, &table, &name).await.unwrap_err();
        let told = error.as_service_error().is_some_and(PutItemError::is_internal_server_error);
        assert_eq!(told, matches!(fault, Fault::Answer(..) | Fault::AnswerAfter(..)), "{error:?}");
        if !told {
            assert!(
                matches!(&error, SdkError::DispatchFailure(failure) if failure.is_timeout()),
                "{error:?}"
            );
        }
        let found = client.get_item().table_name(&table).set_key(Some(key(&name))).send().await.unwrap();
        assert_eq!(found.item.is_some(), effect, "{fault:?}");
    }
    assert_eq!(meter.taken().requests, ["PutItem", "GetItem"].repeat(4), "the SDK did not try again");
}

#[tokio::test]
async fn the_script_counts_the_requests_of_each_operation_from_now_on() {
    let engine = Engine::start().await;
    let (client, faults, _) = engine.faulty();
    let table = engine.tables().await.events;
    put(&client, &table, "before").await.unwrap();
    faults.script("PutItem", 2, Fault::DropBefore);
    faults.script("PutItem", 3, Fault::error(400, "ThrottlingException"));
    faults.script("GetItem", 1, Fault::DropBefore);
    put(&client, &table, "first").await.unwrap();
    assert_eq!(faults.outstanding(), 3);
    assert!(matches!(put(&client, &table, "second").await, Err(SdkError::DispatchFailure(_))));
    let third = put(&client, &table, "third").await.unwrap_err();
    assert!(third.as_service_error().is_some_and(PutItemError::is_throttling_exception));
    put(&client, &table, "fourth").await.unwrap();
    assert_eq!(faults.outstanding(), 1, "other operations are counted apart");
}

#[tokio::test]
async fn a_cancelled_transaction_gives_its_reasons() {
    let engine = Engine::start().await;
    let (client, faults, _) = engine.faulty();
    let table = engine.tables().await.events;
    faults.script("TransactWriteItems", 1, Fault::cancelled(&["None", "TransactionConflict"]));
    let delete = |name| {
        let delete = Delete::builder().table_name(&table).set_key(Some(key(name))).build().unwrap();
        TransactWriteItem::builder().delete(delete).build()
    };
    let write = client.transact_write_items().transact_items(delete("a")).transact_items(delete("b"));
    let error = write.send().await.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
        cancelled,
    ) = error
    else {
        panic!("{error:?}");
    };
    let codes: Vec<_> =
        cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap()).collect();
    assert_eq!(codes, ["None", "TransactionConflict"]);
}
