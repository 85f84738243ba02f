//! The options of the server.

use std::path::PathBuf;

use clap::Args;
use command_api::Verification;
use command_api::passwords::HashParams;
use mailer::{Links, Sender};

use super::PlaceArgs;

/// Where the server listens, unless it is told otherwise.
const PORT: u16 = 3000;

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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::Verification;
    use crate::cli::Cli;

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
}
