use std::path::PathBuf;

use aws_config::BehaviorVersion;
use storage::keys::{KeyFileError, ServiceKeys};
use storage::tables::{self, MissingTables, Tables};
use storage::{Checkpoints, EventLog, ViewKeys, Views, WrappingKeys};

use crate::ReadModel;
use crate::replayer::Replayer;

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
        let (wrapping, views) = keys(&setting)?;
        Ok(Self { tables, wrapping, views })
    }

    /// The read model in these tables, reached with the region and credentials of the environment.
    pub async fn read_model(self) -> ReadModel {
        let sdk = aws_config::load_defaults(BehaviorVersion::latest()).await;
        ReadModel::new(&storage::client(&sdk), &self.tables, self.wrapping, self.views)
    }
}

/// The settings of the replayer, read once.
#[derive(Debug)]
pub struct ReplayerConfig {
    events: String,
    views: String,
    sessions: String,
    keys: (WrappingKeys, ViewKeys),
}

impl ReplayerConfig {
    /// The settings that `setting` finds: the names of the tables of events, views and sessions, in which checkpoints
    /// are kept, and `ANNALS_KEYS_FILE`, as for the projector.
    pub fn from_settings(setting: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let names = [tables::EVENTS, tables::VIEWS, tables::SESSIONS];
        let [events, views, sessions] = tables::named(names, &setting)?;
        Ok(Self { events, views, sessions, keys: keys(&setting)? })
    }

    /// The replayer of these tables, reached with the region and credentials of the environment.
    pub async fn replayer(self) -> Replayer {
        let client = storage::client(&aws_config::load_defaults(BehaviorVersion::latest()).await);
        let (wrapping, views) = self.keys;
        let checkpoints = Checkpoints::new(client.clone(), self.sessions, views.clone());
        let log = EventLog::new(client.clone(), self.events, wrapping);
        let model = ReadModel { log, views: Views::new(client, self.views, views) };
        Replayer { model, checkpoints }
    }
}

/// The keys that open commits and views, and no others.
fn keys(setting: impl Fn(&str) -> Option<String>) -> Result<(WrappingKeys, ViewKeys), ConfigError> {
    let path = setting(KEYS_FILE).filter(|path| !path.is_empty()).ok_or(ConfigError::NoKeys)?;
    let keys = ServiceKeys::open(&PathBuf::from(path))?;
    let wrapping = WrappingKeys::new(keys.deployment.clone(), keys.wrapping);
    Ok((wrapping, ViewKeys::new(keys.deployment, keys.views)))
}
