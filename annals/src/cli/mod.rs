//! The command line.

mod deployment;
mod keys;
mod serve;
mod values;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand};
use storage::Segment;

pub use deployment::{AccountArgs, DeploymentArgs, PlaceArgs, ReportArgs};
pub use keys::{KeysCommand, ListKeysArgs, MakeKeysArgs, RetireKeyArgs, RewrapArgs, RotateKeysArgs};
pub use serve::{MailArgs, ServeArgs};
use values::{endpoint, segment, time};

/// The service keys, in the data folder.
pub(crate) const KEYS_FILE: &str = "service-keys.json";

/// Accounts, with their whole history.
#[derive(Debug, Parser)]
#[command(name = "annals", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `serve` unless it is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: API, database, stream and projection.
    Serve(ServeArgs),
    /// Show every event of a user, in order.
    History(HistoryArgs),
    /// List every user whose log cannot be read, and what to do; exit with 1 if there are any.
    Parked(ParkedArgs),
    /// Show a user as they are, or as they were.
    State(StateArgs),
    /// Hold the read model and the identifiers against the log; exit with 1 if they differ.
    Verify(VerifyArgs),
    /// Build the read model anew from the log; may run beside a server. One that was not finished goes on where it was.
    Rebuild(RebuildArgs),
    /// Bring what is behind, damaged or parked up to date.
    Repair(RepairArgs),
    /// Make one deployment again of tables that were brought back from backups of different moments. The log is the
    /// truth; everybody has to sign in again. No server may run meanwhile.
    Restore(RestoreArgs),
    /// OAuth clients.
    #[command(subcommand)]
    Clients(ClientsCommand),
    /// Go through a deployment as a user would, over HTTP: register, sign in, read, refresh, list, sign out; exit with 1
    /// if any answer is not as it should be. Leaves the user behind.
    Smoke(SmokeArgs),
    /// Look after the service keys: make, list, rotate and retire them. None is ever shown.
    #[command(subcommand)]
    Keys(KeysCommand),
}

/// What there is to do about OAuth clients.
#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// Make a new secret of 256 random bits: for the client, and its hash, for the list of clients. Nothing is kept.
    Secret(ReportArgs),
}

/// The options of `history`.
#[derive(Debug, Clone, Args)]
pub struct HistoryArgs {
    /// The user's id or address.
    pub user: String,
    /// Which deployment.
    #[command(flatten)]
    pub deployment: DeploymentArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `parked`.
#[derive(Debug, Clone, Args)]
pub struct ParkedArgs {
    /// Which deployment.
    #[command(flatten)]
    pub deployment: DeploymentArgs,
    /// How to report: with `--json`, one object a user.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `state`.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// The user's id or address; the address they have now.
    pub user: String,
    /// As of this time: RFC 3339, such as 2026-11-22T17:22:53.182Z, or a day, which means its first moment in UTC.
    ///
    /// That is the state after the last commit whose time is not later. The order of a log is that of its versions,
    /// while clocks may run backwards: what comes before that commit in the log had happened by then, whatever time it
    /// bears.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "version")]
    pub at: Option<DateTime<Utc>>,
    /// As of this version: after the commit of this number.
    #[arg(long, value_name = "N")]
    pub version: Option<u64>,
    /// Which deployment.
    #[command(flatten)]
    pub deployment: DeploymentArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Which deployment.
    #[command(flatten)]
    pub deployment: DeploymentArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `rebuild`.
#[derive(Debug, Clone, Args)]
pub struct RebuildArgs {
    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Replace views that newer code has put, too: after a roll-back, when no newer code runs any more.
    #[arg(long, conflicts_with = "dry_run")]
    pub replace_newer: bool,
    /// Only one part of the log, such as 3/8 for the third of eight.
    #[arg(long, value_name = "I/N", value_parser = segment)]
    pub segment: Option<Segment>,
    /// Begin with the first user, even if an earlier rebuild was not finished.
    #[arg(long, conflicts_with = "dry_run")]
    pub restart: bool,
    /// Which deployment.
    #[command(flatten)]
    pub deployment: DeploymentArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `repair`.
#[derive(Debug, Clone, Args)]
pub struct RepairArgs {
    /// Begin with the first user, even if an earlier repair was not finished.
    #[arg(long)]
    pub restart: bool,
    /// Which deployment.
    #[command(flatten)]
    pub deployment: DeploymentArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// With --endpoint, --stack or tables: no server and no function takes commands for these tables until this is done.
    /// Nobody here could tell.
    #[arg(long, requires = "elsewhere")]
    pub yes_the_api_is_off: bool,
    /// Which deployment.
    #[command(flatten)]
    pub deployment: DeploymentArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `smoke`.
#[derive(Debug, Clone, Args)]
pub struct SmokeArgs {
    /// Where the deployment answers: its scheme and host, without a path.
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub url: String,
    /// Register this address, instead of one at random below example.com, at which nobody is.
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// Do not register: sign in with the address and this password. In the environment it is seen by fewer than on the
    /// command line.
    #[arg(long, env = "ANNALS_SMOKE_PASSWORD", hide_env_values = true, requires = "email")]
    pub password: Option<String>,
    /// How long an answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub timeout: u64,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, Command};

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn annals_alone_is_annals_serve() {
        let cli = Cli::try_parse_from(["annals", "--port", "0", "--memory"]).unwrap();
        assert!(cli.command.is_none() && cli.serve.memory && cli.serve.port == Some(0));
        let cli = Cli::try_parse_from(["annals", "serve", "--memory"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Serve(args)) if args.memory));
        assert!(Cli::try_parse_from(["annals", "--memory", "--data", "x"]).is_err());
        assert!(Cli::try_parse_from(["annals", "--argon2", "m=1"]).is_err());
    }

    #[test]
    fn a_deployment_is_named_in_one_way_and_whole() {
        let parses = |args: &[&str]| Cli::try_parse_from([&["annals"], args].concat()).is_ok();
        let tables = ["--events-table=e", "--identifiers-table=i", "--views-table=v", "--sessions-table=s"];
        assert!(parses(&["verify", "--stack", "accounts-prod"]));
        assert!(parses(&[&["verify", "--keys-prefix=/a/"], &tables[..]].concat()));
        for left_out in 0..4 {
            let mut args = vec!["verify"];
            args.extend(
                tables.iter().enumerate().filter(|(place, _)| *place != left_out).map(|(_, arg)| arg),
            );
            assert!(!parses(&args), "{args:?}");
        }
        assert!(!parses(&[&["verify", "--stack=a"], &tables[..]].concat()));
        assert!(!parses(&["verify", "--stack=a", "--endpoint=http://127.0.0.1:8000"]));
        assert!(
            !parses(&["verify", "--keys-prefix=/a/"])
                && !parses(&["verify", "--stack=a", "--keys-prefix=/a/"])
        );
        for wrong in ["", "-a", "1a", "a/b", "a b", "ä"] {
            assert!(!parses(&["verify", &format!("--stack={wrong}")]), "{wrong}");
        }
        assert!(!parses(&["serve", "--stack=a"]) && !parses(&["--stack=a"]));
        assert!(!parses(&[&["serve"], &tables[..]].concat()));
        assert!(parses(&["restore", "--stack=a", "--yes-the-api-is-off"]));
        assert!(!parses(&["restore", "--yes-the-api-is-off"]));
    }
}
