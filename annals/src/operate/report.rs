use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use projector::replay::{Covered, Difference, Finding, ParkedUser, Phase, Progress, VerifyReport};
use serde::Serialize;

use super::OperateError;
use crate::local::pump::{Consumer, dead_letters_in};

/// Where nobody watches, a line as often as this.
const A_LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far a run has come, on standard error: a bar where a person watches, under a line for each phase before;
/// lines otherwise.
pub(super) fn progress() -> impl Fn(Progress) + Send + Sync + 'static {
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
    });
    let last_line = Mutex::new(Instant::now());
    let shown = Mutex::new(None::<(Phase, String)>);
    move |progress| {
        let line =
            format!("{}: {} users, {} commits", doing(progress.phase), progress.users, progress.commits);
        if let Some(bar) = &bar {
            bar.set_message(line.clone());
            let Ok(mut shown) = shown.lock() else { return };
            match shown.replace((progress.phase, line)) {
                // Draws the bar too, always: a tick is passed over if it follows the last one at once, and then a short
                // phase would not be seen.
                Some((phase, last)) if phase != progress.phase => bar.println(last),
                _ => bar.tick(),
            }
            return;
        }
        let Ok(mut last_line) = last_line.lock() else { return };
        if last_line.elapsed() >= A_LINE_EVERY {
            *last_line = Instant::now();
            eprintln!("{line}");
        }
    }
}

const fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Rebuild => "rebuilding",
        Phase::DryRun => "comparing",
        Phase::Repair => "repairing",
        Phase::Verify => "verifying",
        Phase::Mend => "mending",
    }
}

/// Writes a result to standard output: as JSON, or in these words.
pub(super) fn write(
    as_json: bool,
    result: &impl Serialize,
    words: impl FnOnce() -> String,
) -> Result<(), OperateError> {
    let text = if as_json { serde_json::to_string(result).map_err(std::io::Error::from)? } else { words() };
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// The same, with the numbers of dead letters in this data folder, if there are any.
pub(super) fn write_with_dead_letters(
    data: &Path,
    as_json: bool,
    result: &impl Serialize,
    words: impl FnOnce() -> String,
) -> Result<(), OperateError> {
    let of_views = dead_letters_in(data, Consumer::Projector);
    let of_mails = dead_letters_in(data, Consumer::Mailer);
    let (views, mails) = (dead_letters(&of_views)?, dead_letters(&of_mails)?);
    let some = |number: u64| (number > 0).then_some(number);
    let result = WithDeadLetters { result, dead_letters: some(views), mail_dead_letters: some(mails) };
    write(as_json, &result, || {
        let mut words = words();
        if views > 0 {
            words.push_str(&format!("\n{} in {}", count(views, "dead letter"), of_views.display()));
        }
        if mails > 0 {
            let number = count(mails, "dead letter");
            words.push_str(&format!("\n{number} of the mailer in {}", of_mails.display()));
        }
        words
    })
}

/// How many records lie in this file, which need not be there.
fn dead_letters(path: &Path) -> Result<u64, OperateError> {
    match std::fs::read(path) {
        Ok(lines) => Ok(lines.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()).count() as u64),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(OperateError::DeadLetters(path.to_owned(), error)),
    }
}

#[derive(Serialize)]
struct WithDeadLetters<'a, R> {
    #[serde(flatten)]
    result: &'a R,
    /// The projector's.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letters: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mail_dead_letters: Option<u64>,
}

/// How many of something there are.
pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What a run has read.
pub(super) fn read(covered: &Covered) -> String {
    format!("{}, {}", count(covered.users, "user"), count(covered.events, "event"))
}

/// Those lines whose number is not zero, each indented.
pub(super) fn nonzero(lines: &[(u64, &str)]) -> String {
    lines
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("\n  {number} {what}"))
        .collect()
}

/// The result of a verification in words.
pub(super) fn verification(report: &VerifyReport) -> String {
    let covered = report.covered;
    let differences = match report.total {
        0 => "no difference".to_owned(),
        total => count(total, "difference"),
    };
    let mut text = format!("{}, {differences}", read(&covered));
    for difference in &report.differences {
        text.push_str(&format!("\n  {}", in_words(difference)));
    }
    let unlisted = report.total - report.differences.len() as u64;
    if unlisted > 0 {
        text.push_str(&format!("\n  and {unlisted} more"));
    }
    let parked = &report.parked;
    if !parked.is_empty() {
        text.push_str(&format!("\n{} parked", count(parked.total, "user")));
    }
    for ParkedUser { user, since, reason } in &parked.users {
        text.push_str(&format!("\n  {user}: parked since {since} ({reason})"));
    }
    let unlisted = parked.total - parked.users.len() as u64;
    if unlisted > 0 {
        text.push_str(&format!("\n  and {unlisted} more"));
    }
    text
}

fn in_words(difference: &Difference) -> String {
    let what = match &difference.finding {
        Finding::LogBroken { code, version: Some(version) } => {
            format!("the log cannot be read from commit {version} on ({code})")
        }
        Finding::LogBroken { code, version: None } => format!("the log cannot be read ({code})"),
        Finding::LogEndsBeforeView { log, view } => {
            format!("the log ends with commit {log}, before its view, which shows commit {view}")
        }
        Finding::LogWentAnotherWay { log, view } => format!(
            "the log was cut off before commit {view}, which its view shows, and goes on another way, to commit {log}"
        ),
        Finding::VaultWithoutLog => "there is a vault and no log".to_owned(),
        Finding::LogItemMalformed => "an item of the events table belongs to nobody's log".to_owned(),
        Finding::ViewAbsent => "there is no view".to_owned(),
        Finding::ViewBehind { log, view } => format!("the view shows commit {view} of {log}"),
        Finding::ViewDiffers => "the view says something else than the log".to_owned(),
        Finding::ViewTorn => "the view does not open".to_owned(),
        Finding::ViewParked => "the user is parked, and the log can be read".to_owned(),
        Finding::ViewOfLowerFold => "the view was put by older code".to_owned(),
        Finding::ViewOfHigherFold => "the view was put by newer code".to_owned(),
        Finding::ViewWithoutLog => "there is a view and no log".to_owned(),
        Finding::ViewOfErased => "there is a view of a user who has been erased".to_owned(),
        Finding::ViewMalformed => "the key of a view is no user id".to_owned(),
        Finding::IdentifierMissing => "the address leads to nobody".to_owned(),
        Finding::IdentifierOfAnother { found } => format!("the address leads to {found}"),
        Finding::IdentifierWithoutUser => "an identifier leads here that is not the user's".to_owned(),
        Finding::IdentifierMalformed => "an identifier leads to nobody".to_owned(),
    };
    difference.user.map_or_else(|| what.clone(), |user| format!("{user}: {what}"))
}
