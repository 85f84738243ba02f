//! The command line.

use std::path::PathBuf;

use axum::http::Uri;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Parser, Subcommand};
use command_api::passwords::HashParams;
use storage::Segment;

/// Where the server listens, unless it is told otherwise.
const PORT: u16 = 3000;

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
}

/// What there is to do about OAuth clients.
#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// Make a new secret of 256 random bits: for the client, and its hash, for the list of clients. Nothing is kept.
    Secret(ReportArgs),
}

/// Where the data is.
#[derive(Debug, Clone, Args)]
pub struct PlaceArgs {
    /// The folder with the data and the service keys.
    #[arg(long, value_name = "DIR", default_value = ".annals")]
    pub data: PathBuf,
    /// Use the DynamoDB at this address instead of the embedded one. The service keys stay in the folder.
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub endpoint: Option<String>,
}

/// How to report.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Write the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The options of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Where the data is.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Keep nothing: all data and keys are gone when the server stops. One that is killed (SIGKILL, or told to stop
    /// twice) leaves its temporary folder behind: the data in it, sealed with keys that were in memory only.
    #[arg(long, conflicts_with_all = ["data", "endpoint"])]
    pub memory: bool,
    /// The port to listen on, at 127.0.0.1; 0 takes any that is free [env: PORT] [default: 3000].
    // Not read by the parser, which would hold every command to it.
    #[arg(long)]
    pub port: Option<u16>,
    /// The cost of a password hash: memory in KiB, passes, lanes.
    #[arg(long, value_name = "m=…,t=…,p=…", default_value_t = HashParams::default())]
    pub argon2: HashParams,
    /// The OAuth clients that have a secret: a JSON list such as
    /// `[{"id": "gateway", "secret_sha256": ["…"], "may": ["refresh", "revoke", "introspect"]}]`.
    #[arg(long, value_name = "FILE")]
    pub clients: Option<PathBuf>,
}

/// The options of `history`.
#[derive(Debug, Clone, Args)]
pub struct HistoryArgs {
    /// The user's id or address.
    pub user: String,
    /// Where the data is.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `parked`.
#[derive(Debug, Clone, Args)]
pub struct ParkedArgs {
    /// Where the data is.
    #[command(flatten)]
    pub place: PlaceArgs,
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
    /// Where the data is.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Where the data is.
    #[command(flatten)]
    pub place: PlaceArgs,
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
    /// Where the data is.
    #[command(flatten)]
    pub place: PlaceArgs,
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
    /// Where the data is.
    #[command(flatten)]
    pub place: PlaceArgs,
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
    /// With --endpoint: no server and no function takes commands for these tables until this is done. Nobody here could
    /// tell.
    #[arg(long, requires = "endpoint")]
    pub yes_the_api_is_off: bool,
    /// Where the data is.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

impl ServeArgs {
    /// The port to listen on, where `PORT` is set to this; what it is set to, if that is no port.
    pub fn port(&self, setting: Option<&str>) -> Result<u16, String> {
        match (self.port, setting) {
            (Some(port), _) => Ok(port),
            (None, Some(text)) => text.parse().map_err(|_| text.to_owned()),
            (None, None) => Ok(PORT),
        }
    }
}

fn endpoint(text: &str) -> Result<String, &'static str> {
    let uri = text.parse::<Uri>().ok().filter(|uri| uri.path() == "/" && uri.query().is_none());
    match uri.as_ref().and_then(Uri::scheme_str) {
        Some("http" | "https") => Ok(text.to_owned()),
        _ => Err("must be an address such as http://127.0.0.1:8000"),
    }
}

fn time(text: &str) -> Result<DateTime<Utc>, &'static str> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let day = text.parse::<NaiveDate>().ok().filter(|day| day.to_string() == text);
    day.map(|day| day.and_time(NaiveTime::MIN).and_utc())
        .ok_or("must be a time such as 2026-11-22T17:22:53Z, or a day")
}

fn segment(text: &str) -> Result<Segment, String> {
    let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match numbers {
        Some((index @ 1.., total @ 1..=1_000_000)) if index <= total => {
            let index: u32 = index;
            Ok(Segment { index: index - 1, total })
        }
        _ => Err("must be I/N, with I from 1 to N and N at most 1,000,000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, Command, endpoint, segment, time};

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
    fn the_option_comes_before_the_environment_and_that_before_the_default() {
        let port = |args: &[&str], setting| Cli::try_parse_from(args).unwrap().serve.port(setting);
        assert_eq!(port(&["annals"], None), Ok(3000));
        assert_eq!(port(&["annals"], Some("4000")), Ok(4000));
        assert_eq!(port(&["annals", "--port", "0"], Some("nonsense")), Ok(0));
        for wrong in ["", "nonsense", "-1", "65536", " 80"] {
            assert_eq!(port(&["annals"], Some(wrong)), Err(wrong.to_owned()));
        }
    }

    #[test]
    fn an_endpoint_is_an_address_without_a_path() {
        for right in ["http://127.0.0.1:8000", "http://[::1]:8000/", "https://dynamodb.example.com"] {
            assert_eq!(endpoint(right).as_deref(), Ok(right));
        }
        for wrong in ["", "garbage", "127.0.0.1:8000", "ftp://a", "http://", "http://a/b", "http://a/?b"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_a_moment_or_the_beginning_of_a_day() {
        let moment = |text: &str| time(text).map(|time| time.timestamp_millis());
        assert_eq!(moment("1970-01-02"), Ok(86_400_000));
        assert_eq!(moment("1970-01-02T01:00:00.250+01:00"), Ok(86_400_250));
        for wrong in ["", "now", "1970", "1970-1-2", "1970-02-30", "1970-01-02T00:00:00", "+1970-01-02"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_segment_is_counted_from_one() {
        let third = segment("3/8").unwrap();
        assert_eq!((third.index, third.total), (2, 8));
        for wrong in ["0/8", "9/8", "1/0", "1", "a/b", "-1/8"] {
            assert!(segment(wrong).is_err(), "{wrong}");
        }
    }
}
