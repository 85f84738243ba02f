use std::process::ExitCode;

use command_api::Clock;
use projector::replay::{Phase, RepairReport};

use super::unfinished::Unfinished;
use super::{OperateError, report};
use crate::cli::RepairArgs;
use crate::place::Place;

/// Brings every view up to date that is absent, behind, damaged or parked; exit code 1 if a log cannot be read. One that
/// was not finished, at most a day ago, goes on where it was.
pub(crate) async fn repair(args: &RepairArgs) -> Result<ExitCode, OperateError> {
    let place = Place::attach(&args.deployment).await?;
    let now = Clock::system().now();
    let unfinished = Unfinished::of(&place, "repair", None);
    let replay = place.replay().reporting(report::progress());
    let repaired = unfinished.taken_up(replay, Phase::Repair, args.restart, now).repair(now).await;
    unfinished.ended(repaired.is_ok());
    let folder = place.folder.clone();
    place.close().await;
    let repaired = repaired?;
    report::write_with_dead_letters(&folder, args.report.json, &repaired, || mended(&repaired))?;
    Ok(if repaired.found.broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn mended(report: &RepairReport) -> String {
    let found = &report.found;
    let lines = [
        (report.done.written, "brought up to date"),
        (report.freed, "still parked, freed: there is no log, or it can be read by now"),
        (found.different, "different from the log: `annals rebuild` replaces them"),
        (found.beyond_log, "of a later version than the log: see `annals verify`"),
        (found.of_higher_fold, "of newer code, left"),
        (found.broken, "without a log that can be read: the user is parked, see `annals parked`"),
    ];
    let covered = report::read(&report.covered);
    format!("{covered}; views:\n  {} right{}", found.equal, report::nonzero(&lines))
}
