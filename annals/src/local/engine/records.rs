//! What the engine's tables lack: an index and an end to the stream records, and an index for scans in segments.
//!
//! Without the first every write searches all stream records there are for the last sequence number, and takes longer
//! with each; without the last every page of a segment looks at the whole table, and sorts it.
//!
//! A second connection makes up for it. `SQLite` lets one connection at a time write, and the engine, like this one, waits
//! up to 5 s for its turn, so each statement here is kept short.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags};

/// How long a statement waits while the engine writes.
const WAITS: Duration = Duration::from_secs(5);
/// Records removed by one statement.
const AT_ONCE: usize = 500;

/// Gives the records the index that the engine's query for the last sequence number can use.
pub(super) fn index(file: &Path) -> rusqlite::Result<()> {
    connect(file)?.execute_batch(
        "CREATE INDEX IF NOT EXISTS annals_stream_records_by_sequence
         ON _stream_records (table_name, CAST(sequence_number AS INTEGER))",
    )
}

/// Brings everything that was written into the file itself, so that it can be moved alone.
pub(super) fn gather(file: &Path) -> rusqlite::Result<()> {
    let busy: bool = connect(file)?.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            None,
        ));
    }
    Ok(())
}

/// Gives a table the index that the engine's query for a page of a segment can use: its rows in the order of the
/// hashes of their partition keys.
pub(super) fn index_segments(file: &Path, table: &str) -> rusqlite::Result<()> {
    let table = table.replace('"', "\"\"");
    connect(file)?.execute_batch(&format!(
        "CREATE INDEX IF NOT EXISTS \"{table}-by-segment\" ON \"{table}\" (hash_prefix, pk, sk)",
    ))
}

/// Removes the records written before this time, and says how many. It looks at the oldest only, and stops at the
/// first lot with nothing old in it.
pub(super) fn trim(file: &Path, before: SystemTime) -> rusqlite::Result<usize> {
    let before = before.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    let connection = connect(file)?;
    let mut statement = connection.prepare(&format!(
        "DELETE FROM _stream_records WHERE id IN (
             SELECT id FROM (SELECT id, created_at FROM _stream_records ORDER BY id LIMIT {AT_ONCE})
             WHERE created_at < ?1)",
    ))?;
    let mut trimmed = 0;
    loop {
        match statement.execute([before])? {
            0 => return Ok(trimmed),
            lot => trimmed += lot,
        }
    }
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(WAITS)?;
    Ok(connection)
}
