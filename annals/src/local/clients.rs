//! Clients of a DynamoDB endpoint that checks no credentials.

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};

/// A client of the tables at this endpoint.
pub fn tables(endpoint: &str) -> aws_sdk_dynamodb::Client {
    let settings = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(region())
        .credentials_provider(credentials())
        .endpoint_url(endpoint)
        .retry_config(retries())
        .timeout_config(timeouts());
    aws_sdk_dynamodb::Client::from_conf(storage::counted(settings).build())
}

/// A client of the streams at this endpoint.
pub fn streams(endpoint: &str) -> aws_sdk_dynamodbstreams::Client {
    aws_sdk_dynamodbstreams::Client::from_conf(
        aws_sdk_dynamodbstreams::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region())
            .credentials_provider(credentials())
            .endpoint_url(endpoint)
            .retry_config(retries())
            .timeout_config(timeouts())
            .build(),
    )
}

fn region() -> Region {
    Region::from_static("us-east-1")
}

fn credentials() -> Credentials {
    Credentials::new("annals", "annals", None, None, "local")
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_initial_backoff(Duration::from_millis(25))
}

/// An operation has time for its retries; a transaction, which AWS may take seconds to answer, has it too.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(500))
        .operation_attempt_timeout(Duration::from_secs(7))
        .operation_timeout(Duration::from_secs(15))
        .build()
}
