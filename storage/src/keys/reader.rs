use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::{constant_time, rand};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::live::{Live, Slot};
use super::public::PublicKeys;
use super::source::{KeyName, KeySource, KeysError, Parts};
use super::{Ring, Secret, SigningSecret};

/// Keys older than this are read again.
const LIFETIME: TimeDelta = TimeDelta::minutes(5);
/// Or up to so much earlier, by chance, so that processes that started together do not read together.
const JITTER_SECONDS: i64 = 60;
/// After a reading that failed, and between two readings for the sake of unknown keys.
const PAUSE: TimeDelta = TimeDelta::minutes(1);
/// So long does a request with an unknown key wait for a reading that is under way.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the time comes from.
pub(super) type Now = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Reads the keys of a process again, at the right times.
pub(super) struct Reader {
    source: KeySource,
    names: &'static [KeyName],
    now: Now,
    deployment: Option<String>,
    identifiers: Option<Secret>,
    pub(super) slots: Slots,
    state: Mutex<State>,
    ended: Condvar,
}

/// The rings that a process asked for.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) wrapping: Option<Slot<Ring<Secret>>>,
    pub(super) verifiers: Option<Slot<Ring<Secret>>>,
    pub(super) views: Option<Slot<Ring<Secret>>>,
    pub(super) refresh: Option<Slot<Ring<Secret>>>,
    pub(super) one_time: Option<Slot<Ring<Secret>>>,
    pub(super) pepper: Option<Slot<Ring<Secret>>>,
    pub(super) signing: Option<Slot<Ring<SigningSecret>>>,
    pub(super) public: Option<Slot<PublicKeys>>,
}

struct State {
    /// Whether somebody is reading.
    reading: bool,
    /// When the keys are to be read again.
    due: DateTime<Utc>,
    /// When they were read last for the sake of an unknown key.
    asked: Option<DateTime<Utc>>,
}

impl Reader {
    /// Reads these keys for the first time.
    pub(super) async fn open(
        source: KeySource,
        names: &'static [KeyName],
        now: Now,
    ) -> Result<Arc<Self>, KeysError> {
        let parts = source.read(names).await?;
        let state = State { reading: false, due: now() + lifetime(), asked: None };
        Ok(Arc::new(Self {
            source,
            names,
            now,
            deployment: parts.deployment.clone(),
            identifiers: parts.identifiers.clone(),
            slots: Slots::of(parts),
            state: Mutex::new(state),
            ended: Condvar::new(),
        }))
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        (self.now)()
    }

    /// The name of the deployment, if it was asked for.
    pub(super) fn deployment(&self) -> Option<String> {
        self.deployment.clone()
    }

    /// The key of identifiers, if it was asked for.
    pub(super) fn identifiers(&self) -> Option<Secret> {
        self.identifiers.clone()
    }

    /// A handle on one of the slots.
    pub(super) fn live<T>(
        self: &Arc<Self>,
        slot: Option<&Slot<T>>,
        name: KeyName,
    ) -> Result<Live<T>, KeysError> {
        let slot = slot.ok_or_else(|| KeysError::Missing(vec![name.as_str().to_owned()]))?;
        Ok(Live::new(Arc::clone(slot), Arc::clone(self)))
    }

    /// Reads again what is old; see [`Live::refresh`].
    pub(super) async fn refresh(&self) {
        let Some(reading) = self.begin(|state, now| now >= state.due) else { return };
        reading.took(self.source.read(self.names).await);
    }

    /// Reads again what lacks a key; see [`Live::again`]. Nothing here is asynchronous, so that a key can be missed
    /// wherever a value is opened: the thread is blocked, at most once a minute, and says so to the runtime.
    pub(super) fn again(self: &Arc<Self>) -> bool {
        let begun = self.begin(|state, now| {
            let free = state.asked.is_none_or(|asked| (now - asked).abs() >= PAUSE);
            if free {
                state.asked = Some(now);
            }
            free
        });
        match begun {
            Some(reading) => blocking(|| reading.took(self.source.read_blocking(self.names))),
            None => self.wait(),
        }
    }

    /// Waits for the reading that is under way, if there is one and waiting does not hinder it.
    fn wait(&self) -> bool {
        if !self.state().reading || !may_block() {
            return false;
        }
        blocking(|| {
            let waited = self.ended.wait_timeout_while(self.state(), PATIENCE, |state| state.reading);
            !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
        })
    }

    fn begin(&self, wanted: impl FnOnce(&mut State, DateTime<Utc>) -> bool) -> Option<Reading<'_>> {
        let mut state = self.state();
        if state.reading || !wanted(&mut state, self.now()) {
            return None;
        }
        state.reading = true;
        Some(Reading(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts these keys in the place of those before, all of them or none.
    fn replace(&self, parts: Parts) -> Result<(), KeysError> {
        if parts.deployment != self.deployment {
            return Err(KeysError::Changed("the name of the deployment"));
        }
        let same = match (&parts.identifiers, &self.identifiers) {
            (Some(new), Some(old)) => {
                constant_time::verify_slices_are_equal(new.expose(), old.expose()).is_ok()
            }
            (new, old) => new.is_none() && old.is_none(),
        };
        if !same {
            return Err(KeysError::Changed("the key of identifiers"));
        }
        self.slots.replace(parts);
        Ok(())
    }
}

/// The right to read, until it is dropped: also by a request whose client has gone.
struct Reading<'a>(&'a Reader);

impl Reading<'_> {
    /// Takes what was read; whether it is in use now.
    fn took(&self, read: Result<Parts, KeysError>) -> bool {
        let replaced = read.and_then(|parts| self.0.replace(parts));
        let now = self.0.now();
        match replaced {
            Ok(()) => self.0.state().due = now + lifetime(),
            Err(error) => {
                self.0.state().due = now + PAUSE;
                let cause = std::error::Error::source(&error).map(tracing::field::display);
                tracing::warn!(%error, cause, "the service keys could not be read again; the old ones stay");
                return false;
            }
        }
        true
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.state().reading = false;
        self.0.ended.notify_all();
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Slots {
    fn of(parts: Parts) -> Self {
        fn slot<T>(keys: Option<T>) -> Option<Slot<T>> {
            keys.map(|keys| Arc::new(ArcSwap::from_pointee(keys)))
        }
        Self {
            wrapping: slot(parts.wrapping),
            verifiers: slot(parts.verifiers),
            views: slot(parts.views),
            refresh: slot(parts.refresh),
            one_time: slot(parts.one_time),
            pepper: slot(parts.pepper),
            signing: slot(parts.signing),
            public: slot(parts.public),
        }
    }

    fn replace(&self, parts: Parts) {
        fn put<T>(slot: Option<&Slot<T>>, keys: Option<T>) {
            if let (Some(slot), Some(keys)) = (slot, keys) {
                slot.store(Arc::new(keys));
            }
        }
        put(self.wrapping.as_ref(), parts.wrapping);
        put(self.verifiers.as_ref(), parts.verifiers);
        put(self.views.as_ref(), parts.views);
        put(self.refresh.as_ref(), parts.refresh);
        put(self.one_time.as_ref(), parts.one_time);
        put(self.pepper.as_ref(), parts.pepper);
        put(self.signing.as_ref(), parts.signing);
        put(self.public.as_ref(), parts.public);
    }
}

fn lifetime() -> TimeDelta {
    let mut random = [0];
    // Without random numbers there is no jitter, and much else that does not work.
    let chance = rand::fill(&mut random).map_or(0, |()| i64::from(random[0]));
    LIFETIME - TimeDelta::seconds(chance * JITTER_SECONDS / 256)
}

/// Whether a thread may wait here without holding up what it waits for: not where one thread does everything.
fn may_block() -> bool {
    Handle::try_current().map_or(true, |handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Does what blocks the thread, after giving the thread's other tasks to another one, where there is one.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        Ok(_) | Err(_) => work(),
    }
}
