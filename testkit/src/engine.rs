use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Credentials, Region};
use storage::tables::Tables;
use tokio::sync::oneshot;

use crate::{Faults, Meter};

/// Names the DynamoDB endpoint that the tests use instead of the embedded engine.
const ENDPOINT_SETTING: &str = "ANNALS_TEST_ENDPOINT";

/// A DynamoDB engine for one test. The embedded one lives in memory and ends with this value.
#[derive(Debug)]
pub struct Engine {
    endpoint: String,
    /// Dropping it stops the embedded engine; absent for an engine that somebody else runs.
    _running: Option<oneshot::Sender<()>>,
}

impl Engine {
    /// Starts an empty engine in this process, or takes the one that `ANNALS_TEST_ENDPOINT` names.
    pub async fn start() -> Self {
        if let Ok(endpoint) = std::env::var(ENDPOINT_SETTING) {
            return Self { endpoint, _running: None };
        }
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let database = dynoxide::Database::memory().expect("an engine in memory");
        let (running, stopped) = oneshot::channel::<()>();
        tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, async {
            // An error says that the sender was dropped, which is how a test ends.
            let _ = stopped.await;
        }));
        Self { endpoint: format!("http://{address}"), _running: Some(running) }
    }

    /// Whether the tests use an engine that somebody else runs.
    pub fn is_elsewhere() -> bool {
        std::env::var_os(ENDPOINT_SETTING).is_some()
    }

    /// The engine's address, such as `http://127.0.0.1:40123`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A client with a retry quota of its own.
    pub fn client(&self) -> Client {
        Client::from_conf(self.settings().build())
    }

    /// A client whose requests and units the meter counts.
    pub fn metered(&self) -> (Client, Meter) {
        let meter = Meter::default();
        let settings = storage::counted(self.settings().interceptor(meter.clone()));
        (Client::from_conf(settings.build()), meter)
    }

    /// A client between which and the engine things go wrong as the script says. The SDK does not try again by itself,
    /// so that every fault reaches the code under test.
    pub fn faulty(&self) -> (Client, Faults, Meter) {
        let (faults, meter) = (Faults::default(), Meter::default());
        let settings = self.settings().http_client(faults.clone()).interceptor(meter.clone());
        let settings = storage::counted(settings);
        (Client::from_conf(settings.retry_config(RetryConfig::disabled()).build()), faults, meter)
    }

    /// A client of the engine's streams.
    pub fn streams_client(&self) -> aws_sdk_dynamodbstreams::Client {
        aws_sdk_dynamodbstreams::Client::from_conf(
            aws_sdk_dynamodbstreams::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(region())
                .credentials_provider(credentials())
                .endpoint_url(&self.endpoint)
                .retry_config(retries())
                .retry_partition(retry_partition())
                .timeout_config(timeouts())
                .build(),
        )
    }

    /// New tables of this test's own.
    pub async fn tables(&self) -> Tables {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).expect("random numbers");
        let tables = Tables::prefixed(&format!("test-{}", uuid::Uuid::from_bytes(random).simple()));
        tables.create(&self.client()).await.expect("new tables");
        tables
    }

    /// What every client of the engine is made from, for a test that adds an interceptor or an HTTP client.
    pub fn settings(&self) -> Builder {
        aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region())
            .credentials_provider(credentials())
            .endpoint_url(&self.endpoint)
            .retry_config(retries())
            .retry_partition(retry_partition())
            .timeout_config(timeouts())
    }
}

fn region() -> Region {
    Region::from_static("us-east-1")
}

fn credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "testkit")
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_initial_backoff(Duration::from_millis(5))
}

/// The quota of retries is shared by name, so each client gets a name.
fn retry_partition() -> RetryPartition {
    static CLIENTS: AtomicUsize = AtomicUsize::new(0);
    RetryPartition::new(format!("test-{}", CLIENTS.fetch_add(1, Ordering::Relaxed)))
}

/// More patient than in production: a busy build machine must not look like a lost answer.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(10))
        .operation_timeout(Duration::from_secs(30))
        .build()
}
