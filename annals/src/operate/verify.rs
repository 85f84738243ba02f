use std::process::ExitCode;

use super::{OperateError, report};
use crate::cli::VerifyArgs;
use crate::place::Place;

/// Holds read model and identifiers against the log; exit code 1 if they differ.
pub(crate) async fn verify(args: &VerifyArgs) -> Result<ExitCode, OperateError> {
    let place = Place::attach(&args.deployment).await?;
    let verified = place.replay().reporting(report::progress()).verify(&place.identifiers()).await;
    let folder = place.folder.clone();
    place.close().await;
    let verified = verified?;
    report::write_with_dead_letters(&folder, args.report.json, &verified, || {
        report::verification(&verified)
    })?;
    Ok(if verified.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
