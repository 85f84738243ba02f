use std::time::Duration;

use aws_sdk_dynamodb::Client;
use chrono::{DateTime, Utc};
use domain::{Email, SessionId, UserId, Version};
use zeroize::Zeroizing;

use crate::error::{Broken, ReadError, Unavailable};
use crate::identifiers::{IdentifierKey, Identifiers};
use crate::items::{Item, Wanted, batch_get, text};
use crate::keys::LiveKeys;
use crate::log::{EventLog, Snapshot, key};
use crate::retry::NO_NEW_TRY_AFTER;
use crate::sessions::{Guesses, Lifetimes, Session, SessionKeys, Sessions};
use crate::tables::Tables;
use crate::vault::{DataKey, SORT_KEY as VAULT, Vault, VerifierKeys, WrappingKeys};
use crate::views::{View, ViewKeys, Views, view_key};

/// Everything that commands and queries need of the tables.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) client: Client,
    /// The event log.
    pub log: EventLog,
    /// From addresses to users.
    pub identifiers: Identifiers,
    /// The read model.
    pub views: Views,
    /// Sessions.
    pub sessions: Sessions,
    /// The counts of guesses.
    pub guesses: Guesses,
    pub(crate) verifiers: VerifierKeys,
    pub(crate) no_new_try_after: Duration,
}

/// A user as far as they have been read in this request.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub(crate) user: UserId,
    pub(crate) snapshot: Snapshot,
    pub(crate) key: DataKey,
    pub(crate) vault: Option<Vault>,
    /// Whether the log has been queried to its end in this request. What came of a view may be old.
    pub(crate) fresh: bool,
}

impl Loaded {
    /// A user whose log has not begun, with a new data key.
    pub fn unborn(user: UserId) -> Result<Self, Unavailable> {
        Ok(Self { user, snapshot: Snapshot::default(), key: DataKey::random()?, vault: None, fresh: true })
    }

    /// The user.
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// The user as of the version read.
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The vault, if it has been read.
    pub const fn vault(&self) -> Option<&Vault> {
        self.vault.as_ref()
    }
}

impl Store {
    /// The store of a deployment, with all its keys.
    pub fn new(client: &Client, tables: &Tables, keys: impl Into<LiveKeys>, lifetimes: Lifetimes) -> Self {
        let keys = keys.into();
        let deployment = || keys.deployment.clone();
        Self {
            client: client.clone(),
            log: EventLog::new(
                client.clone(),
                tables.events.clone(),
                WrappingKeys::new(deployment(), keys.wrapping.clone()),
            ),
            identifiers: Identifiers::new(
                client.clone(),
                tables.identifiers.clone(),
                IdentifierKey::new(deployment(), keys.identifiers.clone()),
            ),
            views: Views::new(
                client.clone(),
                tables.views.clone(),
                ViewKeys::new(deployment(), keys.views.clone()),
            ),
            sessions: Sessions::new(
                client.clone(),
                tables.sessions.clone(),
                SessionKeys::new(deployment(), keys.refresh.clone()),
                lifetimes,
            ),
            guesses: Guesses::new(client.clone(), tables.sessions.clone()),
            verifiers: VerifierKeys::new(deployment(), keys.verifiers.clone()),
            no_new_try_after: NO_NEW_TRY_AFTER,
        }
    }

    /// The same store, with another limit to how long a command is tried again.
    #[must_use]
    pub fn with_no_new_try_after(self, no_new_try_after: Duration) -> Self {
        Self { no_new_try_after, ..self }
    }

    /// Has the keys of the process read again if they are old: to be called whenever a request or an invocation begins.
    pub async fn refresh_keys(&self) {
        self.log.refresh_keys().await;
    }

    /// Loads a user to decide about: view and vault, in one request. `None` if there is no vault, or what an erased
    /// user left of one, and so no user, as far as can be told without the log.
    ///
    /// The state may be old, or empty where the view is missing or of another fold number: [`Store::execute`] knows.
    pub async fn load(&self, user: UserId) -> Result<Option<Loaded>, ReadError> {
        Ok(self.load_acting(user, None).await?.map(|(loaded, _)| loaded))
    }

    /// Loads a user together with the session in which they act, if that is alive.
    pub async fn load_acting(
        &self,
        user: UserId,
        acting: Option<(SessionId, DateTime<Utc>)>,
    ) -> Result<Option<(Loaded, Option<Session>)>, ReadError> {
        let mut found = self.batch(user, true, acting.map(|(session, _)| session)).await?;
        let vault = found.take(&self.log.table, VAULT);
        let view = self.views.open(user, found.take_view(&self.views.table));
        if matches!(view, View::Torn(_)) {
            say_torn(user);
        }
        let session = acting.and_then(|(id, now)| self.live(user, id, now, &mut found));
        let Some(vault) = vault else {
            // A view or a session that opens was put for somebody, and nothing of ours takes their vault away.
            let of_somebody = matches!(view, View::Of(_)) || session.is_some();
            return if of_somebody { Err(Broken::NoVault.into()) } else { Ok(None) };
        };
        let vault = match Vault::from_item(&vault) {
            Err(Broken::Erased) => return Ok(None),
            vault => vault?,
        };
        let key = self.log.keys.unwrap(&vault)?;
        let snapshot = snapshot_of(view);
        Ok(Some((Loaded { user, snapshot, key, vault: Some(vault), fresh: false }, session)))
    }

    /// What a protected query needs, in one request: the session, if it is alive, and the user as of their view, or
    /// of their log where the view is of no use or older than `at_least`.
    ///
    /// # Errors
    /// [`ReadError`]. A user without a log yields an unregistered one.
    pub async fn read_acting(
        &self,
        user: UserId,
        session: SessionId,
        at_least: Version,
        now: DateTime<Utc>,
    ) -> Result<Option<Snapshot>, ReadError> {
        let mut found = self.batch(user, false, Some(session)).await?;
        if self.live(user, session, now, &mut found).is_none() {
            return Ok(None);
        }
        let view = self.views.open(user, found.take_view(&self.views.table));
        if matches!(view, View::Torn(_)) {
            say_torn(user);
        }
        let mut snapshot = snapshot_of(view);
        if snapshot.head.version < at_least.max(Version::NONE.next()) {
            self.log.advance(user, &mut snapshot, None).await?;
        }
        Ok(Some(snapshot))
    }

    /// Reads what has been appended since, to the end of the log.
    pub async fn freshen(&self, loaded: &mut Loaded) -> Result<(), ReadError> {
        let vault = self.log.advance(loaded.user, &mut loaded.snapshot, loaded.vault.clone()).await?;
        if let Some(vault) = vault {
            loaded.key = self.log.keys.unwrap(&vault)?;
            loaded.vault = Some(vault);
        }
        loaded.fresh = true;
        Ok(())
    }

    /// Opens the verifier in a vault, a PHC string.
    pub fn verifier(&self, vault: &Vault) -> Result<Zeroizing<String>, Broken> {
        self.verifiers.open(vault)
    }

    /// The user who has this address; read consistently.
    pub async fn find(&self, email: &Email) -> Result<Option<UserId>, ReadError> {
        self.identifiers.find(&self.identifiers.key.email(email)).await
    }

    async fn batch(
        &self,
        user: UserId,
        vault: bool,
        session: Option<SessionId>,
    ) -> Result<Found, Unavailable> {
        let mut wanted =
            vec![Wanted { table: &self.views.table, keys: vec![view_key(user)], consistent: false }];
        if vault {
            wanted.push(Wanted { table: &self.log.table, keys: vec![key(user, VAULT)], consistent: true });
        }
        if let Some(session) = session {
            let keys = vec![Sessions::key(user, session)];
            wanted.push(Wanted { table: &self.sessions.table, keys, consistent: true });
        }
        Ok(Found(batch_get(&self.client, wanted).await?))
    }

    fn live(
        &self,
        user: UserId,
        session: SessionId,
        now: DateTime<Utc>,
        found: &mut Found,
    ) -> Option<Session> {
        let row = found.take(&self.sessions.table, &crate::sessions::sort_key(session))?;
        self.sessions.live(user, session, &row, now)
    }
}

/// What a view is worth to a reader: nothing, unless it opens and is of this fold number.
fn snapshot_of(view: View) -> Snapshot {
    match view {
        View::Of(snapshot) => snapshot,
        View::Absent | View::Foreign { .. } | View::Torn(_) => Snapshot::default(),
    }
}

/// Nothing of ours puts such a view, and whoever reads it goes to the log instead.
fn say_torn(user: UserId) {
    tracing::error!(alarm = "torn-view", %user, "a view does not open; the log is read instead");
}

/// The items of a batch, by table.
struct Found(std::collections::HashMap<String, Vec<Item>>);

impl Found {
    fn take(&mut self, table: &str, sort_key: &str) -> Option<Item> {
        let items = self.0.get_mut(table)?;
        let index = items.iter().position(|item| text(item, "item") == Ok(sort_key))?;
        Some(items.swap_remove(index))
    }

    fn take_view(&mut self, table: &str) -> Option<Item> {
        self.0.get_mut(table)?.pop()
    }
}
