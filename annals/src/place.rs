use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use aws_sdk_dynamodb::Client;
use projector::ReadModel;
use projector::replay::Replay;
use storage::keys::{KeyFileError, ServiceKeys};
use storage::tables::Tables;
use storage::{IdentifierKey, Identifiers, ViewKeys, WrappingKeys};

use crate::cli::PlaceArgs;
use crate::local::clients;
use crate::local::engine::{EngineError, LocalEngine};

/// The service keys, in the data folder.
const KEYS_FILE: &str = "service-keys.json";

/// A deployment on this machine: an engine, its tables, and the keys to what is in them.
pub(crate) struct Place {
    pub client: Client,
    pub streams: aws_sdk_dynamodbstreams::Client,
    pub tables: Tables,
    pub keys: ServiceKeys,
    /// The folder with everything that is kept besides tables.
    pub folder: PathBuf,
    engine: Option<LocalEngine>,
    temporary: Option<tempfile::TempDir>,
}

/// Why there is nothing to work on.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The data folder cannot be used.
    #[error("cannot use the data folder {0}")]
    Folder(PathBuf, #[source] std::io::Error),
    /// There are no data at this place.
    #[error("there is no data in {0}; `annals serve` makes some")]
    Nothing(PathBuf),
    /// The engine cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The service keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The tables cannot be created.
    #[error(transparent)]
    Tables(#[from] storage::tables::CreateTablesError),
}

impl Place {
    /// For a server: takes the data folder for itself, and makes keys and tables that are not there.
    pub(crate) async fn open(args: &PlaceArgs) -> Result<Self, PlaceError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&args.data)
            .map_err(|error| PlaceError::Folder(args.data.clone(), error))?;
        let keys = ServiceKeys::open_or_create(&args.data.join(KEYS_FILE))?;
        match &args.endpoint {
            None => Ok(Self::local(LocalEngine::open(&args.data).await?, keys, &args.data)),
            Some(endpoint) => {
                let place = Self::remote(endpoint, keys, &args.data);
                place.tables.create(&place.client).await?;
                Ok(place)
            }
        }
    }

    /// For a server that keeps nothing.
    pub(crate) async fn in_memory() -> Result<Self, PlaceError> {
        let temporary =
            tempfile::tempdir().map_err(|error| PlaceError::Folder(std::env::temp_dir(), error))?;
        let keys = ServiceKeys::random().map_err(|_| KeyFileError::NoRandomness)?;
        let mut place = Self::local(LocalEngine::memory().await?, keys, temporary.path());
        place.temporary = Some(temporary);
        Ok(place)
    }

    /// For an operator: beside a running server, or on the data it left. Makes nothing.
    pub(crate) async fn attach(args: &PlaceArgs) -> Result<Self, PlaceError> {
        let keys_file = args.data.join(KEYS_FILE);
        if !keys_file.exists() {
            return Err(PlaceError::Nothing(args.data.clone()));
        }
        let keys = ServiceKeys::open(&keys_file)?;
        match &args.endpoint {
            None => Ok(Self::local(LocalEngine::attach_or_open(&args.data).await?, keys, &args.data)),
            Some(endpoint) => Ok(Self::remote(endpoint, keys, &args.data)),
        }
    }

    fn local(engine: LocalEngine, keys: ServiceKeys, folder: &Path) -> Self {
        Self {
            client: engine.client(),
            streams: engine.streams_client(),
            tables: engine.tables(),
            keys,
            folder: folder.to_owned(),
            engine: Some(engine),
            temporary: None,
        }
    }

    fn remote(endpoint: &str, keys: ServiceKeys, folder: &Path) -> Self {
        Self {
            client: clients::tables(endpoint),
            streams: clients::streams(endpoint),
            tables: Tables::prefixed("annals"),
            keys,
            folder: folder.to_owned(),
            engine: None,
            temporary: None,
        }
    }

    /// A run over every user's log.
    pub(crate) fn replay(&self) -> Replay {
        Replay::of(self.read_model())
    }

    /// The log and the views, with the keys to them.
    pub(crate) fn read_model(&self) -> ReadModel {
        let deployment = || self.keys.deployment.clone();
        let wrapping = WrappingKeys::new(deployment(), self.keys.wrapping.clone());
        let views = ViewKeys::new(deployment(), self.keys.views.clone());
        ReadModel::new(&self.client, &self.tables, wrapping, views)
    }

    /// The identifiers.
    pub(crate) fn identifiers(&self) -> Identifiers {
        let key = IdentifierKey::new(self.keys.deployment.clone(), self.keys.identifiers.clone());
        Identifiers::new(self.client.clone(), self.tables.identifiers.clone(), key)
    }

    /// Closes the data, if this process holds them, and deletes them, if nothing is to be kept.
    pub(crate) async fn close(self) {
        if let Some(engine) = self.engine {
            engine.stop().await;
        }
        if let Some(Err(error)) = self.temporary.map(tempfile::TempDir::close) {
            tracing::warn!(%error, "a temporary folder is left behind");
        }
    }
}
