use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::Config;
use aws_sdk_ssm::config::retry::RetryConfig;
use aws_sdk_ssm::config::timeout::TimeoutConfig;
use aws_sdk_ssm::error::SdkError;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::source::{KeyName, KeysError, Parts};

/// The most names one `GetParameters` takes.
const BATCH: usize = 10;

/// The Parameter Store, below one path.
#[derive(Clone)]
pub struct ParameterStore {
    config: Config,
    client: Client,
    prefix: String,
}

/// The Parameter Store did not do what was asked. The cause is for operators.
#[derive(Debug, thiserror::Error)]
#[error("the Parameter Store does not answer as it should")]
pub struct RequestFailed(#[source] Box<dyn Error + Send + Sync>);

impl<E: Error + Send + Sync + 'static, R: fmt::Debug + Send + Sync + 'static> From<SdkError<E, R>>
    for RequestFailed
{
    fn from(error: SdkError<E, R>) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Debug for ParameterStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParameterStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl ParameterStore {
    /// The parameters whose names begin with `prefix`.
    ///
    /// Many processes start and read at once. The store lets few through a second and tells the others, who try again
    /// after a time left to chance: the SDK's standard back-off.
    pub fn new(aws: &SdkConfig, prefix: String) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_attempt_timeout(Duration::from_secs(2))
            .operation_timeout(Duration::from_secs(8))
            .build();
        let config = aws_sdk_ssm::config::Builder::from(aws)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(6))
            .build();
        Self { client: Client::from_conf(config.clone()), config, prefix }
    }

    /// The parameters of these names, in as few requests as possible; those that are not there are left out.
    pub(super) async fn get(&self, names: &[&str]) -> Result<BTreeMap<String, Zeroizing<String>>, KeysError> {
        let mut found = BTreeMap::new();
        for batch in names.chunks(BATCH) {
            let names = batch.iter().map(|name| format!("{}{name}", self.prefix)).collect();
            let request = self.client.get_parameters().set_names(Some(names)).with_decryption(true);
            let answer = request.send().await.map_err(|error| self.failed(error))?;
            for parameter in answer.parameters.unwrap_or_default() {
                let name = parameter.name.as_deref().and_then(|name| name.strip_prefix(&self.prefix));
                if let (Some(name), Some(value)) = (name.map(str::to_owned), parameter.value) {
                    found.insert(name, Zeroizing::new(value));
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn read(&self, names: &[KeyName]) -> Result<Parts, KeysError> {
        let asked: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let found = self.get(&asked).await?;
        let missing: Vec<String> =
            asked.iter().filter(|name| !found.contains_key(**name)).map(|name| self.name(name)).collect();
        if !missing.is_empty() {
            return Err(KeysError::Missing(missing));
        }
        let mut parts = Parts::default();
        for name in names {
            let Some(value) = found.get(name.as_str()) else { continue };
            match name {
                KeyName::Deployment => parts.deployment = Some(self.parsed(*name, value)?),
                KeyName::Wrapping => parts.wrapping = Some(self.parsed(*name, value)?),
                KeyName::Verifiers => parts.verifiers = Some(self.parsed(*name, value)?),
                KeyName::Views => parts.views = Some(self.parsed(*name, value)?),
                KeyName::Identifiers => parts.identifiers = Some(self.parsed(*name, value)?),
                KeyName::Refresh => parts.refresh = Some(self.parsed(*name, value)?),
                KeyName::OneTime => parts.one_time = Some(self.parsed(*name, value)?),
                KeyName::Pepper => parts.pepper = Some(self.parsed(*name, value)?),
                KeyName::Signing => parts.signing = Some(self.parsed(*name, value)?),
                KeyName::Public => parts.public = Some(self.parsed(*name, value)?),
            }
        }
        Ok(parts)
    }

    /// Reads on a thread of its own, over a connection of its own: that of the process may need the thread that waits.
    pub(super) fn read_blocking(&self, names: &[KeyName]) -> Result<Parts, KeysError> {
        let read = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(KeysError::Thread)?.block_on(async {
                let mut config = self.config.to_builder();
                config.set_http_client(None);
                let client = Client::from_conf(config.build());
                Self { client, ..self.clone() }.read(names).await
            })
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("keys".to_owned()).spawn_scoped(scope, read);
            let panicked = || KeysError::Thread(std::io::Error::other("it broke"));
            thread.map_err(KeysError::Thread)?.join().map_err(|_| panicked())?
        })
    }

    fn parsed<T: DeserializeOwned>(&self, name: KeyName, text: &str) -> Result<T, KeysError> {
        serde_json::from_str(text)
            .map_err(|error| KeysError::Malformed(self.name(name.as_str()), error.into()))
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn failed(&self, error: impl Into<RequestFailed>) -> KeysError {
        KeysError::Request(self.prefix.clone(), error.into())
    }
}
