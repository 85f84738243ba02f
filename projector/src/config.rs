use aws_config::SdkConfig;
use chrono::{DateTime, Utc};
use storage::keys::{KeySetting, KeySettingError, KeysError, ProjectionKeys};
use storage::tables::{self, MissingTables};
use storage::{Checkpoints, EventLog, Views};

use crate::ReadModel;
use crate::replayer::Replayer;

/// The settings of the projector, read once.
#[derive(Debug)]
pub struct Config {
    events: String,
    views: String,
    keys: KeySetting,
}

/// Why the projector cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Names of tables are missing.
    #[error(transparent)]
    Tables(#[from] MissingTables),
    /// It is not said where the service keys are.
    #[error(transparent)]
    NoKeys(#[from] KeySettingError),
    /// The service keys cannot be used.
    #[error("{0}: {1}")]
    Keys(&'static str, #[source] KeysError),
}

impl Config {
    /// The settings that `setting` finds: the names of the tables of events and views, and where the service keys are
    /// (`ANNALS_KEYS_FILE` or `ANNALS_KEYS_PREFIX`).
    pub fn from_settings(setting: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let [events, views] = tables::named([tables::EVENTS, tables::VIEWS], &setting)?;
        Ok(Self { events, views, keys: KeySetting::from_settings(&setting)? })
    }

    /// The read model in these tables, reached with the region and credentials of the environment. Of the service keys
    /// only those that open commits and views are kept, and read again by this clock. The connection to DynamoDB is opened,
    /// so that the first batch does not wait for it.
    pub async fn read_model(
        self,
        now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
    ) -> Result<ReadModel, ConfigError> {
        let sdk = storage::environment().await;
        let client = storage::client(&sdk);
        let keys = opened(&self.keys, &sdk, now);
        let (keys, ()) = tokio::join!(keys, storage::warm(&client, &self.views));
        let keys = keys?;
        let log = EventLog::new(client.clone(), self.events, keys.wrapping);
        Ok(ReadModel { log, views: Views::new(client, self.views, keys.views) })
    }
}

/// The settings of the replayer, read once.
#[derive(Debug)]
pub struct ReplayerConfig {
    events: String,
    views: String,
    sessions: String,
    keys: KeySetting,
}

impl ReplayerConfig {
    /// The settings that `setting` finds: the names of the tables of events, views and sessions, in which checkpoints
    /// are kept, and where the service keys are, as for the projector.
    pub fn from_settings(setting: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let names = [tables::EVENTS, tables::VIEWS, tables::SESSIONS];
        let [events, views, sessions] = tables::named(names, &setting)?;
        Ok(Self { events, views, sessions, keys: KeySetting::from_settings(&setting)? })
    }

    /// The replayer of these tables, reached with the region and credentials of the environment, with the same keys as
    /// the projector.
    pub async fn replayer(
        self,
        now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
    ) -> Result<Replayer, ConfigError> {
        let sdk = storage::environment().await;
        let client = storage::client(&sdk);
        let keys = opened(&self.keys, &sdk, now);
        let (keys, ()) = tokio::join!(keys, storage::warm(&client, &self.views));
        let keys = keys?;
        let checkpoints = Checkpoints::new(client.clone(), self.sessions, keys.views.clone());
        let log = EventLog::new(client.clone(), self.events, keys.wrapping);
        let model = ReadModel { log, views: Views::new(client, self.views, keys.views) };
        Ok(Replayer { model, checkpoints })
    }
}

async fn opened(
    keys: &KeySetting,
    sdk: &SdkConfig,
    now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
) -> Result<ProjectionKeys, ConfigError> {
    let opened = keys.source(sdk).open_for_projection(now).await;
    opened.map_err(|error| ConfigError::Keys(keys.name(), error))
}
