use std::path::PathBuf;

use aws_config::BehaviorVersion;
use storage::keys::{KeyFileError, ServiceKeys};
use storage::tables::{MissingTables, Tables};
use storage::{ViewKeys, WrappingKeys};

use crate::ReadModel;

/// Where the service keys are.
const KEYS_FILE: &str = "ANNALS_KEYS_FILE";

/// The settings of the projector, read once.
#[derive(Debug)]
pub struct Config {
    tables: Tables,
    wrapping: WrappingKeys,
    views: ViewKeys,
}

/// Why the projector cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Names of tables are missing.
    #[error(transparent)]
    Tables(#[from] MissingTables),
    /// It is not said where the service keys are.
    #[error("not set: {KEYS_FILE}")]
    NoKeys,
    /// The service keys cannot be used.
    #[error("{KEYS_FILE}: {0}")]
    Keys(#[from] KeyFileError),
}

impl Config {
    /// The settings that `setting` finds: the names of the tables, and `ANNALS_KEYS_FILE`, the path of the file of
    /// service keys, of which only those that open commits and views are kept.
    pub fn from_settings(setting: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let tables = Tables::from_settings(&setting)?;
        let path = setting(KEYS_FILE).filter(|path| !path.is_empty()).ok_or(ConfigError::NoKeys)?;
        let keys = ServiceKeys::open(&PathBuf::from(path))?;
        Ok(Self {
            tables,
            wrapping: WrappingKeys::new(keys.deployment.clone(), keys.wrapping),
            views: ViewKeys::new(keys.deployment, keys.views),
        })
    }

    /// The read model in these tables, reached with the region and credentials of the environment.
    pub async fn read_model(self) -> ReadModel {
        let sdk = aws_config::load_defaults(BehaviorVersion::latest()).await;
        ReadModel::new(&storage::client(&sdk), &self.tables, self.wrapping, self.views)
    }
}
