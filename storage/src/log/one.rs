use domain::{UserId, Version};

use super::{Commit, CommitHash, EventLog, StoredCommit, key, sort_key};
use crate::error::{Broken, ReadError};
use crate::items::{Item, Wanted, batch_get, text};
use crate::vault::{SORT_KEY as VAULT, Vault};

impl EventLog {
    /// One commit, in one consistent read of it and of what it takes to open it: the vault, and the commit before,
    /// which it is bound to. `None` if it is not there. Neither the commits before that nor those behind are looked at.
    pub async fn commit(&self, user: UserId, version: Version) -> Result<Option<Commit>, ReadError> {
        let before =
            version.number().checked_sub(1).map(Version::new).filter(|before| *before > Version::NONE);
        let wanted: Vec<String> = [Some(VAULT.to_owned()), before.map(sort_key), Some(sort_key(version))]
            .into_iter()
            .flatten()
            .collect();
        let keys = wanted.iter().map(|item| key(user, item)).collect();
        let mut found =
            batch_get(&self.client, vec![Wanted { table: &self.table, keys, consistent: true }]).await?;
        let items = found.remove(&self.table).unwrap_or_default();
        let named = |sort_key: &str| -> Option<&Item> {
            items.iter().find(|item| text(item, "item") == Ok(sort_key))
        };
        let Some(item) = named(&sort_key(version)) else { return Ok(None) };
        let vault = Vault::from_item(named(VAULT).ok_or(Broken::NoVault)?)?;
        let hash = match before {
            None => CommitHash::default(),
            Some(before) => {
                let gap = Broken::Gap { expected: before, found: version };
                StoredCommit::from_item(named(&sort_key(before)).ok_or(gap)?, before)?.hash()
            }
        };
        let stored = StoredCommit::from_item(item, version)?;
        Ok(Some(stored.open(hash, &self.keys.deployment, &self.keys.unwrap(&vault)?)?))
    }
}
