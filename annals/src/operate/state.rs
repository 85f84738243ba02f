use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, Utc};
use command_api::Clock;
use domain::{Account, UserId, Version};
use serde_json::{Value, json};
use storage::{Lifetimes, Moment, Past, PastError, Store};

use super::history::find;
use super::{OperateError, report};
use crate::cli::StateArgs;
use crate::place::Place;

/// Shows what a user's log adds up to, now or as of an earlier moment.
pub(crate) async fn state(args: &StateArgs) -> Result<ExitCode, OperateError> {
    let place = Place::attach(&args.deployment).await?;
    let result = show(&place, args).await;
    place.close().await;
    result
}

async fn show(place: &Place, args: &StateArgs) -> Result<ExitCode, OperateError> {
    let store = Store::new(&place.client, &place.tables, &place.keys, Lifetimes::default());
    let user = find(&store, &args.user).await?;
    let moment = match (args.at, args.version) {
        (Some(time), _) => Moment::Time(time),
        (None, Some(number)) => Moment::Version(Version::new(number.min(Version::MAX.number()))),
        (None, None) => Moment::End,
    };
    let past = store.log.as_of(user, moment).await.map_err(|error| match error {
        PastError::NoLog => OperateError::NoUser(args.user.clone()),
        other => OperateError::NoState(args.user.clone(), other),
    })?;
    // When it is asked which sessions are alive.
    let as_of = match moment {
        Moment::Time(time) => time,
        Moment::Version(_) => past.at,
        Moment::End => Clock::system().now(),
    };
    let Some(account) = past.snapshot.user.account() else {
        return Err(OperateError::NoUser(args.user.clone()));
    };
    let shown = json_of(user, &past, account, as_of);
    report::write(args.report.json, &shown, || in_words(user, &past, account, as_of))?;
    Ok(ExitCode::SUCCESS)
}

fn json_of(user: UserId, past: &Past, account: &Account, as_of: DateTime<Utc>) -> Value {
    let sessions: Vec<Value> =
        alive(account, as_of).map(|(id, ends)| json!({"session_id": id, "ends": ends})).collect();
    json!({
        "user_id": user,
        "as_of": millis(as_of),
        "version": past.snapshot.head.version,
        "at": millis(past.at),
        "status": "active",
        "email": account.email,
        "email_verified": account.email_verified,
        "name": account.name,
        "created_at": millis(account.created_at),
        "updated_at": millis(account.updated_at),
        "profile_version": account.profile_version,
        "credential": account.credential,
        "last_success": account.last_success,
        "sessions": sessions,
    })
}

fn in_words(user: UserId, past: &Past, account: &Account, as_of: DateTime<Utc>) -> String {
    let verified = if account.email_verified { "verified" } else { "not verified" };
    let mut text = format!("user        {user}, active\nas of       {}", millis(as_of));
    text.push_str(&format!("\nversion     {}, of {}", past.snapshot.head.version, millis(past.at)));
    text.push_str(&format!("\nemail       {} ({verified})", account.email.as_str()));
    if let Some(name) = &account.name {
        text.push_str(&format!("\nname        {}", name.as_str()));
    }
    text.push_str(&format!("\nregistered  {}", millis(account.created_at)));
    text.push_str(&format!(
        "\nchanged     {}, by commit {}",
        millis(account.updated_at),
        account.profile_version
    ));
    text.push_str(&format!("\ncredential  {}", account.credential));
    for (id, ends) in alive(account, as_of) {
        text.push_str(&format!("\nsession     {id}, until {ends} at the latest"));
    }
    text
}

/// The sessions that had begun and not ended, as far as the log knows: that one was not refreshed for too long stands
/// only in its row.
fn alive(account: &Account, as_of: DateTime<Utc>) -> impl Iterator<Item = (String, String)> {
    let alive = account.sessions.iter().filter(move |session| session.ends > as_of);
    alive.map(|session| (session.id.to_string(), session.ends.to_rfc3339_opts(SecondsFormat::Secs, true)))
}

fn millis(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
