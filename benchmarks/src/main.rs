//! Annals beside its peers, on the local engine, each comparison within one run.
//!
//! Every part that is measured runs in a process of its own, so that its memory is its own; the engine has another.

mod append;
mod counter;
mod engine;
mod log;
mod part;
mod peer;
mod projection;
mod replay;

use std::error::Error;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole log folded, views rebuilt and verified, against cqrs-es.
    Replay(replay::Args),
    /// One event appended, against cqrs-es and a bare PutItem.
    Append(append::Args),
    /// A batch of the stream projected, against a bare client that sends the same requests.
    Projection(projection::Args),
    /// Runs the engine on a folder until its input ends.
    #[command(hide = true)]
    Engine { data: PathBuf },
    /// Runs one part of a replay and reports on it.
    #[command(hide = true)]
    Part(part::Args),
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    match Cli::parse().command {
        Command::Replay(args) => replay::run(&args).await,
        Command::Append(args) => append::run(&args).await,
        Command::Projection(args) => projection::run(&args).await,
        Command::Engine { data } => engine::serve(&data).await,
        Command::Part(args) => part::run(args).await,
    }
}
