//! Keys that are read again while they are in use.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::DateTime;
use storage::keys::{
    Change, ChangeError, KeyId, KeySource, KeysError, LiveKeys, RingName, Secret, ServiceKeys,
};
use tempfile::TempDir;

/// A file of keys, a process that holds them, and its clock.
struct Process {
    folder: TempDir,
    keys: LiveKeys,
    clock: Arc<AtomicI64>,
}

impl Process {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        ServiceKeys::open_or_create(&path).unwrap();
        let clock = Arc::new(AtomicI64::new(4_102_444_800));
        let shown = Arc::clone(&clock);
        let now = move || DateTime::from_timestamp(shown.load(Ordering::SeqCst), 0).unwrap();
        let keys = KeySource::File(path).open(now).await.unwrap();
        Self { folder, keys, clock }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Puts a new current key into the ring of refresh tokens; its id.
    fn rotate(&self) -> KeyId {
        changed(&self.path(), |keys| {
            let id = ServiceKeys::random().unwrap().refresh.current().0.clone();
            keys.refresh = keys.refresh.clone().rotated(id.clone(), Secret::random().unwrap());
            id
        })
    }
}

fn changed<T>(path: &Path, change: impl FnOnce(&mut ServiceKeys) -> T) -> T {
    let mut keys = ServiceKeys::open(path).unwrap();
    let changed = change(&mut keys);
    std::fs::write(path, serde_json::to_vec(&keys).unwrap()).unwrap();
    changed
}

#[tokio::test]
async fn keys_older_than_five_minutes_are_read_again_when_a_request_begins() {
    let process = Process::start().await;
    let id = process.rotate();
    let handle = process.keys.refresh.clone();
    process.pass(239);
    handle.refresh().await;
    assert_ne!(handle.current().0, id, "not within four minutes");
    process.pass(61);
    // Any of the handles reads for all of them.
    process.keys.views.refresh().await;
    assert_eq!(handle.current().0, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_has_the_keys_read_again_at_most_once_a_minute() {
    let process = Process::start().await;
    let stranger = KeyId::parse("stranger").unwrap();
    let first = process.rotate();
    assert!(process.keys.refresh.get(&first).is_some(), "made since, and found at once");
    let second = process.rotate();
    assert!(process.keys.refresh.get(&second).is_none(), "within the same minute");
    process.pass(59);
    assert!(process.keys.refresh.get(&second).is_none());
    process.pass(1);
    assert!(process.keys.pepper.get(&stranger).is_none(), "for the sake of any ring");
    assert!(process.keys.refresh.get(&second).is_some());
}

#[tokio::test]
async fn an_unknown_key_is_looked_up_on_a_runtime_of_one_thread_too() {
    let process = Process::start().await;
    let id = process.rotate();
    assert!(process.keys.refresh.get(&id).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_read_again_stay_as_they_were() {
    let process = Process::start().await;
    let (id, _) = process.keys.refresh.current();
    let whole = std::fs::read(process.path()).unwrap();
    for broken in ["", "{}", "{\"deployment\""] {
        std::fs::write(process.path(), broken).unwrap();
        process.pass(3_600);
        process.keys.refresh.refresh().await;
        assert_eq!(process.keys.refresh.current().0, id, "{broken}");
        assert!(process.keys.refresh.get(&KeyId::parse("stranger").unwrap()).is_none());
    }
    std::fs::write(process.path(), whole).unwrap();
    let next = process.rotate();
    process.keys.refresh.refresh().await;
    assert_eq!(process.keys.refresh.current().0, id, "it is not tried again within a minute");
    process.pass(60);
    process.keys.refresh.refresh().await;
    assert_eq!(process.keys.refresh.current().0, next);
}

#[tokio::test]
async fn keys_of_another_deployment_are_never_taken_up() {
    let process = Process::start().await;
    let (id, _) = process.keys.refresh.current();
    for change in [
        |keys: &mut ServiceKeys| keys.deployment.push('x'),
        |keys: &mut ServiceKeys| keys.identifiers = Secret::random().unwrap(),
    ] {
        let whole = std::fs::read(process.path()).unwrap();
        process.rotate();
        changed(&process.path(), change);
        process.pass(3_600);
        process.keys.refresh.refresh().await;
        assert_eq!(process.keys.refresh.current().0, id);
        std::fs::write(process.path(), whole).unwrap();
    }
}

#[tokio::test]
async fn a_ring_moves_on_to_its_next_key_when_the_time_comes_without_being_read() {
    let process = Process::start().await;
    let (before, _) = process.keys.refresh.current();
    changed(&process.path(), |keys| {
        let mut ring = serde_json::to_value(&keys.refresh).unwrap();
        ring["keys"]["next"] = ring["keys"][before.as_str()].clone();
        ring["from"] = serde_json::json!({"next": "2100-01-01T00:10:00Z"});
        keys.refresh = serde_json::from_value(ring).unwrap();
    });
    process.pass(300);
    process.keys.refresh.refresh().await;
    // From now on the file tells nothing new.
    std::fs::remove_file(process.path()).unwrap();
    assert_eq!(process.keys.refresh.current().0, before);
    process.pass(299);
    assert_eq!(process.keys.refresh.current().0, before);
    process.pass(1);
    assert_eq!(process.keys.refresh.current().0.as_str(), "next");
}

#[tokio::test]
async fn a_next_key_that_gives_way_stays_for_those_who_do_not_know_it_yet() {
    let process = Process::start().await;
    let source = KeySource::File(process.path());
    let now = || DateTime::from_timestamp(process.clock.load(Ordering::SeqCst), 0).unwrap();
    source.change(RingName::Wrapping, &Change::Rotate, now()).await.unwrap();
    process.pass(400);
    process.keys.wrapping.refresh().await;
    process.pass(190);
    let keys = source.change(RingName::Wrapping, &Change::RotateNow, now()).await.unwrap();
    process.pass(10);
    process.keys.wrapping.refresh().await;
    // It read the ring less than four minutes ago, and wraps data keys with what it takes for the current key.
    let (unaware, _) = process.keys.wrapping.current();
    let ring = ServiceKeys::open(&process.path()).unwrap().wrapping;
    assert_ne!(ring.current_at(now()).0, &unaware);
    assert_eq!(keys.last().map(|key| &key.id), Some(ring.current_at(now()).0));
    assert!(ring.get(&unaware).is_some(), "what it made then could never be opened");
}

#[tokio::test]
async fn a_next_key_is_not_taken_out_so_late_that_somebody_would_use_it_all_the_same() {
    let process = Process::start().await;
    let source = KeySource::File(process.path());
    let now = || DateTime::from_timestamp(process.clock.load(Ordering::SeqCst), 0).unwrap();
    for (ring, wait) in [(RingName::Wrapping, 1), (RingName::Signing, 6_601)] {
        let keys = source.change(ring, &Change::Rotate, now()).await.unwrap();
        let next = Change::Retire(keys.last().unwrap().id.clone());
        process.pass(wait);
        let late = source.change(ring, &next, now()).await;
        assert!(matches!(late, Err(ChangeError::SoonInUse { .. })), "{late:?}");
        process.pass(-wait);
        assert_eq!(source.change(ring, &next, now()).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_process_gets_only_the_keys_it_asks_for() {
    let process = Process::start().await;
    let now = || DateTime::UNIX_EPOCH;
    let source = || KeySource::File(process.path());
    source().open_for_projection(now).await.unwrap();
    let mail = source().open_for_mail(now).await.unwrap();
    assert_eq!(mail.one_time.current().0, process.keys.one_time.current().0);
    let public = source().open_public(now).await.unwrap();
    assert_eq!(public.load().keys[0].kid, process.keys.signing.current().0);
    let elsewhere = KeySource::File(process.folder.path().join("other.json"));
    assert!(matches!(elsewhere.open(now).await, Err(KeysError::File(_))));
}
