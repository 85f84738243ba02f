//! What can be done with service keys, on the command line.

use clap::{Args, Subcommand};
use storage::keys::{KeyId, RingName};

use super::values::{key_id, ring, stack};
use super::{DeploymentArgs, ReportArgs};

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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    #[test]
    fn keys_are_made_for_a_stack_or_below_a_path() {
        assert!(Cli::try_parse_from(["annals", "keys", "make", "--stack", "a"]).is_ok());
        assert!(Cli::try_parse_from(["annals", "keys", "make"]).is_err());
        assert!(Cli::try_parse_from(["annals", "keys", "make", "--stack", "a", "--prefix", "/b"]).is_err());
    }
}
