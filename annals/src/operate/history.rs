use std::io::Write as _;
use std::process::ExitCode;

use chrono::SecondsFormat;
use domain::{Email, UserId, Version};
use serde_json::{Value, json};
use storage::{Commit, Lifetimes, Recorded, Store};

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
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    let read = store.log.history(user, |commit| {
        if args.report.json {
            lines.extend(json_of(commit));
        } else {
            rows.extend(rows_of(commit));
        }
    });
    let read = read.await;
    lines.extend(in_columns(&rows));
    // Of a log that breaks off, what comes before the break is shown.
    let mut out = std::io::stdout().lock();
    for line in &lines {
        writeln!(out, "{line}")?;
    }
    drop(out);
    read?;
    if lines.is_empty() { Err(OperateError::NoUser(args.user.clone())) } else { Ok(ExitCode::SUCCESS) }
}

/// Who has this id or, now, this address.
pub(super) async fn find(store: &Store, text: &str) -> Result<UserId, OperateError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let email = Email::parse(text).map_err(|_| OperateError::NotAUser(text.to_owned()))?;
    store.find(&email).await?.ok_or_else(|| OperateError::NoUser(text.to_owned()))
}

fn millis(commit: &Commit) -> String {
    commit.at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The events of a commit, each as one object.
fn json_of(commit: &Commit) -> Vec<String> {
    let line = |recorded: &Recorded| {
        json!({
            "version": commit.version,
            "at": millis(commit),
            "command": { "id": commit.command, "name": recorded.meta.command },
            "event": recorded.event,
            "address": recorded.meta.address,
            "agent": recorded.meta.agent,
        })
        .to_string()
    };
    commit.events.iter().map(line).collect()
}

/// An event, for a person.
struct Row {
    version: Version,
    at: String,
    command: String,
    event: &'static str,
    data: Value,
}

fn rows_of(commit: &Commit) -> Vec<Row> {
    let row = |recorded: &Recorded| {
        let event = serde_json::to_value(&recorded.event).unwrap_or_default();
        let name = recorded.event.name();
        Row {
            version: commit.version,
            at: millis(commit),
            command: recorded.meta.command.clone(),
            event: name,
            data: event.get(name).cloned().unwrap_or(Value::Null),
        }
    };
    commit.events.iter().map(row).collect()
}

/// A line a row; every column is as wide as the widest of what stands in it.
fn in_columns(rows: &[Row]) -> Vec<String> {
    let widest = |length: fn(&Row) -> usize| rows.iter().map(length).max().unwrap_or_default();
    let (commands, events) = (widest(|row| row.command.len()), widest(|row| row.event.len()));
    let line = |Row { version, at, command, event, data }: &Row| {
        format!("{version:>6}  {at}  {command:<commands$}  {event:<events$}  {data}")
    };
    rows.iter().map(line).collect()
}
