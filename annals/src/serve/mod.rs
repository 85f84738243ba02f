//! `annals serve`: the router that runs on Lambda, the projector that runs on Lambda, and what stands in for the
//! rest of AWS, in one process.

mod hosts;
mod projection;
mod welcome;

use std::io::{IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use command_api::passwords::{HashParams, HasherError, PasswordHasher};
use command_api::tokens::SigningError;
use command_api::{ClientAddress, Clock, Service, router};
use storage::{Lifetimes, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

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

/// Serves until it is told to stop by SIGINT or SIGTERM.
pub(crate) async fn serve(args: &ServeArgs) -> Result<(), ServeError> {
    log();
    if args.argon2.is_below_minimum() {
        tracing::warn!("--argon2 {} is below the minimum of {}", args.argon2, HashParams::MINIMUM);
    }
    let told = told_to_stop()?;
    let setting = std::env::var_os("PORT").map(|port| port.to_string_lossy().into_owned());
    let port = args.port(setting.as_deref()).map_err(ServeError::Setting)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| ServeError::Port(port, error))?;
    let address = listener.local_addr().map_err(ServeError::Broken)?;
    let place = if args.memory { Place::in_memory().await? } else { Place::open(&args.place).await? };

    let projection = Projection::start(&place).await?;
    let service = service(&place, address, args.argon2)?;
    let (stop, stopped) = watch::channel(false);
    let mut serving = tokio::spawn(accept(listener, router(Arc::new(service)), stopped));
    // Whoever closed standard output has seen enough.
    let _ = writeln!(
        std::io::stdout(),
        "{}",
        welcome::text(address, (!args.memory).then_some(args.place.data.as_path()))
    );

    let served = tokio::select! {
        served = &mut serving => served,
        () = told => {
            // The server listens as long as it runs; one that has ended needs not be told.
            let _ = stop.send(true);
            tokio::time::timeout(FINISHES_WITHIN, serving).await.unwrap_or(Ok(Ok(())))
        }
    };
    projection.finish().await;
    place.close().await;
    served.unwrap_or_else(|broken| Err(broken.into())).map_err(ServeError::Broken)
}

fn service(place: &Place, address: SocketAddr, cost: HashParams) -> Result<Service, ServeError> {
    let store = Store::new(&place.client, &place.tables, &place.keys, Lifetimes::default());
    let passwords = PasswordHasher::new(cost, place.keys.pepper.clone(), HASHES_AT_ONCE)?;
    Ok(Service::new(store, passwords, &place.keys, format!("http://{address}"), Clock::system())?)
}

async fn accept(
    listener: TcpListener,
    router: Router,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let router = router.layer(from_fn(at_the_socket)).layer(from_fn(hosts::loopback_only));
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move {
            // An error means that the sender is gone, which says the same.
            let _ = stop.wait_for(|stop| *stop).await;
        })
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

fn told_to_stop() -> Result<impl Future<Output = ()>, ServeError> {
    let mut interrupted = signal(SignalKind::interrupt()).map_err(ServeError::Broken)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(ServeError::Broken)?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}

/// Logs to standard error: lines for a person, JSON for anything else.
fn log() {
    // The engine would warn of every condition that is not met and every table that is there already: what is to be
    // said about its answers, whoever asked says.
    let usual = || EnvFilter::new("info,projector=warn,dynoxide=error");
    let filter = EnvFilter::try_from_env("ANNALS_LOG").unwrap_or_else(|_| usual());
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::io::stderr().is_terminal() {
        lines.compact().init();
    } else {
        lines.json().flatten_event(true).with_span_list(false).init();
    }
}
