use std::process::ExitCode;

use command_api::Clients;
use serde::Serialize;

use super::{OperateError, report};
use crate::cli::ReportArgs;

/// A secret with its hash.
#[derive(Serialize)]
struct NewSecret<'a> {
    secret: &'a str,
    secret_sha256: &'a str,
}

/// Makes a new secret for an OAuth client, and shows it once.
pub(crate) fn new_client_secret(args: &ReportArgs) -> Result<ExitCode, OperateError> {
    let (secret, hash) = Clients::new_secret().map_err(|_| OperateError::NoRandomness)?;
    let shown = NewSecret { secret: &secret, secret_sha256: &hash };
    report::write(args.json, &shown, || {
        format!("secret         {}\nsecret_sha256  {hash}", secret.as_str())
    })?;
    Ok(ExitCode::SUCCESS)
}
