use std::collections::VecDeque;

use domain::{UserId, Version};
use serde::{Deserialize, Serialize};

use super::{EventLog, Head, Snapshot, StoredCommit, Walk, key};
use crate::error::{Broken, ReadError, Unavailable};
use crate::items::{Item, PAGE, text};
use crate::vault::{SORT_KEY as VAULT, Vault};
use crate::views::user_of;

/// Commits of one user kept in memory until their vault comes, which a scan returns last. A longer log is read by
/// Query instead, which asks for the vault first.
const KEPT: usize = 2_000;
/// And not more of them than this, in sealed octets: about four pages.
const KEPT_OCTETS: usize = 4 * 1024 * 1024;

/// The sort key before the first commit's: that of version 0, which no commit has.
const BEFORE_COMMITS: &str = "commit-0000000000";

/// One of several parts of the table, to be scanned beside the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Counted from 0.
    pub index: u32,
    /// How many there are.
    pub total: u32,
}

/// A place in a segment: behind the last item of some user that lay there. A scan of the same segment goes on from it,
/// in another process too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanPosition {
    user: UserId,
    item: String,
}

/// A user met by a scan.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// The user.
    pub user: UserId,
    /// The fold of the whole log, or why it cannot be read.
    pub outcome: Result<Snapshot, Broken>,
    /// The events folded.
    pub events: u64,
}

/// A user's items as they come from the pages of a scan.
struct Run {
    user: UserId,
    /// The user, as items name them.
    key: String,
    /// The sort key of the last item met.
    last: String,
    commits: Vec<StoredCommit>,
    /// How much they are, in sealed octets.
    octets: usize,
    vault: Option<Vault>,
    /// Too long to be kept, or an item that cannot be read or is not the next: left to a Query.
    queried: bool,
}

/// A scan over one segment of the log that yields users, each folded from the first commit.
///
/// A user's items lie together and in order, so one fold is carried across pages. Where they do not add up (a gap,
/// a missing vault: somebody was writing), the user is queried, consistently, before anything is said.
pub struct LogScan<'a> {
    log: &'a EventLog,
    segment: Segment,
    start: Option<Item>,
    finished: bool,
    run: Option<Run>,
    /// Users whose items have all been read, but who have not been told of yet.
    complete: VecDeque<Run>,
    /// Behind the last user who has been told of.
    told: Option<ScanPosition>,
    /// Items of nobody's log that nobody has been told of yet.
    strays: u64,
}

impl EventLog {
    /// Starts a scan over one segment.
    pub const fn scan(&self, segment: Segment) -> LogScan<'_> {
        LogScan {
            log: self,
            segment,
            start: None,
            finished: false,
            run: None,
            complete: VecDeque::new(),
            told: None,
            strays: 0,
        }
    }

    /// Folds one user's whole log, read by Query.
    pub async fn fold(&self, user: UserId) -> Result<Scanned, Unavailable> {
        let (mut snapshot, mut events) = (Snapshot::default(), 0);
        let walked = self.walk(user, Head::default(), None, |commit, hash| {
            events += commit.events.len() as u64;
            snapshot.follow(commit, hash);
        });
        let outcome = match walked.await {
            Ok(_) => Ok(snapshot),
            Err(ReadError::Broken(broken)) => Err(broken),
            Err(ReadError::Unavailable(unavailable)) => return Err(unavailable),
        };
        Ok(Scanned { user, outcome, events })
    }

    /// Whether a user has a vault and no commit, read consistently. The two are written together.
    pub async fn is_vault_alone(&self, user: UserId) -> Result<bool, Unavailable> {
        let found = self.get(user, VAULT).await?.is_some();
        Ok(found && self.fold(user).await?.outcome.is_ok_and(|snapshot| snapshot.head == Head::default()))
    }
}

impl LogScan<'_> {
    /// The same scan from this place on, which must be one of the same segment. Users before it are not told of again,
    /// whatever has been appended to their logs.
    #[must_use]
    pub fn after(self, position: ScanPosition) -> Self {
        Self { start: Some(key(position.user, &position.item)), told: Some(position), ..self }
    }

    /// Behind the last user who has been told of; `None` before the first. A user whose items have been read in part
    /// lies behind it, and is read again from the first item by a scan that goes on from here.
    pub const fn position(&self) -> Option<&ScanPosition> {
        self.told.as_ref()
    }

    /// The users completed by the next page; `None` after the last page. May be empty in between.
    ///
    /// # Errors
    /// [`Unavailable`]; the scan can be asked again and goes on where it stood.
    pub async fn next(&mut self) -> Result<Option<Vec<Scanned>>, Unavailable> {
        if self.complete.is_empty() {
            if self.finished {
                return Ok(None);
            }
            self.next_page().await?;
        }
        let mut scanned = Vec::with_capacity(self.complete.len());
        // Taken away only when it is settled: whoever asks again after an error misses nobody. Nor is anybody lost
        // who was settled before the error: they are told of without the others.
        while let Some(run) = self.complete.front() {
            match self.settle(run).await {
                Ok(settled) => scanned.push(settled),
                Err(error) if scanned.is_empty() => return Err(error),
                Err(_) => break,
            }
            if let Some(run) = self.complete.pop_front() {
                self.told = Some(ScanPosition { user: run.user, item: run.last });
            }
        }
        Ok(Some(scanned))
    }

    /// How many items of nobody's log the scan has met since it was asked last: their key is no user id as it is
    /// written here, or lies before every commit, where no log is read from.
    pub const fn take_strays(&mut self) -> u64 {
        std::mem::replace(&mut self.strays, 0)
    }

    async fn next_page(&mut self) -> Result<(), Unavailable> {
        // A scan may take hours.
        self.log.refresh_keys().await;
        let answer = self
            .log
            .client
            .scan()
            .table_name(&self.log.table)
            .consistent_read(true)
            .limit(PAGE)
            .segment(i32::try_from(self.segment.index).unwrap_or(i32::MAX))
            .total_segments(i32::try_from(self.segment.total).unwrap_or(i32::MAX))
            .set_exclusive_start_key(self.start.clone())
            .send()
            .await?;
        for item in answer.items.unwrap_or_default() {
            let before = self.take(&item);
            self.complete.extend(before);
        }
        self.start = answer.last_evaluated_key;
        if self.start.is_none() {
            self.finished = true;
            let last = self.run.take();
            self.complete.extend(last);
        }
        Ok(())
    }

    /// Adds an item to the run; returns the run before it, if that was another user's.
    fn take(&mut self, item: &Item) -> Option<Run> {
        let before_commits = text(item, "item").is_ok_and(|item| item <= BEFORE_COMMITS);
        // Most items are of the same user as the one before: their key is not parsed again.
        let same_key = |run: &&Run| text(item, "user").is_ok_and(|key| key == run.key);
        let user = self.run.as_ref().filter(same_key).map(|run| run.user).or_else(|| user_of(item));
        let Some(user) = user.filter(|_| !before_commits) else {
            // Nothing of ours writes such a thing, and no user's log is touched by it.
            tracing::warn!("the events table holds an item of nobody's log");
            self.strays += 1;
            return None;
        };
        let before = match &self.run {
            Some(run) if run.user == user => None,
            _ => self.run.replace(Run::of(user)),
        };
        if let Some(run) = &mut self.run {
            run.add(item);
        }
        before
    }

    async fn settle(&self, run: &Run) -> Result<Scanned, Unavailable> {
        match run.fold(self.log) {
            Some((snapshot, events)) => Ok(Scanned { user: run.user, outcome: Ok(snapshot), events }),
            None => self.log.fold(run.user).await,
        }
    }
}

impl Run {
    fn of(user: UserId) -> Self {
        Self {
            user,
            key: user.to_string(),
            last: String::new(),
            commits: Vec::new(),
            octets: 0,
            vault: None,
            queried: false,
        }
    }

    fn add(&mut self, item: &Item) {
        text(item, "item").unwrap_or_default().clone_into(&mut self.last);
        if self.queried {
            return;
        }
        let room = self.commits.len() < KEPT && self.octets < KEPT_OCTETS;
        if self.last == VAULT {
            self.vault = Vault::from_item(item).ok();
            return;
        }
        let last = self.commits.last().map_or(Version::NONE, |commit| commit.version);
        if let (Ok(commit), true) = (StoredCommit::from_item(item, last.next()), room) {
            self.octets += commit.sealed.len();
            self.commits.push(commit);
        } else {
            self.commits = Vec::new();
            self.queried = true;
        }
    }

    fn fold(&self, log: &EventLog) -> Option<(Snapshot, u64)> {
        if self.queried || self.commits.is_empty() {
            return None;
        }
        let key = log.keys.unwrap(self.vault.as_ref()?).ok()?;
        let (mut snapshot, mut events) = (Snapshot::default(), 0);
        let mut walk = Walk { head: snapshot.head, key };
        for commit in &self.commits {
            let opened = walk.step(commit, &log.keys).ok()?;
            events += opened.events.len() as u64;
            snapshot.follow(&opened, walk.head.hash);
        }
        Some((snapshot, events))
    }
}
