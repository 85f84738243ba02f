//! The command line.

use std::path::PathBuf;

use axum::http::Uri;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Parser, Subcommand};
use command_api::Verification;
use command_api::passwords::HashParams;
use mailer::{Links, Sender};
use storage::Segment;
use storage::keys::{KeyId, RingName};
use storage::tables::Tables;

/// The service keys, in the data folder.
pub(crate) const KEYS_FILE: &str = "service-keys.json";
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
    /// Go through a deployment as a user would, over HTTP: register, sign in, read, refresh, list, sign out; exit with 1
    /// if any answer is not as it should be. Leaves the user behind.
    Smoke(SmokeArgs),
    /// Look after the service keys: make, list, rotate and retire them. None is ever shown.
    #[command(subcommand)]
    Keys(KeysCommand),
}

/// What can be done with service keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make every key of a stack, once, in the Parameter Store. What is there already stays as it is, but for public keys
    /// that are not those of the keys that sign: they are put right.
    Make(MakeKeysArgs),
    /// List the keys of every ring, with what they do and since when.
    List(ListKeysArgs),
    /// Put a new key into a ring. It is published ahead of its use (2 hours for signing, else 10 minutes); nobody is signed
    /// out, and the log stays as it is.
    Rotate(RotateKeysArgs),
    /// Take a key out of a ring, after a look at every table that could still need it.
    Retire(RetireKeyArgs),
    /// Put every vault under the current wrapping and verifier keys; may run beside a server, and twice.
    Rewrap(RewrapArgs),
}

/// The options of `keys make`.
#[derive(Debug, Clone, Args)]
pub struct MakeKeysArgs {
    /// For the stack of this name, which need not exist yet: below /annals/NAME/keys/.
    #[arg(long, value_name = "NAME", value_parser = stack, required_unless_present = "prefix", conflicts_with = "prefix")]
    pub stack: Option<String>,
    /// Below this path.
    #[arg(long, value_name = "PATH")]
    pub prefix: Option<String>,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `keys list`.
#[derive(Debug, Clone, Args)]
pub struct ListKeysArgs {
    /// Which deployment.
    #[command(flatten)]
    pub deployment: DeploymentArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `keys rotate`.
#[derive(Debug, Clone, Args)]
pub struct RotateKeysArgs {
    /// The ring.
    #[arg(value_parser = ring)]
    pub purpose: RingName,
    /// In an emergency: use the new key at once. Processes that have not read it yet (up to 5 minutes) go on with the old one.
    #[arg(long)]
    pub now: bool,
    /// Which deployment.
    #[command(flatten)]
    pub deployment: DeploymentArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `keys retire`.
#[derive(Debug, Clone, Args)]
pub struct RetireKeyArgs {
    /// The ring.
    #[arg(value_parser = ring)]
    pub purpose: RingName,
    /// The key's id, as `keys list` shows it.
    #[arg(value_parser = key_id)]
    pub id: KeyId,
    /// In an emergency: even if it is still needed, where nothing but sessions, tokens or views is lost by it. What wraps and
    /// seals vaults waits the ten minutes in which a process may still use it.
    #[arg(long)]
    pub force: bool,
    /// For a pepper: disable the passwords of those whose verifiers still need it. Each of them has to reset it by mail; their
    /// sessions go on.
    #[arg(long)]
    pub disable_those_left: bool,
    /// Which deployment.
    #[command(flatten)]
    pub deployment: DeploymentArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of `keys rewrap`.
#[derive(Debug, Clone, Args)]
pub struct RewrapArgs {
    /// Which deployment.
    #[command(flatten)]
    pub deployment: DeploymentArgs,
    /// How to report.
    #[command(flatten)]
    pub report: ReportArgs,
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
    #[arg(long, value_name = "URL", value_parser = endpoint, group = "elsewhere")]
    pub endpoint: Option<String>,
}

/// Which deployment is meant: the one on this machine, or one in an AWS account.
#[derive(Debug, Clone, Args)]
pub struct DeploymentArgs {
    /// Where the data is on this machine.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// What is meant in an AWS account.
    #[command(flatten)]
    pub account: AccountArgs,
}

/// A deployment in an AWS account, with the credentials and the region of the environment or a profile. What has to be
/// kept on this machine lies in a folder of its own below that of the data.
#[derive(Debug, Clone, Args)]
pub struct AccountArgs {
    /// Work on the stack of this name, with the usual AWS credentials and region.
    #[arg(long, value_name = "NAME", value_parser = stack, group = "elsewhere")]
    pub stack: Option<String>,
    /// Work on these tables in AWS: that of the events. The others are named, too.
    #[arg(long, value_name = "TABLE", group = "elsewhere",
        requires_all = ["identifiers_table", "views_table", "sessions_table"])]
    pub events_table: Option<String>,
    /// The table of the identifiers.
    #[arg(long, value_name = "TABLE", requires = "events_table")]
    pub identifiers_table: Option<String>,
    /// The table of the views.
    #[arg(long, value_name = "TABLE", requires = "events_table")]
    pub views_table: Option<String>,
    /// The table of the sessions.
    #[arg(long, value_name = "TABLE", requires = "events_table")]
    pub sessions_table: Option<String>,
    /// With tables: the service keys are parameters of AWS below this path, not in the folder of the data.
    #[arg(long, value_name = "PATH", requires = "events_table")]
    pub keys_prefix: Option<String>,
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
    /// Whether addresses have to be verified before anybody signs in: optional or required.
    #[arg(long, value_name = "WHEN", default_value_t = Verification::default())]
    pub verification: Verification,
    /// What becomes of mails.
    #[command(flatten)]
    pub mail: MailArgs,
}

/// What becomes of mails.
#[derive(Debug, Clone, Args)]
pub struct MailArgs {
    /// The folder that mails are put into instead of being sent [default: `outbox` in the data folder].
    #[arg(long, value_name = "DIR", conflicts_with = "smtp")]
    pub outbox: Option<PathBuf>,
    /// Send mails with this server: `smtps://USER:PASSWORD@HOST`, or `smtp://` for STARTTLS, which only a server on this
    /// machine is spared [env: `ANNALS_SMTP`].
    // Neither checked nor read from the environment by the parser, which would show it, and hold every command to it.
    #[arg(long, value_name = "URL")]
    pub smtp: Option<String>,
    /// Who sends the mails.
    #[arg(long, value_name = "ADDRESS", default_value = "Annals <annals@localhost.localdomain>")]
    pub mail_from: Sender,
    /// Where the pages are that links in mails point to [default: those of this server that say what would be there].
    #[arg(long, value_name = "URL")]
    pub links: Option<Links>,
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

impl DeploymentArgs {
    /// Whether it may be that others take commands for it, and nobody here can tell.
    pub const fn is_elsewhere(&self) -> bool {
        let Self { place, account } = self;
        place.endpoint.is_some() || account.stack.is_some() || account.events_table.is_some()
    }
}

impl AccountArgs {
    /// The tables that are named; the parser sees to it that it is all or none.
    pub fn tables(&self) -> Option<Tables> {
        Some(Tables {
            events: self.events_table.clone()?,
            identifiers: self.identifiers_table.clone()?,
            views: self.views_table.clone()?,
            sessions: self.sessions_table.clone()?,
        })
    }
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

fn stack(text: &str) -> Result<String, &'static str> {
    let fits = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.len() <= 128
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    if fits { Ok(text.to_owned()) } else { Err("must be the name of a stack: letters, digits and -") }
}

fn ring(text: &str) -> Result<RingName, String> {
    let found = RingName::ALL.into_iter().find(|ring| ring.as_str() == text);
    found.ok_or_else(|| format!("must be one of {}", RingName::ALL.map(RingName::as_str).join(", ")))
}

fn key_id(text: &str) -> Result<KeyId, &'static str> {
    KeyId::parse(text).ok_or("must be 1 to 16 lower-case letters and digits")
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

    use super::{Cli, Command, Verification, endpoint, ring, segment, time};

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
    fn addresses_have_to_be_verified_where_it_is_said() {
        let said = |args: &[&str]| Cli::try_parse_from(args).map(|cli| cli.serve.verification);
        assert_eq!(said(&["annals"]).unwrap(), Verification::Optional);
        assert_eq!(said(&["annals", "--verification", "required"]).unwrap(), Verification::Required);
        assert!(said(&["annals", "--verification", "perhaps"]).is_err());
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
    fn a_ring_is_named_as_its_parameter_is() {
        assert_eq!(ring("one-time").map(super::RingName::as_str), Ok("one-time"));
        let wrong = ring("identifiers").unwrap_err();
        assert!(wrong.contains("wrapping, verifiers, views, refresh, one-time, pepper, signing"), "{wrong}");
        assert!(Cli::try_parse_from(["annals", "keys", "make"]).is_err());
        assert!(Cli::try_parse_from(["annals", "keys", "make", "--stack", "a", "--prefix", "/b"]).is_err());
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
