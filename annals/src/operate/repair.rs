use std::process::ExitCode;

use command_api::Clock;
use projector::replay::RepairReport;

use super::{OperateError, report};
use crate::cli::RepairArgs;
use crate::place::Place;

/// Brings every view up to date that is absent, behind, damaged or parked; exit code 1 if a log cannot be read.
pub(crate) async fn repair(args: &RepairArgs) -> Result<ExitCode, OperateError> {
    let place = Place::attach(&args.place).await?;
    let repaired = place.replay().reporting(report::progress()).repair(Clock::system().now()).await;
    place.close().await;
    let repaired = repaired?;
    report::write_with_dead_letters(&args.place.data, args.report.json, &repaired, || mended(&repaired))?;
    Ok(if repaired.found.broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn mended(report: &RepairReport) -> String {
    let found = &report.found;
    let lines = [
        (report.done.written, "brought up to date"),
        (report.freed, "parked without a log, freed"),
        (found.different, "different from the log: `annals rebuild` replaces them"),
        (found.beyond_log, "of a later version than the log: see `annals verify`"),
        (found.of_higher_fold, "of newer code, left"),
        (found.broken, "without a log that can be read: the user is parked, see `annals parked`"),
    ];
    let covered = report::read(&report.covered);
    format!("{covered}; views:\n  {} right{}", found.equal, report::nonzero(&lines))
}
