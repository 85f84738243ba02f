use std::io::Write as _;
use std::process::ExitCode;

use chrono::SecondsFormat;
use domain::{Email, UserId};
use serde_json::{Value, json};
use storage::{Commit, Lifetimes, Store};

use super::OperateError;
use crate::cli::HistoryArgs;
use crate::place::Place;

/// Shows every event of a user in order, each with its version, time and command.
pub(crate) async fn history(args: &HistoryArgs) -> Result<ExitCode, OperateError> {
    let place = Place::attach(&args.deployment).await?;
    let result = show(&place, args).await;
    place.close().await;
    result
}

async fn show(place: &Place, args: &HistoryArgs) -> Result<ExitCode, OperateError> {
    let store = Store::new(&place.client, &place.tables, &place.keys, Lifetimes::default());
    let user = find(&store, &args.user).await?;
    // Said as it is read: of a log that breaks off, what comes before the break is shown.
    let (mut shown, mut written) = (false, Ok(()));
    let read = store.log.history(user, |commit| {
        for line in lines_of(commit, args.report.json) {
            shown = true;
            if written.is_ok() {
                written = writeln!(std::io::stdout(), "{line}");
            }
        }
    });
    read.await?;
    written?;
    if shown { Ok(ExitCode::SUCCESS) } else { Err(OperateError::NoUser(args.user.clone())) }
}

/// Who has this id or, now, this address.
pub(super) async fn find(store: &Store, text: &str) -> Result<UserId, OperateError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let email = Email::parse(text).map_err(|_| OperateError::NotAUser(text.to_owned()))?;
    store.find(&email).await?.ok_or_else(|| OperateError::NoUser(text.to_owned()))
}

fn lines_of(commit: &Commit, as_json: bool) -> Vec<String> {
    let at = commit.at.to_rfc3339_opts(SecondsFormat::Millis, true);
    commit
        .events
        .iter()
        .map(|recorded| {
            let event = serde_json::to_value(&recorded.event).unwrap_or_default();
            if as_json {
                let line = json!({
                    "version": commit.version,
                    "at": at,
                    "command": { "id": commit.command, "name": recorded.meta.command },
                    "event": event,
                    "address": recorded.meta.address,
                    "agent": recorded.meta.agent,
                });
                return line.to_string();
            }
            let data = event.get(recorded.event.name()).cloned().unwrap_or(Value::Null);
            let (version, command, name) = (commit.version, &recorded.meta.command, recorded.event.name());
            format!("{version:>6}  {at}  {command:<16}  {name:<22}  {data}")
        })
        .collect()
}
