//! The data file of a new folder: it appears with all its tables, or not at all.
//!
//! The engine creates a table in several steps that no transaction holds together: the entry, the rows, each index, the
//! stream. A process killed between two of them would leave a table that exists, is not created again, and lacks the
//! rest for ever.

use std::fs::File;
use std::path::Path;

use dynoxide::Database;
use storage::tables::Tables;
use tokio::sync::watch;

use super::{EngineError, PREFIX, STOPS_WITHIN, address, records, serve};
use crate::local::clients;

/// Under this name the file is made; one that was left by a kill is thrown away.
const UNFINISHED: &str = "dynamodb.sqlite.new";

/// Makes the data file of a folder that has none. Only who holds the folder may do this.
pub(super) async fn found(data: &Path, file: &Path) -> Result<(), EngineError> {
    let folder = |error| EngineError::Folder(data.to_owned(), error);
    for rest in ["", "-wal", "-shm", "-journal"] {
        match std::fs::remove_file(data.join(format!("{UNFINISHED}{rest}"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(folder(error)),
            Ok(()) | Err(_) => {}
        }
    }
    let unfinished = data.join(UNFINISHED);
    create_tables(data, &unfinished).await?;
    records::gather(&unfinished).map_err(|error| EngineError::Prepare(data.to_owned(), error))?;
    File::open(&unfinished).and_then(|file| file.sync_all()).map_err(folder)?;
    std::fs::rename(&unfinished, file).map_err(folder)?;
    File::open(data).and_then(|data| data.sync_all()).map_err(folder)
}

async fn create_tables(data: &Path, unfinished: &Path) -> Result<(), EngineError> {
    let database = Database::new(&unfinished.to_string_lossy())
        .map_err(|error| EngineError::Data(data.to_owned(), Box::new(error)))?;
    let listener = address::listen().await.map_err(EngineError::Listen)?;
    let address = listener.local_addr().map_err(EngineError::Listen)?;
    let (stop, stopped) = watch::channel(());
    let server = tokio::spawn(serve(listener, database, stopped));
    let created = {
        let client = clients::tables(&format!("http://{address}"));
        Tables::prefixed(PREFIX).create(&client).await
    };
    drop(stop);
    if tokio::time::timeout(STOPS_WITHIN, server).await.is_err() {
        tracing::warn!("the engine that made the tables is still there");
    }
    Ok(created?)
}
