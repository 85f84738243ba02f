use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::reader::Reader;
use super::{KeyId, Ring, Secret, ServiceKeys, SigningSecret};

/// Keys that are read again while they are in use. Clones see the same keys, and none of them waits for a reading.
pub struct Live<T> {
    slot: Slot<T>,
    reader: Option<Arc<Reader>>,
}

/// A ring that is read again while it is in use.
pub type LiveRing<K> = Live<Ring<K>>;

/// Where a reader puts what it has read.
pub(super) type Slot<T> = Arc<ArcSwap<T>>;

impl<T> Live<T> {
    pub(super) const fn new(slot: Slot<T>, reader: Arc<Reader>) -> Self {
        Self { slot, reader: Some(reader) }
    }

    /// The keys as they were read last.
    pub fn load(&self) -> Arc<T> {
        self.slot.load_full()
    }

    /// Reads all keys of the process again if they were read more than five minutes ago: to be called whenever a request
    /// or an invocation begins. One caller waits for that, the others do not. What fails is logged, and the keys stay.
    pub async fn refresh(&self) {
        if let Some(reader) = &self.reader {
            reader.refresh().await;
        }
    }

    /// Has all keys of the process read again because a key is not among them, at most once a minute. Whether it is worth
    /// looking again.
    pub fn again(&self) -> bool {
        self.reader.as_ref().is_some_and(Reader::again)
    }
}

impl<K: Clone> Live<Ring<K>> {
    /// The key that makes new values now, and its id.
    pub fn current(&self) -> (KeyId, K) {
        let ring = self.slot.load();
        let (id, key) = match &self.reader {
            Some(reader) => ring.current_at(reader.now()),
            None => ring.current(),
        };
        (id.clone(), key.clone())
    }

    /// The key with this id. One that is not there may have been made since the ring was read: it is read again.
    pub fn get(&self, id: &KeyId) -> Option<K> {
        let found = || self.slot.load().get(id).cloned();
        found().or_else(|| if self.again() { found() } else { None })
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot), reader: self.reader.clone() }
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live(…)")
    }
}

/// Keys that stay as they are.
impl<T> From<T> for Live<T> {
    fn from(keys: T) -> Self {
        Self { slot: Arc::new(ArcSwap::from_pointee(keys)), reader: None }
    }
}

/// The same, of a copy.
impl<K: Clone> From<&Ring<K>> for Live<Ring<K>> {
    fn from(ring: &Ring<K>) -> Self {
        ring.clone().into()
    }
}

/// Every service key of a deployment, as a process holds them: see [`ServiceKeys`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LiveKeys {
    /// The name of the deployment. Cannot change.
    pub deployment: String,
    /// Wraps the users' data keys.
    pub wrapping: LiveRing<Secret>,
    /// Seals the verifiers of passwords.
    pub verifiers: LiveRing<Secret>,
    /// Seals the documents of the read model.
    pub views: LiveRing<Secret>,
    /// Turns addresses into identifiers. Cannot rotate.
    pub identifiers: Secret,
    /// Tags refresh tokens and the rows of sessions.
    pub refresh: LiveRing<Secret>,
    /// Tags one-time tokens.
    pub one_time: LiveRing<Secret>,
    /// The secret input of password hashes.
    pub pepper: LiveRing<Secret>,
    /// Signs access tokens.
    pub signing: LiveRing<SigningSecret>,
}

/// Keys that stay as they are.
impl From<&ServiceKeys> for LiveKeys {
    fn from(keys: &ServiceKeys) -> Self {
        Self {
            deployment: keys.deployment.clone(),
            wrapping: (&keys.wrapping).into(),
            verifiers: (&keys.verifiers).into(),
            views: (&keys.views).into(),
            identifiers: keys.identifiers.clone(),
            refresh: (&keys.refresh).into(),
            one_time: (&keys.one_time).into(),
            pepper: (&keys.pepper).into(),
            signing: (&keys.signing).into(),
        }
    }
}

impl From<&Self> for LiveKeys {
    fn from(keys: &Self) -> Self {
        keys.clone()
    }
}
