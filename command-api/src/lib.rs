//! The HTTP API: commands and queries, as one router.
//!
//! Invariants: this crate does not know Lambda, but for its mains; it sends no request to DynamoDB that does not go
//! through `storage`; no answer carries a cause; every password that is looked at was counted first.

mod clients;
mod clock;
mod config;
mod http;
pub mod passwords;
mod routes;
mod service;
mod start;
pub mod tokens;

pub use clients::{Clients, ClientsError, Rights};
pub use clock::Clock;
pub use config::{AuthorizerConfig, ClientsFrom, Config, ConfigError};
pub use http::{ClientAddress, OriginError, OriginSecret, RequestIds, misdirected};
pub use routes::router;
pub use service::Service;
pub use start::StartError;
