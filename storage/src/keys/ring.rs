use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
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

/// What a key of a ring does at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It will make new values, and makes none yet.
    Next,
    /// It makes new values.
    Current,
    /// It made values, and opens them.
    Former,
}

/// A key of a ring, without the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInRing {
    /// Its id.
    pub id: KeyId,
    /// What it does.
    pub state: KeyState,
    /// From when on it makes new values; `None` for the first key, and where it was not written down.
    pub since: Option<DateTime<Utc>>,
    /// When another one took its place, or will.
    pub until: Option<DateTime<Utc>>,
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

    /// Its keys at this time, in the order in which they make new values.
    pub fn keys(&self, now: DateTime<Utc>) -> Vec<KeyInRing> {
        let current = self.current_at(now).0;
        let mut keys: Vec<KeyInRing> = self
            .iter()
            .map(|(id, _)| {
                let since = self.from.get(id).copied();
                let state = match since {
                    _ if id == current => KeyState::Current,
                    Some(since) if since > now => KeyState::Next,
                    Some(_) | None => KeyState::Former,
                };
                KeyInRing { id: id.clone(), state, since, until: self.until(id) }
            })
            .collect();
        let place = |state| match state {
            KeyState::Former => 0,
            KeyState::Current => 1,
            KeyState::Next => 2,
        };
        keys.sort_by(|a, b| (place(a.state), a.since, &a.id).cmp(&(place(b.state), b.since, &b.id)));
        keys
    }

    /// When another key took the place of this one, or will.
    pub fn until(&self, id: &KeyId) -> Option<DateTime<Utc>> {
        let since = self.from.get(id).map(|since| (*since, id));
        let later = self.from.iter().map(|(id, from)| (*from, id));
        later.filter(|later| since.is_none_or(|since| *later > since)).min().map(|(from, _)| from)
    }

    /// The ring with one more key, which makes new values from a later time on. Everybody has to have read the ring by
    /// then.
    #[must_use]
    pub fn with_next(self, id: KeyId, key: K, from: DateTime<Utc>, now: DateTime<Utc>) -> Self
    where
        K: Clone,
    {
        let mut ring = self.settled(now);
        // Behind the one whose place it takes, however the clocks of those who rotate differ.
        let last = ring.from.values().max().map(|last| *last + TimeDelta::milliseconds(1));
        ring.from.insert(id.clone(), last.map_or(from, |last| from.max(last)));
        ring.others.insert(id, key);
        ring
    }

    /// The ring with one more key, which makes new values at once. Those whose time had not come give way to it and stay:
    /// whoever has not read the ring again by then takes them for the current key, and what is made with them must open.
    #[must_use]
    pub fn with_current(self, id: KeyId, key: K, now: DateTime<Utc>) -> Self
    where
        K: Clone,
    {
        let mut ring = self.settled(now);
        let next = ring.from.iter_mut().filter(|(id, from)| **from > now && **id != ring.current.0);
        for (_, from) in next {
            *from = now - TimeDelta::milliseconds(1);
        }
        ring.with_next(id, key, now, now)
    }

    /// The ring without a key that is not the current one.
    #[must_use]
    pub fn without(self, id: &KeyId, now: DateTime<Utc>) -> Self
    where
        K: Clone,
    {
        let mut ring = self.settled(now);
        if ring.current.0 != *id {
            ring.others.remove(id);
            ring.from.remove(id);
        }
        ring
    }

    /// The ring with every key of another one that it lacks, but for one.
    #[must_use]
    pub(super) fn with_those_of(mut self, other: &Self, except: Option<&KeyId>) -> Self
    where
        K: Clone,
    {
        for (id, key) in other.iter().filter(|(id, _)| Some(*id) != except) {
            if self.get(id).is_none() {
                self.others.insert(id.clone(), key.clone());
                if let Some(from) = other.from.get(id) {
                    self.from.insert(id.clone(), *from);
                }
            }
        }
        self
    }

    /// The same ring, its current key written down as the one that it is at this time.
    fn settled(self, now: DateTime<Utc>) -> Self
    where
        K: Clone,
    {
        let (id, key) = self.current_at(now);
        if *id == self.current.0 {
            return self;
        }
        let (id, key) = (id.clone(), key.clone());
        let Self { current: (old_id, old), mut others, from } = self;
        others.remove(&id);
        others.insert(old_id, old);
        Self { current: (id, key), others, from }
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

    use super::{KeyId, KeyState, Ring};

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
    fn a_ring_is_rotated_again_and_again_and_tells_what_each_key_does() {
        let told = |ring: &Ring<i32>, now| {
            let keys = ring.keys(at(now)).into_iter();
            let seconds = |time: Option<DateTime<Utc>>| time.map(|time| time.timestamp());
            keys.map(|key| (key.id.as_str().to_owned(), key.state, seconds(key.since), seconds(key.until)))
                .collect::<Vec<_>>()
        };
        let key = |id: &str, state, since, until| (id.to_owned(), state, since, until);
        let ring = Ring::of(id("z"), 1).with_next(id("b"), 2, at(10), at(0));
        let (next, current, former) = (KeyState::Next, KeyState::Current, KeyState::Former);
        assert_eq!(told(&ring, 5), [key("z", current, None, Some(10)), key("b", next, Some(10), None)]);
        assert_eq!(told(&ring, 10), [key("z", former, None, Some(10)), key("b", current, Some(10), None)]);
        let ring = ring.with_next(id("a"), 3, at(30), at(20));
        assert_eq!(ring.current(), (&id("b"), &2), "written down as what it is by now");
        assert_eq!(
            told(&ring, 25),
            [
                key("z", former, None, Some(10)),
                key("b", current, Some(10), Some(30)),
                key("a", next, Some(30), None),
            ]
        );
        for now in [25, 30] {
            let at_once = ring.clone().with_current(id("n"), 4, at(now));
            assert_eq!(at_once.current_at(at(now + 1)).1, &4);
            assert_eq!(at_once.current_at(at(1_000)).1, &4, "whose time had not come has given way");
            assert_eq!(at_once.get(&id("a")), Some(&3), "somebody may use it unawares");
            let gone = at_once.until(&id("a")).map(|until| until.timestamp());
            assert_eq!(gone, Some(now), "and until then may have");
        }
        assert_eq!(ring.clone().without(&id("b"), at(25)).get(&id("b")), Some(&2), "it is in use");
        let ring = ring.without(&id("b"), at(30));
        assert_eq!((ring.get(&id("b")), ring.current_at(at(30)).1), (None, &3));
        // At once, by a clock that is behind that of the rotation before.
        let ring = ring.with_next(id("0"), 4, at(29), at(29));
        assert_eq!(ring.current_at(at(31)).1, &4);
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
