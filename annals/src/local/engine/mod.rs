//! The embedded DynamoDB engine, with its data in a folder that one process at a time may hold.
//!
//! The engine checks neither signatures nor the `Host`, and answers every web page with `Access-Control-Allow-Origin: *`:
//! a page in the developer's browser that knew its address could read and write the tables. See `address::listen`.

mod address;
mod founding;
mod records;

use std::fs::{File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dynoxide::Database;
use storage::tables::{CreateTablesError, Tables};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::local::clients;

/// The tables of the local stack are named `annals-events` and so on.
const PREFIX: &str = "annals";
/// The engine's data file in the data folder.
const DATA_FILE: &str = "dynamodb.sqlite";
/// Locked by the process that holds the data folder. The lock ends with the process, however that ends.
const LOCK_FILE: &str = "lock";
/// How often expired items and old stream records are removed.
const HOUSEKEEPING: Duration = Duration::from_mins(1);
/// Stream records live this long, as on AWS.
const RECORDS_LIVE: Duration = Duration::from_hours(24);
/// A server that starts or ends, and a command with little to do, are done with the data sooner than this.
const TELLS_AFTER: Duration = Duration::from_secs(1);
/// Between two tries to reach or to replace the process that holds the data.
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// How long requests under way may take when the engine stops.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Why the engine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The data folder, or a file in it, cannot be made, read or written.
    #[error("cannot use the data folder {0}")]
    Folder(PathBuf, #[source] std::io::Error),
    /// Another process holds the data folder.
    #[error("the data in {0} is in use by another process")]
    DataInUse(PathBuf),
    /// The data file is damaged, of a newer version, or something else.
    #[error("cannot open the data in {0}")]
    Data(PathBuf, #[source] Box<dynoxide::DynoxideError>),
    /// The data file cannot be prepared or tidied.
    #[error("cannot prepare the data in {0}")]
    Prepare(PathBuf, #[source] rusqlite::Error),
    /// No loopback address is to be had.
    #[error("cannot listen on a loopback address")]
    Listen(#[source] std::io::Error),
    /// The tables do not exist and cannot be created.
    #[error(transparent)]
    Tables(#[from] CreateTablesError),
}

/// What a round of housekeeping removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Items whose time to live had passed.
    pub expired_items: usize,
    /// Stream records older than 24 hours.
    pub old_records: usize,
}

/// The engine of a data folder: run by this process, or by the server that was found to hold the folder.
#[derive(Debug)]
pub struct LocalEngine {
    endpoint: String,
    own: Option<Own>,
}

/// What belongs to an engine that this process runs.
#[derive(Debug)]
struct Own {
    housekeeper: Housekeeper,
    stop: watch::Sender<()>,
    server: JoinHandle<()>,
    sweeper: JoinHandle<()>,
    // Below in this order, as they are dropped in it: no other process may take the folder while it is in use.
    folder: PathBuf,
    _lock: File,
    _temporary: Option<tempfile::TempDir>,
}

/// Removes what the engine leaves lying. Clones tidy the same data.
#[derive(Clone)]
struct Housekeeper {
    database: Database,
    file: PathBuf,
}

impl std::fmt::Debug for Housekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Housekeeper").field(&self.file).finish()
    }
}

impl LocalEngine {
    /// Whether an engine has ever run on this folder.
    pub fn has_data(data: &Path) -> bool {
        data.join(DATA_FILE).exists()
    }

    /// Runs the engine on the data in this folder, which is made if there is none, and creates the tables.
    pub async fn open(data: &Path) -> Result<Self, EngineError> {
        let lock = lock(data)?.ok_or_else(|| EngineError::DataInUse(data.to_owned()))?;
        Self::run(data, lock, None).await?.announced(data)
    }

    /// Runs the engine on an empty folder of its own, which goes with it.
    pub async fn memory() -> Result<Self, EngineError> {
        let temporary = tempfile::Builder::new()
            .prefix("annals-")
            .tempdir()
            .map_err(|error| EngineError::Folder(std::env::temp_dir(), error))?;
        let data = temporary.path().to_owned();
        let lock = lock(&data)?.ok_or_else(|| EngineError::DataInUse(data.clone()))?;
        Self::run(&data, lock, Some(temporary)).await?.announced(&data)
    }

    /// The engine that a running server has on this folder; without one, runs the engine here, for this process alone.
    ///
    /// The lock alone tells whether there is a server: an address left behind by a killed one is not believed. A process
    /// that holds the data and announces no engine, such as another command, is waited for; `waiting` is called once if
    /// that takes longer than a second, and after `within` the data are [`EngineError::DataInUse`].
    pub async fn attach_or_open(
        data: &Path,
        within: Duration,
        waiting: impl FnOnce(),
    ) -> Result<Self, EngineError> {
        let began = tokio::time::Instant::now();
        let mut waiting = Some(waiting);
        loop {
            if let Some(lock) = lock(data)? {
                return Self::run(data, lock, None).await;
            }
            if let Some(endpoint) = address::answering(data).await {
                return Ok(Self { endpoint, own: None });
            }
            if began.elapsed() >= within {
                return Err(EngineError::DataInUse(data.to_owned()));
            }
            if began.elapsed() >= TELLS_AFTER
                && let Some(waiting) = waiting.take()
            {
                waiting();
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn run(data: &Path, lock: File, temporary: Option<tempfile::TempDir>) -> Result<Self, EngineError> {
        // The last server may have been killed; until this one announces itself there is nobody to talk to.
        address::withdraw(data);
        let file = data.join(DATA_FILE);
        // Data that go with this process need not outlive a kill.
        if temporary.is_none() && !file.exists() {
            founding::found(data, &file).await?;
        }
        let database = Database::new(&file.to_string_lossy())
            .map_err(|error| EngineError::Data(data.to_owned(), Box::new(error)))?;
        records::index(&file).map_err(|error| EngineError::Prepare(data.to_owned(), error))?;

        let listener = address::listen().await.map_err(EngineError::Listen)?;
        let address = listener.local_addr().map_err(EngineError::Listen)?;
        let endpoint = format!("http://{address}");
        let housekeeper = Housekeeper { database: database.clone(), file };
        let (stop, stopped) = watch::channel(());
        let engine = Self {
            endpoint,
            own: Some(Own {
                server: tokio::spawn(serve(listener, database, stopped.clone())),
                sweeper: tokio::spawn(housekeeper.clone().run(stopped)),
                housekeeper,
                stop,
                folder: data.to_owned(),
                _lock: lock,
                _temporary: temporary,
            }),
        };
        let tables = engine.tables();
        tables.create(&engine.client()).await?;
        if let Some(own) = &engine.own {
            // The log is scanned in segments, and nothing else is.
            records::index_segments(&own.housekeeper.file, &tables.events)
                .map_err(|error| EngineError::Prepare(data.to_owned(), error))?;
        }
        Ok(engine)
    }

    /// Lets the commands beside this process find its engine, and with it its tables. A command itself keeps its engine
    /// to itself: it ends when it is done, whoever else may be in the middle of something.
    fn announced(self, data: &Path) -> Result<Self, EngineError> {
        address::announce(data, &self.endpoint)
            .map_err(|error| EngineError::Folder(data.to_owned(), error))?;
        Ok(self)
    }

    /// The engine's address, such as `http://127.83.201.7:40123`: a secret, see `address::listen`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether this process runs the engine, and not a server beside it.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// The names of its tables.
    pub fn tables(&self) -> Tables {
        Tables::prefixed(PREFIX)
    }

    /// A client of its tables.
    pub fn client(&self) -> aws_sdk_dynamodb::Client {
        clients::tables(&self.endpoint)
    }

    /// A client of its streams.
    pub fn streams_client(&self) -> aws_sdk_dynamodbstreams::Client {
        clients::streams(&self.endpoint)
    }

    /// Removes what has expired or grown old by `now`; a server beside does so itself. It happens every minute anyway.
    pub async fn tidy(&self, now: SystemTime) -> Result<Tidied, EngineError> {
        match &self.own {
            Some(own) => own.housekeeper.tidy(now).await,
            None => Ok(Tidied::default()),
        }
    }

    /// Answers the requests under way, closes the data and gives the folder free. A server's engine goes on.
    pub async fn stop(self) {
        let Some(own) = self.own else { return };
        address::withdraw(&own.folder);
        drop(own.stop);
        if tokio::time::timeout(STOPS_WITHIN, futures::future::join(own.server, own.sweeper)).await.is_err() {
            tracing::warn!("requests to the engine are still under way");
        }
    }
}

/// Takes the folder for this process, if no other has it.
fn lock(data: &Path) -> Result<Option<File>, EngineError> {
    let failed = |error| EngineError::Folder(data.to_owned(), error);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(data.join(LOCK_FILE))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

async fn serve(listener: tokio::net::TcpListener, database: Database, mut stopped: watch::Receiver<()>) {
    let stop = async move {
        // An error says that the sender is gone: nothing is ever sent.
        let _ = stopped.changed().await;
    };
    if let Err(error) = dynoxide::server::serve_with_shutdown(listener, database, stop).await {
        tracing::error!(error, "the embedded engine has stopped");
    }
}

impl Housekeeper {
    async fn run(self, mut stopped: watch::Receiver<()>) {
        loop {
            // The first round comes after the wait: what was written before a long pause is read from the stream
            // before it is removed for its age.
            tokio::select! {
                _ = stopped.changed() => return,
                () = tokio::time::sleep(HOUSEKEEPING) => {}
            }
            match self.tidy(SystemTime::now()).await {
                Ok(Tidied { expired_items, old_records }) => {
                    tracing::debug!(expired_items, old_records, "tidied the data");
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot tidy the data");
                }
            }
        }
    }

    async fn tidy(&self, now: SystemTime) -> Result<Tidied, EngineError> {
        let Self { database, file } = self.clone();
        let tidying = tokio::task::spawn_blocking(move || {
            let expired_items =
                database.sweep_ttl().map_err(|error| EngineError::Data(file.clone(), Box::new(error)))?;
            let old_records =
                records::trim(&file, now.checked_sub(RECORDS_LIVE).unwrap_or(SystemTime::UNIX_EPOCH))
                    .map_err(|error| EngineError::Prepare(file, error))?;
            Ok(Tidied { expired_items, old_records })
        });
        match tidying.await {
            Ok(tidied) => tidied,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Cancelled, as the runtime ends.
                Err(_) => Ok(Tidied::default()),
            },
        }
    }
}
