//! Which deployment a command works on, and how it reports.

use std::path::PathBuf;

use clap::Args;
use storage::tables::Tables;

use super::values::{endpoint, stack};

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
