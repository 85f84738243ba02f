//! The operator's program: `annals serve` runs everything in one process; the other commands look after the log.

use std::process::ExitCode;

use annals::cli::Cli;
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    match annals::run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("annals: {}", annals::one_line(&error));
            ExitCode::from(2)
        }
    }
}
