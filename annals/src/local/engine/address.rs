//! Where the engine of a data folder listens: a file that the server leaves for the commands beside it.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

const ADDRESS_FILE: &str = "engine.url";
/// How long a process on the same machine may take to accept a connection.
const ACCEPTS_WITHIN: Duration = Duration::from_secs(1);

/// Says where the engine listens. Readers see the old address or the new one, never half of one.
pub(super) fn announce(data: &Path, endpoint: &str) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(data)?;
    file.write_all(endpoint.as_bytes())?;
    file.persist(data.join(ADDRESS_FILE))?;
    Ok(())
}

/// Takes the address back, if there is one. Should that fail, the lock still tells whether anybody listens there.
pub(super) fn withdraw(data: &Path) {
    match std::fs::remove_file(data.join(ADDRESS_FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the engine's address stays behind");
        }
        Ok(()) | Err(_) => {}
    }
}

/// The address in the folder, if somebody listens there.
pub(super) async fn answering(data: &Path) -> Option<String> {
    let endpoint = std::fs::read_to_string(data.join(ADDRESS_FILE)).ok()?;
    let connecting = tokio::net::TcpStream::connect(endpoint.strip_prefix("http://")?);
    let connected = tokio::time::timeout(ACCEPTS_WITHIN, connecting).await;
    matches!(connected, Ok(Ok(_))).then_some(endpoint)
}
