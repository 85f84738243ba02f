use std::process::ExitCode;

use chrono::{DateTime, TimeDelta, Utc};
use command_api::Clock;
use command_api::passwords::{HashError, pepper_of};
use domain::{Account, Command, CommandId, MOST_FAILURES, UserId};
use serde::Serialize;
use storage::keys::{Change, KeyId, KeyInRing, KeyState, RingName};
use storage::{Enclosed, ExecuteError, Intent, KeyUsers, Lifetimes, ReadError, Segment, Store, Vault};
use uuid::Uuid;

use super::{OperateError, in_words, moment, report, source};
use crate::cli::RetireKeyArgs;
use crate::place::{Place, PlaceError};

/// Every process has read the rings again within five minutes, and what it began before has ended within ten.
const EVERYBODY_HAS_READ: TimeDelta = TimeDelta::minutes(10);
/// The last access token of a key is made up to five minutes after the key's end, by a process that has not read the ring
/// again, and is good for 15 minutes and a leeway of one.
const ACCESS_TOKENS: TimeDelta = TimeDelta::minutes(21);
/// The longest life of a one-time token, and the same five minutes.
const ONE_TIME_TOKENS: TimeDelta = TimeDelta::minutes(24 * 60 + 5);

/// Why a key cannot be retired.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// What it made may still be under way, or be good.
    #[error("the key {} may still be needed until {}; try again then", id.as_str(), moment(*until))]
    TooEarly {
        /// The key.
        id: KeyId,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// It is not known when its place was taken.
    #[error("it was not written down when the key {} was replaced; --force retires it all the same", .0.as_str())]
    SinceUnknown(KeyId),
    /// It cannot be seen which pepper somebody needs.
    #[error("the verifier of {0} cannot be read")]
    Unreadable(UserId, #[source] HashError),
    /// The option makes no sense for this ring.
    #[error("--disable-those-left is for peppers only")]
    OnlyPeppers,
    /// A password could not be disabled.
    #[error("the password of {0} could not be disabled")]
    NotDisabled(UserId, #[source] ExecuteError),
    /// The system has no random numbers.
    #[error("no random source")]
    NoRandomness,
    /// Something in the tables names it.
    #[error("{users} {what} the key {}: {then}", id.as_str())]
    InUse {
        /// The key.
        id: KeyId,
        /// How many do.
        users: u64,
        /// What they are.
        what: &'static str,
        /// What helps.
        then: &'static str,
    },
}

#[derive(Serialize)]
struct Retired<'a> {
    ring: &'static str,
    id: &'a KeyId,
    lost: u64,
    disabled: u64,
}

/// Takes a key out of its ring, if nothing needs it any more.
pub(crate) async fn retire(args: &RetireKeyArgs) -> Result<ExitCode, OperateError> {
    let place = Place::attach(&args.deployment).await?;
    let retired = retired(&place, args).await;
    place.close().await;
    retired
}

async fn retired(place: &Place, args: &RetireKeyArgs) -> Result<ExitCode, OperateError> {
    let (ring, id, now) = (args.purpose, &args.id, Clock::system().now());
    let source = source(&args.deployment).await?;
    let keys = source.whole().await.map_err(PlaceError::from)?.ring(ring, now);
    let (mut lost, mut disabled) = (0, 0);
    if args.disable_those_left && ring != RingName::Pepper {
        return Err(RetireError::OnlyPeppers.into());
    }
    if let Some(key) = keys.iter().find(|key| key.id == *id && key.state == KeyState::Former) {
        if let Err(early) = is_over(ring, key, now)
            && !(args.force && may_be_hurried(ring, &early))
        {
            return Err(early.into());
        }
        let store = Store::new(&place.client, &place.tables, &place.keys, Lifetimes::default());
        let mut users = users(&store, ring, now).await?.get(id).copied().unwrap_or_default();
        if ring == RingName::Pepper && users > 0 {
            let left = peppered(&store, id).await?;
            for user in left.iter().filter(|_| args.disable_those_left) {
                disabled += u64::from(disable(&store, *user, now).await?);
            }
            // Whoever signed in meanwhile needs it no more, and whose password is disabled never will.
            users = if args.disable_those_left { peppered(&store, id).await? } else { left }.len() as u64;
        }
        if users > 0 && !(args.force && may_be_lost(ring)) {
            let (what, then) = needed(ring);
            return Err(RetireError::InUse { id: id.clone(), users, what, then }.into());
        }
        lost = users;
    }
    let left = source.change(ring, &Change::Retire(id.clone()), now).await?;
    let retired = Retired { ring: ring.as_str(), id, lost, disabled };
    report::write(args.report.json, &retired, || {
        let mut words = format!("{} retired", id.as_str());
        if lost > 0 {
            words.push_str(&format!("; {lost} {} it", needed(ring).0));
        }
        if disabled > 0 {
            words.push_str(&format!("; {} disabled until a reset", report::count(disabled, "password")));
        }
        format!("{words}\n{}", in_words(ring, &left))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Those whose password can only be verified with this pepper.
async fn peppered(store: &Store, id: &KeyId) -> Result<Vec<UserId>, OperateError> {
    let (mut users, mut from) = (Vec::new(), None);
    loop {
        let page = store.vaults(Segment { index: 0, total: 1 }, from).await.map_err(ReadError::from)?;
        for vault in &page.vaults {
            if pepper(store, vault)? == *id && !snapshot(store, vault.user()).await?.password_disabled {
                users.push(vault.user());
            }
        }
        from = page.next;
        if from.is_none() {
            return Ok(users);
        }
    }
}

fn pepper(store: &Store, vault: &Vault) -> Result<KeyId, OperateError> {
    let phc = store.verifier(vault).map_err(ReadError::from)?;
    // Who cannot tell could be the one who needs it.
    Ok(pepper_of(&phc).map_err(|error| RetireError::Unreadable(vault.user(), error))?)
}

async fn snapshot(store: &Store, user: UserId) -> Result<Account, OperateError> {
    let folded = store.log.fold(user).await.map_err(ReadError::from)?.outcome.map_err(ReadError::from)?;
    folded.user.account().cloned().ok_or_else(|| OperateError::NoUser(user.to_string()))
}

/// Disables a password as the count of guesses does when it is used up; not that of somebody who has signed in meanwhile:
/// the count begins after that.
async fn disable(store: &Store, user: UserId, now: DateTime<Utc>) -> Result<bool, OperateError> {
    let account = snapshot(store, user).await?;
    let Some(mut loaded) = store.load(user).await? else { return Ok(false) };
    let intent = Intent {
        command: Command::DisablePassword { attempt: account.last_success.saturating_add(MOST_FAILURES) },
        id: CommandId::new(Uuid::from_bytes(random()?)),
        at: now,
        address: None,
        agent: Some("annals keys retire".to_owned()),
        enclosed: Enclosed::Nothing,
    };
    let executed = store.execute(&mut loaded, &intent).await;
    Ok(executed.map_err(|error| RetireError::NotDisabled(user, error))?.version.is_some())
}

fn random() -> Result<[u8; 16], RetireError> {
    let mut octets = [0; 16];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| RetireError::NoRandomness)?;
    Ok(octets)
}

/// Whether so much time has passed since the key's place was taken that it makes nothing any more, and that what it made
/// without a trace in a table is no longer good.
fn is_over(ring: RingName, key: &KeyInRing, now: DateTime<Utc>) -> Result<(), RetireError> {
    let wait = match ring {
        RingName::Signing => ACCESS_TOKENS,
        RingName::OneTime => ONE_TIME_TOKENS,
        RingName::Wrapping | RingName::Verifiers | RingName::Views | RingName::Refresh | RingName::Pepper => {
            EVERYBODY_HAS_READ
        }
    };
    let until = key.until.ok_or_else(|| RetireError::SinceUnknown(key.id.clone()))? + wait;
    if now < until { Err(RetireError::TooEarly { id: key.id.clone(), until }) } else { Ok(()) }
}

/// Whether an emergency may cost what still names the key: never what could not be made again.
const fn may_be_lost(ring: RingName) -> bool {
    match ring {
        RingName::Views | RingName::Refresh | RingName::OneTime | RingName::Signing => true,
        RingName::Wrapping | RingName::Verifiers | RingName::Pepper => false,
    }
}

/// Whether an emergency may do without the wait: not where a process that has not read the ring again could still seal
/// something with the key, after the tables were looked at, that nobody could make again.
const fn may_be_hurried(ring: RingName, early: &RetireError) -> bool {
    match ring {
        RingName::Wrapping | RingName::Verifiers => !matches!(early, RetireError::TooEarly { .. }),
        RingName::Views | RingName::Refresh | RingName::OneTime | RingName::Pepper | RingName::Signing => {
            true
        }
    }
}

const fn needed(ring: RingName) -> (&'static str, &'static str) {
    match ring {
        RingName::Wrapping => ("data keys are wrapped with", "run `annals keys rewrap` first"),
        RingName::Verifiers => ("verifiers are sealed with", "run `annals keys rewrap` first"),
        RingName::Views => ("views are sealed with", "run `annals rebuild` first"),
        RingName::Refresh => (
            "living sessions need",
            "they move on when they are refreshed, and end within 30 days; --force ends them now",
        ),
        RingName::Pepper => (
            "verifiers need",
            "each moves on when its user signs in or sets a password; --disable-those-left disables their passwords",
        ),
        RingName::OneTime | RingName::Signing => ("values need", "wait"),
    }
}

/// Who names which key of a ring, as a consistent scan finds it. Tokens lie in no table.
async fn users(store: &Store, ring: RingName, now: DateTime<Utc>) -> Result<KeyUsers, OperateError> {
    match ring {
        RingName::Wrapping | RingName::Verifiers | RingName::Pepper => of_vaults(store, ring).await,
        RingName::Views => Ok(store.keys_of_views().await.map_err(ReadError::from)?),
        RingName::Refresh => Ok(store.keys_of_sessions(now).await.map_err(ReadError::from)?),
        RingName::OneTime | RingName::Signing => Ok(KeyUsers::new()),
    }
}

async fn of_vaults(store: &Store, ring: RingName) -> Result<KeyUsers, OperateError> {
    let (mut users, mut from) = (KeyUsers::new(), None);
    loop {
        let page = store.vaults(Segment { index: 0, total: 1 }, from).await.map_err(ReadError::from)?;
        for vault in &page.vaults {
            let key = match ring {
                RingName::Wrapping => vault.wrapped_with(),
                RingName::Pepper => Some(pepper(store, vault)?),
                RingName::Verifiers
                | RingName::Views
                | RingName::Refresh
                | RingName::OneTime
                | RingName::Signing => vault.sealed_with(),
            };
            if let Some(key) = key {
                *users.entry(key).or_default() += 1;
            }
        }
        from = page.next;
        if from.is_none() {
            return Ok(users);
        }
    }
}
