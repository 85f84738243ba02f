use std::process::ExitCode;

use command_api::Clock;
use projector::replay::{Contested, RestoreReport};

use super::rebuild::changed;
use super::unfinished::Unfinished;
use super::{OperateError, report};
use crate::cli::RestoreArgs;
use crate::place::Place;

/// What the operator does when all is well.
const THEN: &str = "Now turn the API on. Everybody signs in again. What was acknowledged after the moment of the \
                    events table's backup is gone; who registered since can register again.";
/// What the operator does when it is not.
const FIRST: &str = "Look at the differences before you turn the API on. Users whose log cannot be read are parked and \
                     cannot sign in; nobody else is affected.";

/// Makes one deployment again of tables that were brought back as of different moments; exit code 1 if it does not
/// verify afterwards. With `--dry-run`, says what would change.
pub(crate) async fn restore(args: &RestoreArgs) -> Result<ExitCode, OperateError> {
    if args.deployment.is_elsewhere() && !args.yes_the_api_is_off && !args.dry_run {
        return Err(OperateError::ApiPerhapsOn);
    }
    let place = Place::attach(&args.deployment).await?;
    let result = if args.dry_run { look(&place, args).await } else { mend(&place, args).await };
    place.close().await;
    result
}

async fn look(place: &Place, args: &RestoreArgs) -> Result<ExitCode, OperateError> {
    let replay = place.replay().reporting(report::progress());
    let found = replay.restore_dry_run(&place.identifiers(), &place.sessions()).await?;
    report::write(args.report.json, &found, || format!("would be restored: {}", in_words(&found)))?;
    Ok(ExitCode::SUCCESS)
}

async fn mend(place: &Place, args: &RestoreArgs) -> Result<ExitCode, OperateError> {
    if place.is_beside_a_server() {
        return Err(OperateError::ServerRunning(place.folder.clone()));
    }
    let replay = place.replay().reporting(report::progress());
    // Before it is said that something has begun: no server would start any more.
    replay.log_is_there(&place.identifiers()).await?;
    let folder = |error| OperateError::Folder(place.folder.clone(), error);
    place.restore_begins().map_err(folder)?;
    Unfinished::forget_all(&place.folder).map_err(folder)?;
    let restored = replay.restore(&place.identifiers(), &place.sessions(), Clock::system().now()).await?;
    place.restore_ended().map_err(folder)?;
    report::write(args.report.json, &restored, || {
        let rebuilt = restored.rebuilt.as_ref().map(changed).unwrap_or_default();
        let next = if restored.holds() { THEN } else { FIRST };
        format!("restored: {}\nrebuilt: {rebuilt}\n{next}", in_words(&restored))
    })?;
    Ok(if restored.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_words(restored: &RestoreReport) -> String {
    let mended = &restored.mended;
    let lines = [
        (restored.views_deleted, "views deleted"),
        (restored.sessions_deleted, "sessions and counts of guesses deleted"),
        (
            mended.users_buried,
            "users with no more than a registration, and no vault: erased, nobody can read it any more",
        ),
        (mended.vaults_deleted, "vaults without a commit, of registrations that are not in the log: deleted"),
        (mended.identifiers_made, "addresses that led to nobody: lead to their user"),
        (mended.identifiers_corrected, "addresses that led to somebody else: lead to their user"),
        (mended.identifiers_freed, "addresses of users who do not have them: free"),
        (mended.contested_total, "addresses left as they are, as nobody can tell whose they are:"),
    ];
    let mut words = format!("{}{}", report::read(&restored.covered), report::nonzero(&lines));
    for Contested { user, found } in &mended.contested {
        words.push_str(&match found {
            Some(found) => format!("\n    {user}: the address leads to {found}"),
            None => format!("\n    {user}: what stands for the address names nobody"),
        });
    }
    words
}
