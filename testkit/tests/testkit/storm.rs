use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, Put, TransactWriteItem};
use storage::tables::Tables;
use testkit::{InProcess, Mishap, Storm, Weather};

/// An engine with tables, the way to it, and a client that does not try again.
struct Sea {
    storm: Storm,
    tables: Tables,
    client: Client,
}

impl Sea {
    async fn new() -> Self {
        let storm = Storm::around(InProcess::start(), 7);
        let client = storm.bare_client();
        let tables = Tables::prefixed("sea");
        tables.create(&client).await.unwrap();
        Self { storm, tables, client }
    }

    /// Writes this into the one view; the code of the error, empty if no answer came.
    async fn put(&self, version: usize) -> Result<(), String> {
        let put = self.client.put_item().table_name(&self.tables.views);
        let put = put.item("user", AttributeValue::S("ada".into()));
        let put = put.item("version", AttributeValue::N(version.to_string()));
        let sent = put.send().await;
        sent.map(|_| ()).map_err(|error| error.code().unwrap_or_default().to_owned())
    }

    async fn get(&self, consistent: bool) -> Option<usize> {
        let get = self.client.get_item().table_name(&self.tables.views).consistent_read(consistent);
        let answer = get.key("user", AttributeValue::S("ada".into())).send().await.unwrap();
        Some(answer.item?["version"].as_n().unwrap().parse().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn each_mishap_has_the_effect_it_says() {
    let sea = Sea::new().await;
    for (mishap, code, happens, later) in [
        (Mishap::Throttled, "ThrottlingException", false, false),
        (Mishap::OverCapacity, "ProvisionedThroughputExceededException", false, false),
        (Mishap::Conflict, "TransactionConflictException", false, false),
        (Mishap::ErrorBefore, "InternalServerError", false, false),
        (Mishap::ErrorAfter, "InternalServerError", true, true),
        (Mishap::LostBefore, "", false, false),
        (Mishap::LostAfter, "", true, true),
        (Mishap::Late, "", false, true),
    ] {
        sea.put(0).await.unwrap();
        sea.storm.rages(Weather::only(mishap, 1.0));
        assert_eq!(sea.put(1).await, Err(code.to_owned()), "{mishap:?}");
        sea.storm.rages(Weather::CALM);
        let at_once = sea.get(true).await;
        sea.storm.abates().await;
        let at_last = sea.get(true).await;
        if mishap != Mishap::Late {
            assert_eq!(at_once, Some(usize::from(happens)), "{mishap:?}");
        }
        assert_eq!(at_last, Some(usize::from(later)), "{mishap:?}");
        assert_eq!(sea.storm.met()[&mishap], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_in_conflict_is_cancelled_for_one_of_its_items() {
    let sea = Sea::new().await;
    sea.storm.rages(Weather::only(Mishap::Conflict, 1.0));
    let puts = ["ada", "bob"].map(|user| {
        let put = Put::builder().table_name(&sea.tables.views).item("user", AttributeValue::S(user.into()));
        TransactWriteItem::builder().put(put.build().unwrap()).build()
    });
    let sent = sea.client.transact_write_items().set_transact_items(Some(puts.into())).send().await;
    let error = sent.unwrap_err().into_service_error();
    assert!(error.is_transaction_canceled_exception(), "{error:?}");
    assert_eq!(sea.get(true).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_eventual_read_may_be_late_and_a_consistent_one_never_is() {
    let sea = Sea::new().await;
    sea.storm.rages(Weather::only(Mishap::Stale, 0.5));
    let mut seen = [0; 2];
    for version in 1..=50 {
        sea.put(version).await.unwrap();
        assert_eq!(sea.get(true).await, Some(version));
        let read = sea.get(false).await.unwrap_or_default();
        assert!((version.saturating_sub(4)..=version).contains(&read), "{read} was not lately there");
        seen[usize::from(read == version)] += 1;

        let keys = KeysAndAttributes::builder().consistent_read(version % 2 == 0);
        let keys = keys.keys([("user".to_owned(), AttributeValue::S("ada".into()))].into()).build().unwrap();
        let batch = sea.client.batch_get_item().request_items(&sea.tables.views, keys).send().await.unwrap();
        let items = &batch.responses.unwrap()[&sea.tables.views];
        let read = items.first().map_or(0, |item| item["version"].as_n().unwrap().parse().unwrap());
        assert!((version.saturating_sub(4)..=version).contains(&read));
        assert!(version % 2 == 1 || read == version, "a consistent batch was late");
    }
    assert!(seen.into_iter().all(|times| times > 5), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_batch_leaves_unprocessed_is_named_and_not_answered() {
    let sea = Sea::new().await;
    sea.put(3).await.unwrap();
    sea.storm.rages(Weather::only(Mishap::Unprocessed, 1.0));
    let mut met = [0; 2];
    for _ in 0..20 {
        let keys = KeysAndAttributes::builder().consistent_read(true);
        let keys = keys.keys([("user".to_owned(), AttributeValue::S("ada".into()))].into()).build().unwrap();
        let batch = sea.client.batch_get_item().request_items(&sea.tables.views, keys).send().await.unwrap();
        let answered = batch.responses.unwrap_or_default().get(&sea.tables.views).map_or(0, Vec::len);
        let left = batch.unprocessed_keys.unwrap_or_default();
        assert_eq!(answered + left.get(&sea.tables.views).map_or(0, |left| left.keys.len()), 1);
        met[answered] += 1;
    }
    assert!(met.into_iter().all(|times| times > 3), "{met:?}");
}
