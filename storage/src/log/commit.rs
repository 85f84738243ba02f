use std::fmt;

use aws_lc_rs::digest;
use chrono::{DateTime, SecondsFormat, Utc};
use domain::{CommandId, User, UserEvent, UserId, Version};
use serde::{Deserialize, Serialize};

use crate::error::{Broken, Unavailable};
use crate::items::{Item, b, octets, s, text};
use crate::seal::{Binding, Purpose, length, open, seal};
use crate::vault::DataKey;

/// A commit above this is refused before it is sent, in octets; DynamoDB's own limit is 400 KB an item.
const MAX: usize = 350 * 1024;

/// The prefix of a commit's sort key.
const PREFIX: &str = "commit-";

/// One event and what is known of its making. A third part, of newer code, makes it unreadable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// What happened.
    pub event: UserEvent,
    /// By what and from where.
    pub meta: Metadata,
}

/// What is recorded beside an event. Nothing is decided by it, so what newer code adds to it may be overlooked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The name of the command.
    pub command: String,
    /// The network address the command came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The client's `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Without the network address and the `User-Agent`, which are personal.
impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata").field("command", &self.command).finish_non_exhaustive()
    }
}

/// A commit, opened: the events of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Whose log it is in.
    pub user: UserId,
    /// Its place in the log.
    pub version: Version,
    /// The command that made it.
    pub command: CommandId,
    /// When the command was given; milliseconds.
    pub at: DateTime<Utc>,
    /// The events, at least one.
    pub events: Vec<Recorded>,
}

impl Commit {
    /// The user after this commit.
    #[must_use]
    pub fn fold(&self, user: User) -> User {
        self.events.iter().fold(user, |user, recorded| user.evolve(&recorded.event, self.at, self.version))
    }
}

/// The hash of a stored commit, by which the next one names it; of zeros before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitHash(pub(crate) [u8; 32]);

/// A commit as it lies in the table.
#[derive(Debug, Clone)]
pub(crate) struct StoredCommit {
    pub user: UserId,
    pub version: Version,
    pub command: String,
    pub at: String,
    pub sealed: Vec<u8>,
}

/// The sort key of the commit with this version.
pub(crate) fn sort_key(version: Version) -> String {
    format!("{PREFIX}{:010}", version.number())
}

/// The version in the sort key of a commit; `None` for any other item.
pub fn version_of(sort_key: &str) -> Option<Version> {
    let digits = sort_key.strip_prefix(PREFIX)?;
    let all_digits = digits.len() == 10 && digits.bytes().all(|digit| digit.is_ascii_digit());
    all_digits.then(|| digits.parse().ok().map(Version::new)).flatten()
}

impl StoredCommit {
    /// Seals a commit to follow the one with the hash `before`.
    ///
    /// # Errors
    /// [`Unavailable`] when it is too large to be stored, or the system has no random numbers.
    pub(crate) fn seal(
        commit: &Commit,
        before: CommitHash,
        deployment: &str,
        key: &DataKey,
    ) -> Result<Self, Unavailable> {
        let mut stored = Self {
            user: commit.user,
            version: commit.version,
            command: commit.command.to_string(),
            at: commit.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            sealed: Vec::new(),
        };
        let plain = serde_json::to_vec(&commit.events).map_err(|error| Unavailable(Box::new(error)))?;
        if plain.len() > MAX {
            return Err(Unavailable::because("the commit is too large"));
        }
        let item = sort_key(commit.version);
        stored.sealed =
            seal(key.current(), &stored.binding(deployment, &item, &stored.also(&before)), &plain)?;
        Ok(stored)
    }

    /// Opens the commit that follows the one with the hash `before`.
    pub(crate) fn open(&self, before: CommitHash, deployment: &str, key: &DataKey) -> Result<Commit, Broken> {
        let item = sort_key(self.version);
        let plain =
            open(&self.sealed, |id| key.get(id), &self.binding(deployment, &item, &self.also(&before)))
                .map_err(|error| Broken::Commit(self.version, error))?;
        let events = serde_json::from_slice(&plain).map_err(|_| Broken::UnknownEvent(self.version))?;
        Ok(Commit {
            user: self.user,
            version: self.version,
            command: self.command.parse().map_err(|_| Broken::CommitAttribute(self.version, "command"))?,
            at: DateTime::parse_from_rfc3339(&self.at)
                .map_err(|_| Broken::CommitAttribute(self.version, "at"))?
                .to_utc(),
            events,
        })
    }

    /// The hash of the stored octets, which the commit after this one is bound to.
    pub(crate) fn hash(&self) -> CommitHash {
        let mut digest = digest::Context::new(&digest::SHA256);
        for part in [
            self.user.as_bytes(),
            sort_key(self.version).as_bytes(),
            self.command.as_bytes(),
            self.at.as_bytes(),
            &self.sealed,
        ] {
            digest.update(&length(part));
            digest.update(part);
        }
        let mut hash = [0_u8; 32];
        hash.copy_from_slice(digest.finish().as_ref());
        CommitHash(hash)
    }

    fn also<'a>(&'a self, before: &'a CommitHash) -> [&'a [u8]; 3] {
        [self.at.as_bytes(), self.command.as_bytes(), &before.0]
    }

    const fn binding<'a>(&self, deployment: &'a str, item: &'a str, also: &'a [&'a [u8]]) -> Binding<'a> {
        Binding { deployment, purpose: Purpose::Commit, user: self.user, item, also }
    }

    pub(crate) fn into_item(self) -> Item {
        Item::from([
            ("user".into(), s(self.user.to_string())),
            ("item".into(), s(sort_key(self.version))),
            ("command".into(), s(self.command)),
            ("at".into(), s(self.at)),
            ("sealed".into(), b(self.sealed)),
        ])
    }

    /// The commit in an item, which should be the one of this version: what is wrong with it is wrong there.
    pub(crate) fn from_item(item: &Item, expected: Version) -> Result<Self, Broken> {
        let malformed = |attribute| Broken::CommitAttribute(expected, attribute);
        let text = |name| text(item, name).map_err(|_| malformed(name));
        let version = version_of(text("item")?).ok_or(malformed("item"))?;
        if version != expected {
            return Err(Broken::Gap { expected, found: version });
        }
        Ok(Self {
            user: text("user")?.parse().map_err(|_| malformed("user"))?,
            version,
            command: text("command")?.to_owned(),
            at: text("at")?.to_owned(),
            sealed: octets(item, "sealed").map_err(|_| malformed("sealed"))?.to_vec(),
        })
    }
}
