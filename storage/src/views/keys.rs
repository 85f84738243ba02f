use aws_lc_rs::error::Unspecified;
use domain::UserId;
use uuid::Uuid;

use crate::keys::{KeyId, LiveRing, Secret};
use crate::seal::{Binding, OpenError, Purpose, open, seal, user_key};

/// What seals views.
#[derive(Debug, Clone)]
pub struct ViewKeys {
    pub(super) deployment: String,
    pub(super) ring: LiveRing<Secret>,
}

impl ViewKeys {
    /// The keys of this deployment.
    pub fn new(deployment: String, ring: impl Into<LiveRing<Secret>>) -> Self {
        Self { deployment, ring: ring.into() }
    }

    /// Seals how far a part of a replay has come: it says which views have been made, and belongs to no user.
    pub(crate) fn seal_checkpoint(
        &self,
        item: &str,
        run: &str,
        plain: &[u8],
    ) -> Result<Vec<u8>, Unspecified> {
        let (id, secret) = self.ring.current();
        let secret = user_key(&secret, Purpose::Checkpoint, nobody())?;
        self.checkpoint(item, run, |binding| seal((&id, &secret), binding, plain))
    }

    /// Opens what [`ViewKeys::seal_checkpoint`] made.
    pub(crate) fn open_checkpoint(&self, item: &str, run: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let key = |id: &KeyId| user_key(&self.ring.get(id)?, Purpose::Checkpoint, nobody()).ok();
        self.checkpoint(item, run, |binding| open(sealed, key, binding))
    }

    fn checkpoint<T>(&self, item: &str, run: &str, with: impl FnOnce(&Binding<'_>) -> T) -> T {
        with(&Binding {
            deployment: &self.deployment,
            purpose: Purpose::Checkpoint,
            user: nobody(),
            item,
            also: &[run.as_bytes()],
        })
    }
}

/// The id that no user has.
const fn nobody() -> UserId {
    UserId::new(Uuid::nil())
}
