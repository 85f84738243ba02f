//! Keeps the read model in step with the log.
//!
//! [`ReadModel::catch_up`] is the whole of projection; [`handle`] calls it for the users of a batch of stream records,
//! and [`replay`] does the like for every user: rebuild, repair, verify.
//!
//! Invariants: nothing here writes the log, an identifier or a session, but for a restore
//! ([`replay::Replay::restore`]), which an operator runs while no command is taken; no event is skipped in silence; a record is
//! a hint that a user changed, and what changed is read from the log.

mod catch_up;
mod config;
mod handler;
mod invocation;
pub mod replay;
pub mod replayer;

pub use catch_up::{CatchUpError, CaughtUp, ReadModel};
pub use config::{Config, ConfigError, ReplayerConfig};
pub use handler::handle;
pub use invocation::{InvocationError, answer};
