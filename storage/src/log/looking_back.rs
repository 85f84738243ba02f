use domain::Version;

use super::{Commit, CommitHash, StoredCommit, sort_key};
use crate::error::{Broken, ReadError, Unavailable};
use crate::items::{Item, s, text};
use crate::store::{Loaded, Store};

impl Store {
    /// So many commits of a user before a version, or the last ones, the newest first; read consistently. It costs the
    /// same wherever in the log they are, and however long it is.
    ///
    /// Each is opened by the commit before it, so one more is read, which only its hash is needed of.
    ///
    /// # Errors
    /// [`ReadError::Broken`] if one of them, or the one before them, is missing, or if one of them does not open: nothing
    /// is left out.
    pub async fn look_back(
        &self,
        loaded: &Loaded,
        before: Option<Version>,
        limit: u8,
    ) -> Result<Vec<Commit>, ReadError> {
        const FIRST: Version = Version::NONE.next();
        let limit = usize::from(limit);
        let upper = before.map_or(Version::MAX.number(), |before| before.number().saturating_sub(1));
        let upper = Version::new(upper).min(Version::MAX);
        if upper < FIRST || limit == 0 {
            return Ok(Vec::new());
        }
        let items = self.commits_down_from(loaded, upper, limit + 1).await?;
        // What the view knows of is there, and whoever is asked for has a first commit.
        let oldest = loaded.snapshot.head.version.min(upper).max(FIRST);
        let newest = items.first().and_then(|item| super::version_of(text(item, "item").ok()?));
        let mut expected = newest.unwrap_or(oldest);
        if items.is_empty() || expected < oldest {
            return Err(Broken::Gap { expected: oldest, found: newest.unwrap_or(Version::NONE) }.into());
        }
        let mut stored = Vec::with_capacity(items.len());
        for item in &items {
            stored.push(StoredCommit::from_item(item, expected)?);
            expected = Version::new(expected.number().saturating_sub(1));
        }
        // Fewer than were asked for end with the first.
        if stored.len() <= limit && expected != Version::NONE {
            return Err(Broken::Gap { expected, found: expected.next() }.into());
        }
        let deployment = &self.log.keys.deployment;
        let mut commits = Vec::with_capacity(limit);
        for (place, commit) in stored.iter().take(limit).enumerate() {
            let hash = stored.get(place + 1).map_or_else(CommitHash::default, StoredCommit::hash);
            commits.push(commit.open(hash, deployment, &loaded.key)?);
        }
        Ok(commits)
    }

    /// So many items from a commit downwards, as far as there are any.
    async fn commits_down_from(
        &self,
        loaded: &Loaded,
        upper: Version,
        count: usize,
    ) -> Result<Vec<Item>, Unavailable> {
        let mut items: Vec<Item> = Vec::new();
        let mut start = None;
        loop {
            let missing = i32::try_from(count - items.len()).unwrap_or(i32::MAX);
            let answer = self
                .client
                .query()
                .table_name(&self.log.table)
                .consistent_read(true)
                .scan_index_forward(false)
                .limit(missing)
                .key_condition_expression("#user = :user AND #item BETWEEN :first AND :upper")
                .expression_attribute_names("#user", "user")
                .expression_attribute_names("#item", "item")
                .expression_attribute_values(":user", s(loaded.user.to_string()))
                .expression_attribute_values(":first", s(sort_key(Version::NONE)))
                .expression_attribute_values(":upper", s(sort_key(upper)))
                .set_exclusive_start_key(start)
                .send()
                .await?;
            items.extend(answer.items.unwrap_or_default());
            // A page ends after so many items, or after 1 MB.
            match answer.last_evaluated_key {
                Some(next) if items.len() < count => start = Some(next),
                Some(_) | None => return Ok(items),
            }
        }
    }
}
