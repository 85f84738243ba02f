use std::sync::atomic::{AtomicUsize, Ordering};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};

use super::Storm;

impl Storm {
    /// A client as in production, with the same limits and retries, but for a quota of retries of its own.
    pub fn client(&self) -> Client {
        static CLIENTS: AtomicUsize = AtomicUsize::new(0);
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "test", "test", None, None, "testkit",
            )))
            .endpoint_url("http://engine.invalid")
            .http_client(self.clone())
            .build();
        let quota = RetryPartition::new(format!("storm-{}", CLIENTS.fetch_add(1, Ordering::Relaxed)));
        let config = storage::client(&config).config().to_builder().retry_partition(quota);
        Client::from_conf(config.build())
    }

    /// The same without retries by the SDK, so that every mishap reaches the code under test.
    pub fn bare_client(&self) -> Client {
        let config = self.client().config().to_builder();
        Client::from_conf(config.retry_config(RetryConfig::disabled()).build())
    }
}
