use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::KeyId;

/// The keys of one purpose: one that makes new values, and all that still open old ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "StoredRing<K>", into = "StoredRing<K>", bound(serialize = "K: Serialize + Clone"))]
pub struct Ring<K> {
    current: (KeyId, K),
    others: BTreeMap<KeyId, K>,
}

/// Why a ring was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The id of the current key is not among the keys.
    #[error("the current key is not in the ring")]
    NoCurrentKey,
}

impl<K> Ring<K> {
    /// A ring of one key.
    pub const fn of(id: KeyId, key: K) -> Self {
        Self { current: (id, key), others: BTreeMap::new() }
    }

    /// The key that makes new values, and its id.
    pub const fn current(&self) -> (&KeyId, &K) {
        (&self.current.0, &self.current.1)
    }

    /// The key with this id.
    pub fn get(&self, id: &KeyId) -> Option<&K> {
        if self.current.0 == *id { Some(&self.current.1) } else { self.others.get(id) }
    }

    /// All keys, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyId, &K)> {
        std::iter::once((&self.current.0, &self.current.1)).chain(&self.others)
    }

    /// The ring with another key as the current one; the one before stays, to open what it made.
    #[must_use]
    pub fn rotated(self, id: KeyId, key: K) -> Self {
        let mut others = self.others;
        let (old_id, old) = self.current;
        others.insert(old_id, old);
        others.remove(&id);
        Self { current: (id, key), others }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRing<K> {
    current: KeyId,
    keys: BTreeMap<KeyId, K>,
}

impl<K> TryFrom<StoredRing<K>> for Ring<K> {
    type Error = RingError;

    fn try_from(mut stored: StoredRing<K>) -> Result<Self, RingError> {
        let key = stored.keys.remove(&stored.current).ok_or(RingError::NoCurrentKey)?;
        Ok(Self { current: (stored.current, key), others: stored.keys })
    }
}

impl<K> From<Ring<K>> for StoredRing<K> {
    fn from(ring: Ring<K>) -> Self {
        let mut keys = ring.others;
        let (current, key) = ring.current;
        keys.insert(current.clone(), key);
        Self { current, keys }
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyId, Ring};

    #[test]
    fn a_rotated_ring_opens_old_values_and_makes_new_ones_with_the_new_key() {
        let id = |text| KeyId::parse(text).unwrap();
        let ring = Ring::of(id("a"), 1).rotated(id("b"), 2);
        assert_eq!(ring.current(), (&id("b"), &2));
        assert_eq!(ring.get(&id("a")), Some(&1));
        assert_eq!(ring.get(&id("c")), None);
        let stored = serde_json::to_string(&ring).unwrap();
        assert_eq!(stored, r#"{"current":"b","keys":{"a":1,"b":2}}"#);
        let read: Ring<i32> = serde_json::from_str(&stored).unwrap();
        assert_eq!(read.current(), ring.current());
    }

    #[test]
    fn a_ring_without_its_current_key_is_refused() {
        let error = serde_json::from_str::<Ring<i32>>(r#"{"current":"b","keys":{"a":1}}"#).unwrap_err();
        assert!(error.to_string().contains("the current key is not in the ring"));
    }
}
