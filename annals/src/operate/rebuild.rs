use std::process::ExitCode;

use command_api::Clock;
use projector::replay::{DryRunReport, Phase, RebuildReport, Replay};

use super::unfinished::Unfinished;
use super::{OperateError, report};
use crate::cli::RebuildArgs;
use crate::place::Place;

/// Builds the read model anew from the log; exit code 1 if it does not verify afterwards. With `--dry-run`, says what
/// would change. One that was not finished, at most a day ago, goes on where it was.
pub(crate) async fn rebuild(args: &RebuildArgs) -> Result<ExitCode, OperateError> {
    let place = Place::attach(&args.deployment).await?;
    let mut replay = place.replay().reporting(report::progress());
    if let Some(segment) = args.segment {
        replay = replay.only(segment);
    }
    if args.replace_newer {
        replay = replay.replacing_newer();
    }
    let result = if args.dry_run { compare(&replay, args).await } else { renew(replay, &place, args).await };
    place.close().await;
    result
}

async fn compare(replay: &Replay, args: &RebuildArgs) -> Result<ExitCode, OperateError> {
    let found = replay.dry_run().await?;
    report::write(args.report.json, &found, || would_change(&found))?;
    Ok(ExitCode::SUCCESS)
}

async fn renew(replay: Replay, place: &Place, args: &RebuildArgs) -> Result<ExitCode, OperateError> {
    let now = Clock::system().now();
    let unfinished = Unfinished::of(place, "rebuild", args.segment);
    let replay = unfinished.taken_up(replay, Phase::Rebuild, args.restart, now);
    let rebuilt = replay.rebuild(&place.identifiers(), now).await;
    unfinished.ended(rebuilt.is_ok());
    let rebuilt = rebuilt?;
    report::write(args.report.json, &rebuilt, || changed(&rebuilt))?;
    Ok(if rebuilt.verified.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn would_change(report: &DryRunReport) -> String {
    let found = &report.found;
    let lines = [
        (found.absent, "absent, would be made"),
        (found.behind, "behind, would be brought up to date"),
        (found.different, "different from the log, would be replaced"),
        (found.torn, "damaged, would be replaced"),
        (found.of_lower_fold, "of older code, would be replaced"),
        (found.parked, "parked although the log can be read, would be freed"),
        (found.broken, "without a log that can be read: the user would be parked"),
        (report.orphaned, "without a log, would be deleted"),
        (found.of_higher_fold, "of newer code, would stay"),
        (found.beyond_log, "of a later version than the log, would stay"),
        (found.erased, "of none: the user has been erased"),
    ];
    format!("{}; views:\n  {} right{}", report::read(&report.covered), found.equal, report::nonzero(&lines))
}

pub(super) fn changed(report: &RebuildReport) -> String {
    let lines = [
        (report.done.parked, "without a log that can be read: the user is parked"),
        (report.swept, "without a log, deleted"),
        (report.done.overtaken, "kept up to date by others meanwhile"),
        (report.done.of_higher_fold, "of newer code, left; after a roll-back, see --replace-newer"),
        (report.done.beyond_log, "of a later version than the log, left"),
    ];
    format!(
        "{}; views:\n  {} made anew{}\nverified: {}",
        report::read(&report.covered),
        report.done.written,
        report::nonzero(&lines),
        report::verification(&report.verified),
    )
}
