use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use command_api::Clock;
use projector::ReadModel;
use projector::replay::Replay;
use storage::keys::{KeyFileError, KeySetting, KeySource, KeysError, LiveKeys, ServiceKeys};
use storage::tables::Tables;
use storage::{IdentifierKey, Identifiers, Lifetimes, SessionKeys, Sessions, ViewKeys, WrappingKeys};

use crate::account::{Account, AccountError};
use crate::cli::{DeploymentArgs, KEYS_FILE, PlaceArgs};
use crate::local::clients;
use crate::local::engine::{EngineError, LocalEngine};

/// A command that holds the data is done within this, or another gives up.
const FREE_WITHIN: Duration = Duration::from_secs(30);
/// Lies in the data folder from the beginning of a restore to its end.
const RESTORE_FILE: &str = "restore-unfinished";

/// A deployment: an engine, on this machine or not, its tables, and the keys to what is in them.
pub(crate) struct Place {
    pub client: Client,
    pub streams: aws_sdk_dynamodbstreams::Client,
    pub tables: Tables,
    pub keys: LiveKeys,
    /// The folder with everything that is kept besides tables.
    pub folder: PathBuf,
    /// The DynamoDB that holds the tables; `None` for the embedded one. Another may have tables of the same names.
    pub elsewhere: Option<String>,
    /// Where the keys are, for a person.
    keys_in: String,
    engine: Option<LocalEngine>,
    temporary: Option<tempfile::TempDir>,
}

/// Why there is nothing to work on.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The data folder cannot be used.
    #[error("cannot use the data folder {0}")]
    Folder(PathBuf, #[source] std::io::Error),
    /// There are data, and nothing to read them with: keys made now would not open them.
    #[error("the service keys of the data in {0} are missing; put {KEYS_FILE} back")]
    KeysMissing(PathBuf),
    /// The keys in the folder are those of other data.
    #[error("the service keys in {0} are those of another deployment: they do not open the data")]
    KeysOfOthers(String),
    /// Nothing that answers like a DynamoDB is there.
    #[error("no DynamoDB answers at {0}")]
    Endpoint(String, #[source] storage::Unavailable),
    /// The deployment in an AWS account cannot be worked on.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A restore has begun and has not ended: addresses may seem free that are not.
    #[error("a restore of the data in {0} was not finished; run `annals restore` again")]
    RestoreUnfinished(PathBuf),
    /// The data cannot be looked at.
    #[error(transparent)]
    Unavailable(#[from] storage::Unavailable),
    /// There are no data at this place.
    #[error("there is no data in {0}; `annals serve` makes some")]
    Nothing(PathBuf),
    /// The engine cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The service keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The tables cannot be created.
    #[error(transparent)]
    Tables(#[from] storage::tables::CreateTablesError),
}

impl Place {
    /// For a server: takes the data folder for itself, and makes keys and tables that are not there.
    pub(crate) async fn open(args: &PlaceArgs) -> Result<Self, PlaceError> {
        make_folder(&args.data)?;
        let keys_file = args.data.join(KEYS_FILE);
        if LocalEngine::has_data(&args.data) && !keys_file.exists() {
            return Err(PlaceError::KeysMissing(args.data.clone()));
        }
        ServiceKeys::open_or_create(&keys_file).map_err(KeysError::File)?;
        let keys = keys_in(keys_file).await?;
        let place = match &args.endpoint {
            None => Self::local(LocalEngine::open(&args.data).await?, keys, &args.data),
            Some(endpoint) => {
                let place = Self::remote(endpoint, keys, &args.data).await?;
                place.tables.create(&place.client).await?;
                place
            }
        };
        // Looked for when the folder is held: a restore that was under way a moment ago may have been killed.
        if args.data.join(RESTORE_FILE).exists() {
            place.close().await;
            return Err(PlaceError::RestoreUnfinished(args.data.clone()));
        }
        place.with_its_own_keys().await
    }

    /// For a server that keeps nothing.
    pub(crate) async fn in_memory() -> Result<Self, PlaceError> {
        let temporary =
            tempfile::tempdir().map_err(|error| PlaceError::Folder(std::env::temp_dir(), error))?;
        let keys = ServiceKeys::random().map_err(|_| KeysError::File(KeyFileError::NoRandomness))?;
        let mut place = Self::local(LocalEngine::memory().await?, (&keys).into(), temporary.path());
        place.temporary = Some(temporary);
        Ok(place)
    }

    /// For an operator: beside a running server, or on the data it left. Makes neither keys nor data; while another
    /// command holds the data, waits for its end, and says so on standard error.
    pub(crate) async fn attach(args: &DeploymentArgs) -> Result<Self, PlaceError> {
        match Account::named(&args.account, &args.place.data).await? {
            Some(account) => Self::in_account(account).await,
            None => Self::attach_here(&args.place).await,
        }
    }

    async fn in_account(account: Account) -> Result<Self, PlaceError> {
        let Account { tables, keys, sdk, folder, place } = account;
        let clock = Clock::system();
        let keys_in = match &keys {
            KeySetting::File(path) => path.display().to_string(),
            KeySetting::Prefix(prefix) => prefix.clone(),
        };
        let keys = keys.source(&sdk).open(move || clock.now()).await?;
        make_folder(&folder)?;
        let place = Self {
            client: Client::new(&sdk),
            streams: aws_sdk_dynamodbstreams::Client::new(&sdk),
            tables,
            keys,
            folder,
            elsewhere: Some(place),
            keys_in,
            engine: None,
            temporary: None,
        };
        place.with_its_own_keys().await
    }

    async fn attach_here(args: &PlaceArgs) -> Result<Self, PlaceError> {
        let keys_file = args.data.join(KEYS_FILE);
        match (keys_file.exists(), LocalEngine::has_data(&args.data)) {
            (false, true) => return Err(PlaceError::KeysMissing(args.data.clone())),
            (true, true) => {}
            // Keys alone are those of a server with its data at another endpoint, or of one that never got to start.
            (true, false) if args.endpoint.is_some() => {}
            (_, false) => return Err(PlaceError::Nothing(args.data.clone())),
        }
        let keys = keys_in(keys_file).await?;
        let place = match &args.endpoint {
            None => {
                let waiting = || {
                    eprintln!(
                        "annals: waiting for the process that uses the data in {}",
                        args.data.display()
                    );
                };
                let engine = LocalEngine::attach_or_open(&args.data, FREE_WITHIN, waiting).await?;
                Self::local(engine, keys, &args.data)
            }
            Some(endpoint) => Self::remote(endpoint, keys, &args.data).await?,
        };
        place.with_its_own_keys().await
    }

    /// Makes sure that these keys are not those of other data: with them every user would be unknown, and every address
    /// free to be taken a second time.
    async fn with_its_own_keys(self) -> Result<Self, PlaceError> {
        let fitting = self.read_model().log.knows_its_keys().await;
        match fitting {
            Ok(true) => Ok(self),
            Ok(false) => {
                let keys_in = self.keys_in.clone();
                self.close().await;
                Err(PlaceError::KeysOfOthers(keys_in))
            }
            Err(error) => {
                self.close().await;
                Err(error.into())
            }
        }
    }

    fn local(engine: LocalEngine, keys: LiveKeys, folder: &Path) -> Self {
        Self {
            client: engine.client(),
            streams: engine.streams_client(),
            tables: engine.tables(),
            keys,
            folder: folder.to_owned(),
            elsewhere: None,
            keys_in: folder.display().to_string(),
            engine: Some(engine),
            temporary: None,
        }
    }

    async fn remote(endpoint: &str, keys: LiveKeys, folder: &Path) -> Result<Self, PlaceError> {
        let client = clients::tables(endpoint);
        let answer = client.list_tables().limit(1).send().await;
        answer.map_err(|error| PlaceError::Endpoint(endpoint.to_owned(), error.into()))?;
        Ok(Self {
            client,
            streams: clients::streams(endpoint),
            tables: Tables::prefixed("annals"),
            keys,
            folder: folder.to_owned(),
            elsewhere: Some(endpoint.to_owned()),
            keys_in: folder.display().to_string(),
            engine: None,
            temporary: None,
        })
    }

    /// From now on no server opens this data, until the restore has ended.
    pub(crate) fn restore_begins(&self) -> std::io::Result<()> {
        std::fs::File::create(self.folder.join(RESTORE_FILE))?.sync_all()
    }

    /// The restore has come to its end: servers may open the data again.
    pub(crate) fn restore_ended(&self) -> std::io::Result<()> {
        std::fs::remove_file(self.folder.join(RESTORE_FILE))
    }

    /// Whether a server runs the embedded engine of this data, and this process is beside it. Of another DynamoDB
    /// nobody can tell.
    pub(crate) fn is_beside_a_server(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| !engine.is_own())
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

    /// The sessions.
    pub(crate) fn sessions(&self) -> Sessions {
        let keys = SessionKeys::new(self.keys.deployment.clone(), self.keys.refresh.clone());
        Sessions::new(self.client.clone(), self.tables.sessions.clone(), keys, Lifetimes::default())
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

/// Makes a folder that only its owner can look into, if it is not there.
fn make_folder(path: &Path) -> Result<(), PlaceError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| PlaceError::Folder(path.to_owned(), error))
}

/// The keys in this file, read again while they are in use.
async fn keys_in(path: PathBuf) -> Result<LiveKeys, KeysError> {
    let clock = Clock::system();
    KeySource::File(path).open(move || clock.now()).await
}
