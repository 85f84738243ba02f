//! Where the engine of a data folder listens: a file that the server leaves for the commands beside it.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

const ADDRESS_FILE: &str = "engine.url";
/// How long a process on the same machine may take to accept a connection.
const ACCEPTS_WITHIN: Duration = Duration::from_secs(1);

/// Listens where no web page can find it: on Linux, at any port of one of the 16 million addresses of 127.0.0.0/8, all
/// of them this machine's, chosen at random at each start. The engine refuses nobody, so its address is its password;
/// only the owner may read the file with it.
///
/// That keeps out pages in a browser, which would have to guess, and not other users of the machine, whom Linux tells
/// what is listened on (`/proc/net/tcp`). Elsewhere only 127.0.0.1 is there without setting up: a page may find the port.
pub(super) async fn listen() -> std::io::Result<tokio::net::TcpListener> {
    let host = if cfg!(target_os = "linux") { random_loopback()? } else { Ipv4Addr::LOCALHOST };
    tokio::net::TcpListener::bind((host, 0)).await
}

fn random_loopback() -> std::io::Result<Ipv4Addr> {
    let mut random = [0; 3];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| std::io::Error::other("no random numbers"))?;
    let [second, third, fourth] = random;
    // Neither 127.0.x.y, where everything else listens, nor the last of the addresses, which is for broadcasts.
    Ok(Ipv4Addr::new(127, 1 + second % 254, third, fourth))
}

/// Says where the engine listens, to its owner only. Readers see the old address or the new one, never half of one.
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
