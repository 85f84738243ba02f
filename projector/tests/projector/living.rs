use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use domain::{FOLD, SessionId, UserId, Version};
use projector::ReadModel;
use projector::replay::{Checkpoint, Phase, Replay};
use storage::{Replacing, Store, View};
use testkit::Meter;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::ground::{Ground, address, batch, now, v};

/// Somebody who stays signed in, and what they have been told.
struct Person {
    user: UserId,
    home: SessionId,
    /// The version of the last command that was acknowledged.
    acknowledged: AtomicU64,
}

/// What goes on while a read model is rebuilt.
struct Life<'a> {
    ground: &'a Ground,
    people: Mutex<Vec<Arc<Person>>>,
    projectors: Mutex<Vec<UnboundedSender<(UserId, u64)>>>,
    writes: AtomicU64,
    reads: AtomicU64,
}

/// Ends those who do something until they are told to stop.
type Stop = AtomicBool;

impl<'a> Life<'a> {
    async fn of(ground: &'a Ground, people: usize) -> Self {
        let life = Self {
            ground,
            people: Mutex::default(),
            projectors: Mutex::default(),
            writes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        };
        for _ in 0..people {
            life.newcomer(&ground.store).await;
        }
        life
    }

    /// The store as code of another fold number has it.
    fn store_of_fold(&self, fold: u32) -> Store {
        let mut store = self.ground.store.clone();
        store.views = store.views.with_fold(fold);
        store
    }

    /// What the stream says to a projector from now on.
    fn stream(&self) -> UnboundedReceiver<(UserId, u64)> {
        let (sender, stream) = unbounded_channel();
        self.projectors.lock().unwrap().push(sender);
        stream
    }

    /// The stream ends; a projector that has read it to its end is done.
    fn end_streams(&self) {
        self.projectors.lock().unwrap().clear();
    }

    fn appended(&self, user: UserId, version: u64) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        for projector in &*self.projectors.lock().unwrap() {
            // A projector that is gone hears nothing.
            let _ = projector.send((user, version));
        }
    }

    async fn newcomer(&self, store: &Store) -> Arc<Person> {
        let user = self.ground.registered_by(store).await;
        self.appended(user, 1);
        let home = self.ground.signed_in_by(store, user).await;
        self.appended(user, 2);
        let person = Arc::new(Person { user, home, acknowledged: AtomicU64::new(2) });
        self.people.lock().unwrap().push(Arc::clone(&person));
        person
    }

    /// Registers people, signs them and the `number`th of every three in and out.
    async fn write(&self, store: &Store, number: usize, stop: &Stop) {
        while !stop.load(Ordering::Relaxed) {
            let newcomer = self.newcomer(store).await;
            let theirs: Vec<_> =
                self.people.lock().unwrap().iter().skip(number).step_by(3).cloned().collect();
            for person in theirs.iter().take(4).chain([&newcomer]) {
                // Nobody else writes to their logs, so the versions are known.
                let session = self.ground.signed_in_by(store, person.user).await;
                let version = person.acknowledged.fetch_add(1, Ordering::SeqCst) + 1;
                self.appended(person.user, version);
                self.ground.signed_out_by(store, person.user, session).await;
                let version = person.acknowledged.fetch_add(1, Ordering::SeqCst) + 1;
                self.appended(person.user, version);
            }
        }
    }

    /// Reads everybody's profile; no read fails, and none shows less than it may.
    async fn read(&self, store: &Store, stop: &Stop) {
        let mut seen: HashMap<UserId, Version> = HashMap::new();
        while !stop.load(Ordering::Relaxed) {
            let people = self.people.lock().unwrap().clone();
            for person in people {
                // What the table holds, read consistently: of whatever fold number, the version never goes down.
                let view = store.views.read_all(&[person.user], true).await.unwrap().pop().unwrap().view;
                let version = match &view {
                    View::Absent => Version::NONE,
                    View::Of(snapshot) => snapshot.head.version,
                    View::Foreign { version, .. } => *version,
                    View::Torn(_) => panic!("a torn view"),
                };
                let before = seen.insert(person.user, version).unwrap_or_default();
                assert!(version >= before, "the view went back from {before} to {version}");

                let acknowledged = v(person.acknowledged.load(Ordering::SeqCst));
                for (at_least, promised) in [(acknowledged, acknowledged), (Version::NONE, version)] {
                    let read = store.read_acting(person.user, person.home, at_least, now()).await;
                    let snapshot = read.expect("a read failed").expect("the session has not ended");
                    assert!(snapshot.head.version >= promised, "{} of {promised}", snapshot.head.version);
                    assert_eq!(snapshot.user.account().unwrap().email, Some(address(person.user)));
                    self.reads.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Projects what the stream says, until it ends.
    async fn project(&self, model: &ReadModel, mut stream: UnboundedReceiver<(UserId, u64)>) {
        let mut commits = Vec::new();
        while stream.recv_many(&mut commits, 25).await > 0 {
            let answer = projector::handle(model, batch(&commits), now()).await;
            assert!(answer.batch_item_failures.is_empty(), "{answer:?}");
            commits.clear();
        }
    }

    /// Does this until so many more writes and reads have gone on beside it.
    async fn beside(&self, mut work: impl AsyncFnMut()) {
        let goes_on = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let until = (goes_on(&self.writes) + 40, goes_on(&self.reads) + 100);
        work().await;
        while goes_on(&self.writes) < until.0 || goes_on(&self.reads) < until.1 {
            work().await;
        }
    }

    async fn assert_all_shown(&self, model: &ReadModel) {
        let verified = Replay::of(model.clone()).verify(&self.ground.store.identifiers).await.unwrap();
        assert!(verified.holds(), "{verified:?}");
        assert_eq!(verified.covered.users, self.people.lock().unwrap().len() as u64);
    }
}

/// Rebuilds, and gives up at the first checkpoint; what it has left.
async fn killed(replay: Replay, ground: &Ground) -> Option<Checkpoint> {
    let (sender, mut checkpoints) = unbounded_channel();
    let replay = replay.keeping(move |checkpoint| {
        // Nobody listens after the first.
        let _ = sender.send(checkpoint.clone());
    });
    tokio::select! {
        biased;
        checkpoint = checkpoints.recv() => checkpoint,
        _ = replay.rebuild(&ground.store.identifiers, now()) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilds_killed_resumed_and_two_at_once_disturb_no_writer_and_no_reader() {
    let ground = Ground::new().await;
    let life = Life::of(&ground, 9).await;
    let identifiers = &ground.store.identifiers;
    let rebuild = async |replay: Replay| {
        let report = replay.rebuild(identifiers, now()).await.unwrap();
        assert!(report.verified.holds(), "{:?}", report.verified);
    };
    let (store, model, stop) = (&ground.store, &ground.model, Stop::new(false));
    let stream = life.stream();
    let operating = async {
        life.beside(async || {
            let replay = || Replay::of(model.clone());
            let checkpoint = killed(replay(), &ground).await.expect("it was done too soon");
            rebuild(replay().resuming(Phase::Rebuild, checkpoint, now()).unwrap()).await;
            tokio::join!(rebuild(replay()), rebuild(replay().in_segments(3)));
        })
        .await;
        stop.store(true, Ordering::Relaxed);
    };
    let writing = async {
        tokio::join!(life.write(store, 0, &stop), life.write(store, 1, &stop), life.write(store, 2, &stop));
        life.end_streams();
    };
    tokio::join!(
        operating,
        writing,
        life.read(store, &stop),
        life.read(store, &stop),
        life.project(model, stream)
    );
    life.assert_all_shown(model).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_new_code_run_together_and_a_roll_back_is_right_at_once_and_cheap_after_a_rebuild() {
    let ground = Ground::new().await;
    let life = Life::of(&ground, 9).await;
    let identifiers = &ground.store.identifiers;
    let (old, old_model) = (&ground.store, &ground.model);
    let (new, new_model) = (&life.store_of_fold(FOLD + 1), &ground.model_of_fold(FOLD + 1));
    Replay::of(old_model.clone()).rebuild(identifiers, now()).await.unwrap();

    // Both run, and the new code's rebuild beside them.
    let stop = Stop::new(false);
    let streams = (life.stream(), life.stream());
    let operating = async {
        life.beside(async || {
            let checkpoint = killed(Replay::of(new_model.clone()), &ground).await.unwrap();
            let refused = Replay::of(old_model.clone()).resuming(Phase::Rebuild, checkpoint.clone(), now());
            assert!(refused.is_err(), "the old code's would be another rebuild");
            let replay = Replay::of(new_model.clone()).resuming(Phase::Rebuild, checkpoint, now()).unwrap();
            let report = replay.rebuild(identifiers, now()).await.unwrap();
            assert!(report.verified.holds(), "{:?}", report.verified);
            // The old code's changes none of it.
            let report = Replay::of(old_model.clone()).rebuild(identifiers, now()).await.unwrap();
            assert!(report.done.of_higher_fold >= 9, "{report:?}");
        })
        .await;
        stop.store(true, Ordering::Relaxed);
    };
    let writing = async {
        tokio::join!(life.write(old, 0, &stop), life.write(new, 1, &stop), life.write(old, 2, &stop));
        life.end_streams();
    };
    tokio::join!(
        operating,
        writing,
        life.read(old, &stop),
        life.read(new, &stop),
        life.project(old_model, streams.0),
        life.project(new_model, streams.1)
    );
    life.assert_all_shown(new_model).await;

    // Rolled back: only the old code runs. Its reads are right, from the log; its projector leaves the views alone.
    let person = Arc::clone(&life.people.lock().unwrap()[0]);
    let before = ground.get(&ground.tables.views, Ground::view_key(person.user)).await;
    let (stop, stream) = (Stop::new(false), life.stream());
    let operating = async {
        life.beside(tokio::task::yield_now).await;
        assert_eq!(ground.get(&ground.tables.views, Ground::view_key(person.user)).await, before);
        assert_eq!(requests_of_a_read(&ground, &person).await, ["BatchGetItem", "Query"]);
        // Until the operator says that the newer views are to go.
        life.beside(async || {
            let replay = Replay::of(old_model.clone()).replacing_newer();
            let report = replay.rebuild(identifiers, now()).await.unwrap();
            assert!(report.verified.holds(), "{:?}", report.verified);
            assert_eq!(report.done.of_higher_fold, 0);
        })
        .await;
        stop.store(true, Ordering::Relaxed);
    };
    let writing = async {
        tokio::join!(life.write(old, 0, &stop), life.write(old, 1, &stop));
        life.end_streams();
    };
    tokio::join!(operating, writing, life.read(old, &stop), life.project(old_model, stream));
    life.assert_all_shown(old_model).await;
    assert_eq!(requests_of_a_read(&ground, &person).await, ["BatchGetItem"]);

    // And forward once more.
    Replay::of(new_model.clone()).repair(now()).await.unwrap();
    life.assert_all_shown(new_model).await;
}

/// What the old code asks of DynamoDB to read a profile.
async fn requests_of_a_read(ground: &Ground, person: &Person) -> Vec<String> {
    let (client, meter): (_, Meter) = ground.engine.metered();
    let store = Store::new(&client, &ground.tables, &ground.keys, storage::Lifetimes::default());
    store.read_acting(person.user, person.home, Version::NONE, now()).await.unwrap().unwrap();
    meter.taken().requests
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_views_are_replaced_beside_a_newer_projector_that_still_runs_without_harm() {
    let ground = Ground::new().await;
    let life = Life::of(&ground, 6).await;
    let identifiers = &ground.store.identifiers;
    let (old, old_model) = (&ground.store, &ground.model);
    let (new, new_model) = (&life.store_of_fold(FOLD + 1), &ground.model_of_fold(FOLD + 1));
    Replay::of(new_model.clone()).rebuild(identifiers, now()).await.unwrap();
    let (stop, streams) = (Stop::new(false), (life.stream(), life.stream()));
    let operating = async {
        life.beside(async || {
            // Whether it verifies depends on who came last.
            let replay = Replay::of(old_model.clone()).replacing_newer();
            replay.rebuild(identifiers, now()).await.unwrap();
        })
        .await;
        stop.store(true, Ordering::Relaxed);
    };
    let writing = async {
        tokio::join!(life.write(old, 0, &stop), life.write(new, 1, &stop));
        life.end_streams();
    };
    tokio::join!(
        operating,
        writing,
        life.read(old, &stop),
        life.read(new, &stop),
        life.project(old_model, streams.0),
        life.project(new_model, streams.1)
    );
    let replay = Replay::of(old_model.clone()).replacing_newer();
    assert!(replay.rebuild(identifiers, now()).await.unwrap().verified.holds());
    life.assert_all_shown(old_model).await;
}

#[tokio::test]
async fn a_newer_view_that_shows_more_than_the_log_is_not_replaced() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    ground.signed_in(user).await;
    let newer = ground.model_of_fold(FOLD + 1);
    newer.catch_up(user, v(2), now()).await.unwrap();
    ground.delete(&ground.tables.events, Ground::commit_key(user, 2)).await;
    let replay = Replay::of(ground.model.clone()).replacing_newer();
    let report = replay.rebuild(&ground.store.identifiers, now()).await.unwrap();
    assert_eq!((report.done.written, report.done.beyond_log), (0, 1));
    assert_eq!(ground.view(user).await, View::Foreign { version: v(2), fold: FOLD + 1 });
}

#[tokio::test]
async fn a_document_of_another_fold_number_is_never_opened_whatever_is_in_it() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    let session = ground.signed_in(user).await;
    for fold in [FOLD - 1, FOLD + 1] {
        let other = ground.model_of_fold(fold);
        let snapshot = ground.fold(user).await;
        ground.delete(&ground.tables.views, Ground::view_key(user)).await;
        other.views.put(user, &snapshot, Replacing::Older).await.unwrap();
        // A document that lacks a field or has one too many would be no other: it does not open.
        ground.tear_view(user).await;
        assert_eq!(ground.view(user).await, View::Foreign { version: v(2), fold });
        let read = ground.store.read_acting(user, session, Version::NONE, now()).await.unwrap().unwrap();
        assert_eq!(read, snapshot);
    }
    Replay::of(ground.model.clone())
        .replacing_newer()
        .rebuild(&ground.store.identifiers, now())
        .await
        .unwrap();
    ground.assert_shown(user).await;
}
