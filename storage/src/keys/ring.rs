use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::KeyId;

/// The keys of one purpose: one that makes new values, and all that still open old ones. A key may be in the ring before
/// it is used: it then says from when on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "StoredRing<K>", into = "StoredRing<K>", bound(serialize = "K: Serialize + Clone"))]
pub struct Ring<K> {
    current: (KeyId, K),
    others: BTreeMap<KeyId, K>,
    /// From when on keys make new values; the first key of a ring has no such time.
    from: BTreeMap<KeyId, DateTime<Utc>>,
}

/// Why a ring was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The id of the current key is not among the keys.
    #[error("the current key is not in the ring")]
    NoCurrentKey,
    /// A time is given for a key that is not among the keys.
    #[error("a key that is to be used is not in the ring")]
    NoSuchKey,
}

impl<K> Ring<K> {
    /// A ring of one key.
    pub const fn of(id: KeyId, key: K) -> Self {
        Self { current: (id, key), others: BTreeMap::new(), from: BTreeMap::new() }
    }

    /// The key that makes new values unless another one's time has come, and its id.
    pub const fn current(&self) -> (&KeyId, &K) {
        (&self.current.0, &self.current.1)
    }

    /// The key that makes new values at this time, and its id: the one whose time came last.
    pub fn current_at(&self, now: DateTime<Utc>) -> (&KeyId, &K) {
        let last = self.from.iter().filter(|(_, from)| **from <= now).max_by_key(|(id, from)| (**from, *id));
        let since = self.from.get(&self.current.0);
        last.filter(|(_, from)| since.is_none_or(|since| *from > since))
            .and_then(|(id, _)| self.others.get_key_value(id))
            .unwrap_or((&self.current.0, &self.current.1))
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
        let (mut others, mut from) = (self.others, self.from);
        let (old_id, old) = self.current;
        others.insert(old_id, old);
        others.remove(&id);
        from.remove(&id);
        Self { current: (id, key), others, from }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRing<K> {
    current: KeyId,
    keys: BTreeMap<KeyId, K>,
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    from: BTreeMap<KeyId, DateTime<Utc>>,
}

impl<K> TryFrom<StoredRing<K>> for Ring<K> {
    type Error = RingError;

    fn try_from(mut stored: StoredRing<K>) -> Result<Self, RingError> {
        if !stored.from.keys().all(|id| stored.keys.contains_key(id)) {
            return Err(RingError::NoSuchKey);
        }
        let key = stored.keys.remove(&stored.current).ok_or(RingError::NoCurrentKey)?;
        Ok(Self { current: (stored.current, key), others: stored.keys, from: stored.from })
    }
}

impl<K> From<Ring<K>> for StoredRing<K> {
    fn from(ring: Ring<K>) -> Self {
        let mut keys = ring.others;
        let (current, key) = ring.current;
        keys.insert(current.clone(), key);
        Self { current, keys, from: ring.from }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::{KeyId, Ring};

    fn id(text: &str) -> KeyId {
        KeyId::parse(text).unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_rotated_ring_opens_old_values_and_makes_new_ones_with_the_new_key() {
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
    fn a_key_makes_new_values_from_its_time_on() {
        let text = r#"{"current":"a","keys":{"a":1,"b":2,"c":3},"from":{"b":"1970-01-01T00:00:10Z","c":"1970-01-01T00:00:20Z"}}"#;
        let ring: Ring<i32> = serde_json::from_str(text).unwrap();
        for (now, key) in [(9, 1), (10, 2), (19, 2), (20, 3), (1_000, 3)] {
            assert_eq!(ring.current_at(at(now)).1, &key, "at {now} s");
        }
        assert_eq!(serde_json::to_string(&ring).unwrap(), text);
        // One that took another's place earlier stays behind it.
        let later = text.replace(r#""current":"a""#, r#""current":"c""#);
        let ring: Ring<i32> = serde_json::from_str(&later).unwrap();
        assert_eq!(ring.current_at(at(15)).1, &3);
    }

    #[test]
    fn a_ring_without_its_current_key_or_one_that_it_will_use_is_refused() {
        let error = serde_json::from_str::<Ring<i32>>(r#"{"current":"b","keys":{"a":1}}"#).unwrap_err();
        assert!(error.to_string().contains("the current key is not in the ring"));
        let text = r#"{"current":"a","keys":{"a":1},"from":{"b":"1970-01-01T00:00:10Z"}}"#;
        let error = serde_json::from_str::<Ring<i32>>(text).unwrap_err();
        assert!(error.to_string().contains("a key that is to be used is not in the ring"));
    }
}
