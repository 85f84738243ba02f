//! The operator's program, as a library so that its tests and benchmarks can reach it.
//!
//! Invariant: no rule of the product lives here. Commands, queries and projection are those of the other crates;
//! this one brings them together in a process.

mod account;
pub mod cli;
pub mod local;
mod operate;
mod place;
mod serve;
mod smoke;

use std::error::Error;
use std::process::ExitCode;

pub use account::AccountError;
use cli::{Cli, ClientsCommand, Command};
pub use place::PlaceError;
pub use serve::ServeError;
pub use smoke::SmokeError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server could not start or had to stop.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// An operator's command could not be carried out.
    #[error(transparent)]
    Operate(#[from] operate::OperateError),
    /// There was no smoke test.
    #[error(transparent)]
    Smoke(#[from] SmokeError),
}

/// Carries out one command; its exit code.
pub async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    Ok(match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => serve::serve(&args).await.map(|()| ExitCode::SUCCESS)?,
        Command::History(args) => operate::history(&args).await?,
        Command::Parked(args) => operate::parked(&args).await?,
        Command::State(args) => operate::state(&args).await?,
        Command::Verify(args) => operate::verify(&args).await?,
        Command::Rebuild(args) => operate::rebuild(&args).await?,
        Command::Repair(args) => operate::repair(&args).await?,
        Command::Restore(args) => operate::restore(&args).await?,
        Command::Clients(ClientsCommand::Secret(report)) => operate::new_client_secret(&report)?,
        Command::Smoke(args) => smoke::smoke(&args).await?,
        Command::Keys(command) => operate::keys(&command).await?,
    })
}

/// An error and all that caused it, on one line.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line.replace('\n', " ")
}
