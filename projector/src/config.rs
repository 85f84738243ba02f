use aws_config::BehaviorVersion;
use chrono::{DateTime, Utc};
use storage::keys::{KeySetting, KeySettingError, KeysError};
use storage::tables::{MissingTables, Tables};

use crate::ReadModel;

/// The settings of the projector, read once.
#[derive(Debug)]
pub struct Config {
    tables: Tables,
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
    /// The settings that `setting` finds: the names of the tables, and where the service keys are (`ANNALS_KEYS_FILE` or
    /// `ANNALS_KEYS_PREFIX`).
    pub fn from_settings(setting: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let tables = Tables::from_settings(&setting)?;
        Ok(Self { tables, keys: KeySetting::from_settings(&setting)? })
    }

    /// The read model in these tables, reached with the region and credentials of the environment. Of the service keys
    /// only those that open commits and views are kept, and read again by this clock.
    pub async fn read_model(
        self,
        now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
    ) -> Result<ReadModel, ConfigError> {
        let sdk = aws_config::load_defaults(BehaviorVersion::latest()).await;
        let keys = self.keys.source(&sdk).open_for_projection(now).await;
        let keys = keys.map_err(|error| ConfigError::Keys(self.keys.name(), error))?;
        Ok(ReadModel::new(&storage::client(&sdk), &self.tables, keys.wrapping, keys.views))
    }
}
