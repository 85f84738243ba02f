use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use uuid::Uuid;

use crate::error::Unavailable;
use crate::usage::counted;

/// A transaction may take longer than anything else, and its outcome matters most.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(7);

/// A connection that is not there by then is tried again. The same for all clients, so that they share what TLS needs.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A client of DynamoDB for requests that somebody waits for: short limits, and few, quick retries;
/// [`crate::usage_of`] counts them.
pub fn client(config: &SdkConfig) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(Duration::from_millis(1_500))
        .operation_timeout(Duration::from_secs(4))
        .build();
    let retries = RetryConfig::standard().with_initial_backoff(Duration::from_millis(30));
    let settings =
        aws_sdk_dynamodb::config::Builder::from(config).timeout_config(timeouts).retry_config(retries);
    Client::from_conf(counted(settings).build())
}

/// Opens the connection that the first request would otherwise wait for, by looking for nobody in the table of views. Whether it works
/// at all, that request will see.
pub async fn warm(client: &Client, views: &str) {
    let nobody = AttributeValue::S(Uuid::nil().to_string());
    if let Err(error) = client.get_item().table_name(views).key("user", nobody).send().await {
        let error = Unavailable::from(error);
        tracing::warn!(%error, "the connection to the database could not be warmed");
    }
}
