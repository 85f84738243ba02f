//! The service keys: made once, listed, rotated and retired. No key is ever shown.

mod retire;
mod rewrap;

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use command_api::Clock;
use serde::Serialize;
use storage::keys::{
    Change, KeyFileError, KeyInRing, KeySetting, KeySource, KeyState, KeysError, ParameterStore, RingName,
    ServiceKeys,
};

pub(crate) use self::retire::RetireError;
use super::{OperateError, report};
use crate::account::{self, Account, AccountError};
use crate::cli::{DeploymentArgs, KEYS_FILE, KeysCommand, ListKeysArgs, MakeKeysArgs, RotateKeysArgs};
use crate::place::PlaceError;

/// Looks after service keys.
pub(crate) async fn keys(command: &KeysCommand) -> Result<ExitCode, OperateError> {
    match command {
        KeysCommand::Make(args) => make(args).await,
        KeysCommand::List(args) => list(args).await,
        KeysCommand::Rotate(args) => rotate(args).await,
        KeysCommand::Retire(args) => retire::retire(args).await,
        KeysCommand::Rewrap(args) => rewrap::rewrap(args).await,
    }
}

/// Where the keys of a deployment are. Its tables need not be there.
async fn source(args: &DeploymentArgs) -> Result<KeySource, PlaceError> {
    Ok(match Account::named(&args.account, &args.place.data).await? {
        Some(account) => account.keys.source(&account.sdk),
        None => KeySource::File(args.place.data.join(KEYS_FILE)),
    })
}

/// Makes all keys of a stack; none is changed that is there. What is published of them is made to fit.
async fn make(args: &MakeKeysArgs) -> Result<ExitCode, OperateError> {
    let (name, path) = match (&args.stack, &args.prefix) {
        (Some(stack), _) => (stack.as_str(), format!("/annals/{stack}/keys/")),
        (None, prefix) => ("deployment", prefix.clone().unwrap_or_default()),
    };
    let Some(KeySetting::Prefix(prefix)) = KeySetting::prefix(&path) else {
        return Err(PlaceError::from(AccountError::Prefix).into());
    };
    let (sdk, region) = account::load().await.map_err(PlaceError::from)?;
    let mut keys =
        ServiceKeys::random().map_err(|_| PlaceError::from(KeysError::File(KeyFileError::NoRandomness)))?;
    keys.deployment = keys.deployment.replace("local", name);
    let made = ParameterStore::new(&sdk, prefix.clone()).make(&keys).await?;
    report::write(args.report.json, &made, || {
        let (new, kept) = (made.made.len() as u64, made.kept.len() as u64);
        let mut words = format!("{} made below {prefix} in {region}", report::count(new, "parameter"));
        if kept > 0 {
            words.push_str(&format!("; {} there already, as before", report::count(kept, "parameter")));
        }
        for name in &made.mended {
            words.push_str(&format!("; {name} was not that of the keys that sign, and is now"));
        }
        words
    })?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Listed<'a> {
    deployment: &'a str,
    keys: Vec<ListedKey>,
}

#[derive(Serialize)]
struct ListedKey {
    ring: &'static str,
    purpose: &'static str,
    #[serde(flatten)]
    key: KeyInRing,
}

/// Lists the keys of every ring. Says on standard error if others are published than those that sign.
async fn list(args: &ListKeysArgs) -> Result<ExitCode, OperateError> {
    let source = source(&args.deployment).await?;
    let keys = source.whole().await.map_err(PlaceError::from)?;
    if !source.publishes_what_signs().await.map_err(PlaceError::from)? {
        eprintln!(
            "annals: the public keys are not those of the keys that sign; unless somebody is changing them just now, \
             `annals keys make` mends that"
        );
    }
    let now = Clock::system().now();
    let rings = RingName::ALL.map(|ring| (ring, keys.ring(ring, now)));
    let listed = rings.iter().flat_map(|(ring, keys)| {
        let listed =
            |key: &KeyInRing| ListedKey { ring: ring.as_str(), purpose: ring.purpose(), key: key.clone() };
        keys.iter().map(listed)
    });
    let listed = Listed { deployment: &keys.deployment, keys: listed.collect() };
    report::write(args.report.json, &listed, || {
        let rings = rings.iter().map(|(ring, keys)| in_words(*ring, keys)).collect::<Vec<_>>();
        format!("deployment {}\n{}", keys.deployment, rings.join("\n"))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn in_words(ring: RingName, keys: &[KeyInRing]) -> String {
    let mut words = format!("{}: {}", ring.as_str(), ring.purpose());
    for key in keys {
        let what = match (key.state, key.since, key.until) {
            (KeyState::Next, Some(since), _) => format!("next, from {} on", moment(since)),
            (KeyState::Current, Some(since), None) => format!("current, since {}", moment(since)),
            (KeyState::Current, _, Some(until)) => format!("current, until {}", moment(until)),
            (KeyState::Current, None, None) => "current".to_owned(),
            (KeyState::Former, _, Some(until)) => format!("former, until {}", moment(until)),
            (KeyState::Next, None, _) | (KeyState::Former, _, None) => "former".to_owned(),
        };
        words.push_str(&format!("\n  {}  {what}", key.id.as_str()));
    }
    words
}

fn moment(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Puts a new key into a ring.
async fn rotate(args: &RotateKeysArgs) -> Result<ExitCode, OperateError> {
    let change = if args.now { Change::RotateNow } else { Change::Rotate };
    let (source, now) = (source(&args.deployment).await?, Clock::system().now());
    let keys = source.change(args.purpose, &change, now).await?;
    report::write(args.report.json, &keys, || {
        let ring = in_words(args.purpose, &keys);
        if args.now { format!("{ring}\n{}", afterwards(args.purpose)) } else { ring }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What an emergency still calls for.
const fn afterwards(ring: RingName) -> &'static str {
    match ring {
        RingName::Wrapping | RingName::Verifiers => {
            "in 5 minutes every process uses the new key; then run `annals keys rewrap`, and retire the old one: \
             it costs nobody anything"
        }
        RingName::Views => {
            "in 5 minutes every process uses the new key; then run `annals rebuild`, and retire the old one: until it is \
             rebuilt, a view that does not open is read from the log"
        }
        RingName::Refresh => {
            "in 5 minutes every process uses the new key; `annals keys retire refresh ID --force` then ends every session \
             that was not refreshed since: its user has to sign in again"
        }
        RingName::OneTime => {
            "in 5 minutes every process uses the new key; `annals keys retire one-time ID --force` then voids the links in \
             mails that were sent before"
        }
        RingName::Pepper => {
            "whoever signs in gets a verifier with the new pepper; the old one cannot be retired before nobody's verifier \
             names it"
        }
        RingName::Signing => {
            "in 5 minutes every process uses the new key; `annals keys retire signing ID --force` then voids the access \
             tokens of the old one: clients refresh theirs, and nobody has to sign in again. Whoever verifies tokens \
             elsewhere may know the old key for 15 minutes more, and does not know the new one until they ask again"
        }
    }
}
