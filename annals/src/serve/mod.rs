//! `annals serve`: the router that runs on Lambda, the projector that runs on Lambda, and what stands in for the
//! rest of AWS, in one process.

mod hosts;
mod log;
mod projection;
mod stopping;
mod welcome;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use command_api::passwords::{HashParams, HasherError, PasswordHasher};
use command_api::tokens::SigningError;
use command_api::{ClientAddress, Clients, ClientsError, Clock, Service, router};
use storage::{Lifetimes, Store};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cli::ServeArgs;
use crate::local::pump::PumpError;
use crate::place::{Place, PlaceError};
use crate::serve::projection::Projection;

/// So many password hashes run at once on a laptop; each keeps a buffer.
const HASHES_AT_ONCE: usize = 2;
/// Requests that are under way when the server is told to stop have this long.
const FINISHES_WITHIN: Duration = Duration::from_secs(10);

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The environment names no port.
    #[error("PORT must be a port to listen on, 0 to 65535, and not {0:?}")]
    Setting(String),
    /// The port cannot be listened on.
    #[error("cannot listen on port {0}")]
    Port(u16, #[source] std::io::Error),
    /// The data, the keys or the tables cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The list of clients cannot be read.
    #[error("cannot read the clients in {0}")]
    ClientsFile(PathBuf, #[source] std::io::Error),
    /// The list of clients is refused.
    #[error("the clients in {0} are refused")]
    Clients(PathBuf, #[source] ClientsError),
    /// Passwords cannot be hashed like this.
    #[error(transparent)]
    Hasher(#[from] HasherError),
    /// Tokens cannot be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The stream cannot be read.
    #[error(transparent)]
    Pump(#[from] PumpError),
    /// The system does not say when to stop, or the listener broke.
    #[error("the server had to stop")]
    Broken(#[source] std::io::Error),
}

/// Serves until it is told to stop by SIGINT or SIGTERM; told so once more, the process ends at once.
pub(crate) async fn serve(args: &ServeArgs) -> Result<(), ServeError> {
    log::start();
    if args.argon2.is_below_minimum() {
        tracing::warn!("--argon2 {} is below the minimum of {}", args.argon2, HashParams::MINIMUM);
    }
    let clients = args.clients.as_deref().map(clients).transpose()?.unwrap_or_default();
    let stopped = stopping::on_signals().map_err(ServeError::Broken)?;
    let setting = std::env::var_os("PORT").map(|port| port.to_string_lossy().into_owned());
    let port = args.port(setting.as_deref()).map_err(ServeError::Setting)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| ServeError::Port(port, error))?;
    let address = listener.local_addr().map_err(ServeError::Broken)?;
    let place = if args.memory { Place::in_memory().await? } else { Place::open(&args.place).await? };

    let projection = Projection::start(&place).await?;
    let service = service(&place, address, args.argon2)?.with_clients(clients);
    let mut serving = tokio::spawn(accept(listener, router(Arc::new(service)), stopped.clone()));
    // Whoever closed standard output has seen enough.
    let _ = writeln!(
        std::io::stdout(),
        "{}",
        welcome::text(address, (!args.memory).then_some(args.place.data.as_path()))
    );

    let served = tokio::select! {
        served = &mut serving => served,
        () = stopping::told(stopped) => {
            tokio::time::timeout(FINISHES_WITHIN, serving).await.unwrap_or(Ok(Ok(())))
        }
    };
    projection.finish().await;
    place.close().await;
    // What broke a task is in the log; the message of its panic is for nobody.
    served.unwrap_or_else(|_| Err(std::io::Error::other("its task broke"))).map_err(ServeError::Broken)
}

fn clients(file: &Path) -> Result<Clients, ServeError> {
    let json =
        std::fs::read_to_string(file).map_err(|error| ServeError::ClientsFile(file.to_owned(), error))?;
    Clients::parse(&json).map_err(|error| ServeError::Clients(file.to_owned(), error))
}

fn service(place: &Place, address: SocketAddr, cost: HashParams) -> Result<Service, ServeError> {
    let store = Store::new(&place.client, &place.tables, &place.keys, Lifetimes::default());
    let passwords = PasswordHasher::new(cost, place.keys.pepper.clone(), HASHES_AT_ONCE)?;
    Ok(Service::new(store, passwords, &place.keys, format!("http://{address}"), Clock::system())?)
}

async fn accept(
    listener: TcpListener,
    router: Router,
    stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let router = router.layer(from_fn(at_the_socket)).layer(from_fn(hosts::loopback_only));
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(stopping::told(stopped))
        .await
}

/// Tells the routes the client's address as the socket knows it.
async fn at_the_socket(
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> axum::response::Response {
    request.extensions_mut().insert(ClientAddress(address.ip()));
    next.run(request).await
}
