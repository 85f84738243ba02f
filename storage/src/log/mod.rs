//! The event log: one item per commit, sealed, dense and chained.

mod commit;
mod looking_back;
mod past;
mod scan;

use std::collections::HashSet;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::{CommandId, User, UserId, Version};

pub use commit::{Commit, CommitHash, Metadata, Recorded, version_of};
pub(crate) use commit::{StoredCommit, sort_key};
pub use past::{Moment, Past, PastError};
pub use scan::{LogScan, ScanPosition, Scanned, Segment};

use crate::error::{Broken, ReadError, Unavailable};
use crate::items::{Item, Wanted, batch_get, s, text};
use crate::seal::OpenError;
use crate::vault::{DataKey, SORT_KEY as VAULT, Vault, WrappingKeys};

/// So many items are looked at to find out whose the log is.
const LOOKED_AT: i32 = 50;

/// The events table, for reading. Appending is done with [`crate::Store::execute`].
#[derive(Debug, Clone)]
pub struct EventLog {
    pub(crate) client: Client,
    pub(crate) table: String,
    pub(crate) keys: WrappingKeys,
}

/// Where a log ends: the last commit's version and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The version of the last commit.
    pub version: Version,
    /// Its hash.
    pub hash: CommitHash,
}

/// A user as of some version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The fold of the commits up to the head.
    pub user: User,
    /// The last commit folded.
    pub head: Head,
}

impl Snapshot {
    /// Folds one more commit.
    pub(crate) fn follow(&mut self, commit: &Commit, hash: CommitHash) {
        self.user = commit.fold(std::mem::take(&mut self.user));
        self.head = Head { version: commit.version, hash };
    }
}

/// A walk along a user's log: where it stands, and the key it opens commits with.
pub(crate) struct Walk {
    pub head: Head,
    pub key: DataKey,
}

impl EventLog {
    /// The events table with the keys that open it.
    pub const fn new(client: Client, table: String, keys: WrappingKeys) -> Self {
        Self { client, table, keys }
    }

    /// The name of the table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Has the keys of the process read again if they are old: to be called whenever a request or an invocation begins.
    pub async fn refresh_keys(&self) {
        self.keys.ring.refresh().await;
    }

    /// The name of the deployment whose keys these are.
    pub fn deployment(&self) -> &str {
        &self.keys.deployment
    }

    /// Brings a snapshot up to the end of the log, read consistently, and returns the user's vault if it was seen.
    ///
    /// `vault` spares a request when more than one page follows. A user who does not exist stays at version 0.
    pub async fn advance(
        &self,
        user: UserId,
        snapshot: &mut Snapshot,
        vault: Option<Vault>,
    ) -> Result<Option<Vault>, ReadError> {
        self.advance_visiting(user, snapshot, vault, |_| {}).await
    }

    /// The same, showing each commit that is folded.
    pub async fn advance_visiting(
        &self,
        user: UserId,
        snapshot: &mut Snapshot,
        vault: Option<Vault>,
        mut visit: impl FnMut(&Commit),
    ) -> Result<Option<Vault>, ReadError> {
        let from = snapshot.head;
        let follow = |commit: &Commit, hash| {
            visit(commit);
            snapshot.follow(commit, hash);
        };
        self.walk(user, from, vault, follow).await
    }

    /// Every commit of a user in order, from the first.
    pub async fn history(&self, user: UserId, mut visit: impl FnMut(&Commit)) -> Result<(), ReadError> {
        self.walk(user, Head::default(), None, |commit, _| visit(commit)).await.map(|_| ())
    }

    /// Which of these users have a first commit, read consistently.
    pub async fn begun(&self, users: &[UserId]) -> Result<HashSet<UserId>, Unavailable> {
        let first = sort_key(Version::NONE.next());
        let keys = users.iter().map(|user| key(*user, &first)).collect();
        let wanted = Wanted { table: &self.table, keys, consistent: true };
        let mut found = batch_get(&self.client, vec![wanted]).await?;
        let items = found.remove(&self.table).unwrap_or_default();
        Ok(items.iter().filter_map(|item| text(item, "user").ok()?.parse().ok()).collect())
    }

    /// Whether the keys are those that the log was written with, as far as its first users tell: it is denied only if
    /// there are vaults among theirs that name a wrapping key, and none names one in the ring. A vault that is damaged,
    /// or all that is left of somebody erased, tells nothing.
    pub async fn knows_its_keys(&self) -> Result<bool, Unavailable> {
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            .limit(LOOKED_AT)
            .projection_expression("#user")
            .expression_attribute_names("#user", "user")
            .send()
            .await?;
        let items = answer.items.unwrap_or_default();
        let users: HashSet<UserId> =
            items.iter().filter_map(|item| text(item, "user").ok()?.parse().ok()).collect();
        let keys = users.into_iter().map(|user| key(user, VAULT)).collect();
        let wanted = Wanted { table: &self.table, keys, consistent: true };
        let mut found = batch_get(&self.client, vec![wanted]).await?;
        let vaults = found.remove(&self.table).unwrap_or_default();
        let names_ours =
            |vault: &Item| match Vault::from_item(vault).and_then(|vault| self.keys.unwrap(&vault)) {
                Ok(_) | Err(Broken::DataKey(OpenError::Broken)) => Some(true),
                Err(Broken::DataKey(OpenError::UnknownKey(_))) => Some(false),
                Err(_) => None,
            };
        let mut named = vaults.iter().filter_map(names_ours).peekable();
        Ok(named.peek().is_none() || named.any(|ours| ours))
    }

    /// Visits every commit after `from`, to the end of the log.
    async fn walk(
        &self,
        user: UserId,
        from: Head,
        vault: Option<Vault>,
        visit: impl FnMut(&Commit, CommitHash),
    ) -> Result<Option<Vault>, ReadError> {
        self.walk_until(user, from, None, vault, visit).await
    }

    /// Visits every commit after `from`, to this one, or to the end of the log; nothing behind it is read.
    async fn walk_until(
        &self,
        user: UserId,
        from: Head,
        until: Option<Version>,
        mut vault: Option<Vault>,
        mut visit: impl FnMut(&Commit, CommitHash),
    ) -> Result<Option<Vault>, ReadError> {
        let mut head = from;
        let mut key = None;
        let mut start = None;
        loop {
            let page = self.page(user, from.version, until, start).await?;
            let (vaults, commits): (Vec<&Item>, Vec<&Item>) =
                page.items.iter().partition(|item| text(item, "item") == Ok(VAULT));
            if let Some(item) = vaults.first() {
                vault = Some(Vault::from_item(item)?);
            }
            if key.is_none() && !commits.is_empty() {
                // The vault comes behind the last commit: on a later page, if there is one, and not before an earlier end.
                if vault.is_none() && (page.next.is_some() || until.is_some()) {
                    vault = self.vault(user).await?;
                }
                key = Some(self.keys.unwrap(vault.as_ref().ok_or(Broken::NoVault)?)?);
            }
            if let Some(key) = &key {
                let mut walk = Walk { head, key: key.clone() };
                // One after the other, so that the first that is broken is the one that is named.
                for item in commits {
                    let commit = StoredCommit::from_item(item, walk.head.version.next())?;
                    let opened = walk.step(&commit, &self.keys)?;
                    visit(&opened, walk.head.hash);
                }
                head = walk.head;
            }
            match page.next {
                Some(next) => start = Some(next),
                None => return Ok(vault),
            }
        }
    }

    /// One page of a user's commits after `after`, then the vault, or only to the commit `until`; consistent.
    async fn page(
        &self,
        user: UserId,
        after: Version,
        until: Option<Version>,
        start: Option<Item>,
    ) -> Result<Page, Unavailable> {
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .expression_attribute_names("#user", "user")
            .expression_attribute_names("#item", "item")
            .expression_attribute_values(":user", s(user.to_string()))
            .set_exclusive_start_key(start);
        let request = match until {
            None => request
                .key_condition_expression("#user = :user AND #item > :after")
                .expression_attribute_values(":after", s(sort_key(after))),
            Some(until) => request
                .key_condition_expression("#user = :user AND #item BETWEEN :first AND :until")
                .expression_attribute_values(":first", s(sort_key(after.next())))
                .expression_attribute_values(":until", s(sort_key(until))),
        };
        let answer = request.send().await?;
        Ok(Page { items: answer.items.unwrap_or_default(), next: answer.last_evaluated_key })
    }

    /// The vault, read consistently.
    pub(crate) async fn vault(&self, user: UserId) -> Result<Option<Vault>, ReadError> {
        let item = self.get(user, VAULT).await?;
        Ok(item.as_ref().map(Vault::from_item).transpose()?)
    }

    /// A commit as it lies in the table, read consistently; `None` if there is no such commit.
    pub(crate) async fn stored_at(
        &self,
        user: UserId,
        version: Version,
    ) -> Result<Option<Item>, Unavailable> {
        self.get(user, &sort_key(version)).await
    }

    async fn get(&self, user: UserId, sort_key: &str) -> Result<Option<Item>, Unavailable> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(user, sort_key)))
            .consistent_read(true)
            .send()
            .await?;
        Ok(answer.item)
    }
}

struct Page {
    items: Vec<Item>,
    next: Option<Item>,
}

pub(crate) fn key(user: UserId, sort_key: &str) -> Item {
    Item::from([
        ("user".to_owned(), AttributeValue::S(user.to_string())),
        ("item".to_owned(), AttributeValue::S(sort_key.to_owned())),
    ])
}

impl Walk {
    /// Opens the next commit and moves the head to it.
    pub(crate) fn step(&mut self, commit: &StoredCommit, keys: &WrappingKeys) -> Result<Commit, Broken> {
        let opened = commit.open(self.head.hash, &keys.deployment, &self.key)?;
        self.head = Head { version: commit.version, hash: commit.hash() };
        Ok(opened)
    }
}

/// Whether an item that stands in the way of a write was put there by this command.
pub(crate) fn is_of(item: &Item, command: CommandId) -> bool {
    text(item, "command").is_ok_and(|made_by| made_by == command.to_string())
}
