use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::meta::region::ProvideRegion as _;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::SharedCredentialsProvider;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

/// Region, credentials and endpoints as a function finds them: in its environment, where Lambda puts those of its role,
/// and nowhere else. No profile is read, no other role taken and no instance asked, so that nothing of that is compiled,
/// loaded or waited for. All clients made of it share their connections and one reading of the trusted roots.
pub async fn environment() -> SdkConfig {
    let credentials = EnvironmentVariableCredentialsProvider::new();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(EnvironmentVariableRegionProvider::new().region().await)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .use_fips(set("AWS_USE_FIPS_ENDPOINT"))
        .use_dual_stack(set("AWS_USE_DUALSTACK_ENDPOINT"))
        .service_config(Endpoints)
        .http_client(SharedHttpClient::new(Connections::default()))
        .build()
}

fn set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}

/// `AWS_ENDPOINT_URL_DYNAMODB` and the like, or `AWS_ENDPOINT_URL` for every service.
#[derive(Debug)]
struct Endpoints;

impl LoadServiceConfig for Endpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_ascii_uppercase().replace([' ', '-'], "_");
        let of_service = std::env::var(format!("{}_{service}", key.env()));
        of_service.or_else(|_| std::env::var(key.env())).ok()
    }
}

/// The SDK's own HTTP client, but made when a request needs it: the SDK makes each client one more when it is made
/// itself, to see that it can, and reads the trusted roots each time.
#[derive(Debug, Default)]
struct Connections(RwLock<HashMap<Limits, SharedHttpConnector>>);

/// How long connecting and reading may take.
type Limits = (Option<Duration>, Option<Duration>);

impl HttpClient for Connections {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let limits = (settings.connect_timeout(), settings.read_timeout());
        if let Some(made) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&limits) {
            return made.clone();
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let made =
            all.entry(limits).or_insert_with(|| SharedHttpConnector::new(connector(settings, components)));
        made.clone()
    }
}

fn connector(settings: &HttpConnectorSettings, components: &RuntimeComponents) -> Connector {
    let mut builder: ConnectorBuilder = Connector::builder();
    builder
        .set_connector_settings(Some(settings.clone()))
        .set_sleep_impl(components.sleep_impl())
        .set_proxy_config(Some(ProxyConfig::from_env()));
    builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build()
}
