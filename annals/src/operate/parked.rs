use std::io::Write as _;
use std::process::ExitCode;

use projector::replay::{LogNow, ParkedPage, StillParked};
use serde::Serialize;

use super::{OperateError, report};
use crate::cli::ParkedArgs;
use crate::place::Place;

/// Lists every user who is parked: since when, why, what holds now, and what to do. Exit code 1 if there are any.
pub(crate) async fn parked(args: &ParkedArgs) -> Result<ExitCode, OperateError> {
    let place = Place::attach(&args.deployment).await?;
    let result = list(&place, args.report.json).await;
    place.close().await;
    result
}

/// Said page by page, however many there are.
async fn list(place: &Place, as_json: bool) -> Result<ExitCode, OperateError> {
    let (replay, mut out) = (place.replay(), std::io::stdout().lock());
    let (mut total, mut from) = (0, None);
    loop {
        let ParkedPage { users, next } = replay.parked(from).await?;
        for user in &users {
            total += 1;
            if as_json {
                let line = Line { user, hint: hint(user.log) };
                writeln!(out, "{}", serde_json::to_string(&line).map_err(std::io::Error::from)?)?;
            } else {
                writeln!(out, "{}", in_words(user))?;
            }
        }
        match next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    if !as_json {
        writeln!(out, "{} parked", report::count(total, "user"))?;
    }
    Ok(if total == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    user: &'a StillParked,
    hint: &'static str,
}

fn in_words(StillParked { parked, log }: &StillParked) -> String {
    let now = match log {
        LogNow::Readable => "the log can be read".to_owned(),
        LogNow::Broken { code, version: Some(version) } => {
            format!("the log cannot be read from commit {version} on ({code})")
        }
        LogNow::Broken { code, version: None } => format!("the log cannot be read ({code})"),
        LogNow::EndsBeforeView => "the log ends before its view".to_owned(),
        LogNow::Absent => "there is no log".to_owned(),
    };
    let (user, since, reason) = (parked.user, &parked.since, &parked.reason);
    format!("{user}: parked since {since} ({reason}); now {now}: {}", hint(*log))
}

/// What to do about it.
fn hint(log: LogNow) -> &'static str {
    match log {
        LogNow::Readable => "run `annals repair`",
        LogNow::Broken { code: "unknown-event" | "newer-form", .. } => {
            "deploy the code that wrote it, then run `annals repair`"
        }
        LogNow::Broken { code: "unknown-key", .. } => {
            "put the missing service key back, then run `annals repair`"
        }
        LogNow::Broken { .. } => {
            "somebody has changed the table: put back what was there, from a backup, then run `annals repair`"
        }
        LogNow::EndsBeforeView => "put back the end of the log, from a backup, then run `annals repair`",
        LogNow::Absent => "run `annals repair`, or `annals rebuild` if there is a view",
    }
}
