//! A function as one begins it: a client made at the start, one item read for each event.

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let table = std::env::var("ANNALS_VIEWS_TABLE")?;
    let client = Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await);
    let (client, table) = (&client, &table);
    run(service_fn(|_: LambdaEvent<Value>| async move {
        let user = AttributeValue::S("nobody".to_owned());
        let found = client.get_item().table_name(table).key("user", user).send().await?;
        Ok::<_, Error>(json!({ "found": found.item.is_some() }))
    }))
    .await
}
