use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use domain::{NewPassword, PresentedPassword};
use storage::keys::{KeyId, Ring, Secret};

use super::verifier::Verifier;
use super::{HashError, HashParams, HasherError, ParamsError, PasswordHasher};

const PASSWORD: &str = "correct horse battery staple";
const TINY: HashParams = HashParams { memory_kib: 8, iterations: 1, parallelism: 1 };
const DEADLINE: Duration = Duration::from_secs(10);

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

fn peppers() -> Ring<Secret> {
    Ring::of(id("p1"), Secret::new([1; 32]))
}

fn hasher(params: HashParams) -> PasswordHasher {
    PasswordHasher::new(params, peppers(), 2).unwrap()
}

fn new(text: &str) -> NewPassword {
    NewPassword::parse(text).unwrap()
}

fn presented(text: &str) -> PresentedPassword {
    PresentedPassword::parse(text).unwrap()
}

/// Runs in a runtime whose only blocking thread waits until `open` is sent to: until then, every hash that has its
/// buffer stands still.
fn gated<F: Future>(test: impl FnOnce(mpsc::Sender<()>) -> F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_time().build().unwrap();
    let (open, gate) = mpsc::channel();
    runtime.block_on(async {
        tokio::task::spawn_blocking(move || gate.recv());
        tokio::time::timeout(DEADLINE, test(open)).await.unwrap()
    })
}

/// Asks for a hash `count` times, and returns when every request has got as far as it can.
async fn ask(
    hasher: &Arc<PasswordHasher>,
    count: usize,
) -> Vec<tokio::task::JoinHandle<Result<bool, HashError>>> {
    let asked = Arc::new(AtomicUsize::new(0));
    let tasks = (0..count)
        .map(|_| {
            let (hasher, asked) = (Arc::clone(hasher), Arc::clone(&asked));
            tokio::spawn(async move {
                asked.fetch_add(1, Ordering::Relaxed);
                hasher.verify(&presented(PASSWORD), &hasher.decoy().unwrap()).await
            })
        })
        .collect();
    while asked.load(Ordering::Relaxed) < count {
        tokio::task::yield_now().await;
    }
    tasks
}

#[tokio::test]
async fn a_password_opens_its_own_verifier_only() {
    let hasher = hasher(TINY);
    let phc = hasher.hash(&new(PASSWORD), [7; 16]).await.unwrap();
    assert!(phc.starts_with("$argon2id$v=19$m=8,t=1,p=1,keyid=cDE$"), "{}", *phc);
    assert_eq!(hasher.verify(&presented(PASSWORD), &phc).await, Ok(true));
    for other in
        ["", "Correct horse battery staple", "correct horse battery staple ", "correct horse battery"]
    {
        assert_eq!(hasher.verify(&presented(other), &phc).await, Ok(false), "{other:?}");
    }
}

#[tokio::test]
async fn the_same_password_with_another_salt_is_another_verifier() {
    let hasher = hasher(TINY);
    let one = hasher.hash(&new(PASSWORD), [7; 16]).await.unwrap();
    let other = hasher.hash(&new(PASSWORD), [8; 16]).await.unwrap();
    assert_ne!(Verifier::read(&one).unwrap().hash, Verifier::read(&other).unwrap().hash);
}

#[tokio::test]
async fn a_password_typed_in_nfd_opens_the_verifier_of_its_nfc() {
    let hasher = hasher(TINY);
    let phc = hasher.hash(&new("crème brûlée à la carte"), [7; 16]).await.unwrap();
    let decomposed = "cre\u{300}me bru\u{302}le\u{301}e a\u{300} la carte";
    assert_eq!(hasher.verify(&presented(decomposed), &phc).await, Ok(true));
}

#[tokio::test]
async fn a_kept_buffer_of_any_size_changes_no_hash() {
    let large = HashParams { memory_kib: 64, iterations: 3, parallelism: 2 };
    let (small_pool, large_pool) = (hasher(TINY), hasher(large));
    for salt in 0..4 {
        for (params, home) in [(TINY, &small_pool), (large, &large_pool)] {
            let phc = home.hash(&new(PASSWORD), [salt; 16]).await.unwrap();
            let written = Verifier::read(&phc).unwrap();
            assert_eq!((written.params, &*written.salt), (params, &[salt; 16][..]));
            // The same in memory of its own.
            let params = Params::new(params.memory_kib, params.iterations, params.parallelism, None).unwrap();
            let mut memory = vec![Block::default(); params.block_count()];
            let mut hash = [0; 32];
            Argon2::new_with_secret(&[1; 32], Algorithm::Argon2id, Version::V0x13, params)
                .unwrap()
                .hash_password_into_with_memory(PASSWORD.as_bytes(), &[salt; 16], &mut hash, &mut memory)
                .unwrap();
            assert_eq!(*written.hash, hash);
            // Each pool opens what the other made: one in a part of its buffer, one in more than its buffer.
            for pool in [&small_pool, &large_pool] {
                assert_eq!(pool.verify(&presented(PASSWORD), &phc).await, Ok(true));
                assert_eq!(pool.verify(&presented("another"), &phc).await, Ok(false));
            }
        }
    }
}

#[tokio::test]
async fn an_old_verifier_opens_with_its_old_pepper_and_new_ones_name_the_new() {
    let old = hasher(TINY).hash(&new(PASSWORD), [7; 16]).await.unwrap();
    let rotated = peppers().rotated(id("p2"), Secret::new([2; 32]));
    let hasher = PasswordHasher::new(TINY, rotated, 1).unwrap();
    assert_eq!(hasher.verify(&presented(PASSWORD), &old).await, Ok(true));
    let new = hasher.hash(&new(PASSWORD), [7; 16]).await.unwrap();
    assert_eq!(Verifier::read(&new).unwrap().pepper, id("p2"));
    assert_ne!(Verifier::read(&new).unwrap().hash, Verifier::read(&old).unwrap().hash);
    assert_eq!(hasher.verify(&presented(PASSWORD), &new).await, Ok(true));
}

#[tokio::test]
async fn a_verifier_of_less_work_or_another_pepper_is_made_anew_and_no_other_is() {
    let rotated = peppers().rotated(id("p2"), Secret::new([2; 32]));
    let today = HashParams { memory_kib: 64, iterations: 2, parallelism: 1 };
    let current = PasswordHasher::new(today, rotated.clone(), 1).unwrap();
    for (params, ring, anew) in [
        ("m=64,t=2,p=1", rotated.clone(), false),
        ("m=128,t=1,p=1", rotated.clone(), false),
        ("m=64,t=3,p=1", rotated.clone(), false),
        ("m=64,t=2,p=4", rotated.clone(), false),
        ("m=64,t=1,p=1", rotated.clone(), true),
        ("m=63,t=2,p=1", rotated.clone(), true),
        ("m=64,t=2,p=1", peppers(), true),
        ("m=64,t=3,p=1", peppers(), true),
    ] {
        let earlier = PasswordHasher::new(params.parse().unwrap(), ring, 1).unwrap();
        let phc = earlier.hash(&new(PASSWORD), [7; 16]).await.unwrap();
        let made = current.rehash(&presented(PASSWORD), &phc, [8; 16]).await.unwrap();
        assert_eq!(made.is_some(), anew, "{}", *phc);
        let Some(made) = made else { continue };
        let read = Verifier::read(&made).unwrap();
        assert_eq!((read.params, read.pepper, &*read.salt), (today, id("p2"), &[8; 16][..]));
        assert_eq!(current.verify(&presented(PASSWORD), &made).await, Ok(true));
        assert_eq!(current.rehash(&presented(PASSWORD), &made, [9; 16]).await, Ok(None));
    }
    // Nor is a password judged that was allowed when it was set.
    assert!(
        current.rehash(&presented("short"), &hasher(TINY).decoy().unwrap(), [8; 16]).await.unwrap().is_some()
    );
}

#[tokio::test]
async fn a_verifier_never_opens_without_its_pepper() {
    let phc = hasher(TINY).hash(&new(PASSWORD), [7; 16]).await.unwrap();
    let elsewhere = PasswordHasher::new(TINY, Ring::of(id("p9"), Secret::new([1; 32])), 1).unwrap();
    let missing = elsewhere.verify(&presented(PASSWORD), &phc).await;
    assert_eq!(missing, Err(HashError::UnknownPepper(id("p1"))));
    let impostor = PasswordHasher::new(TINY, Ring::of(id("p1"), Secret::new([9; 32])), 1).unwrap();
    assert_eq!(impostor.verify(&presented(PASSWORD), &phc).await, Ok(false));
}

#[tokio::test]
async fn a_verifier_made_at_a_higher_cost_opens_when_less_is_configured() {
    for costly in ["m=8,t=64,p=1", "m=262144,t=1,p=1", "m=128,t=1,p=16"] {
        let phc = hasher(costly.parse().unwrap()).hash(&new(PASSWORD), [7; 16]).await.unwrap();
        let hasher = hasher(TINY);
        assert_eq!(hasher.verify(&presented(PASSWORD), &phc).await, Ok(true), "{costly}");
        assert_eq!(hasher.verify(&presented("another"), &phc).await, Ok(false), "{costly}");
    }
}

#[tokio::test]
async fn a_verifier_that_asks_for_too_much_is_refused_after_the_work_of_the_decoy() {
    let hasher = hasher(HashParams { memory_kib: 64, iterations: 3, parallelism: 1 });
    for params in ["m=1048577,t=1,p=1", "m=8,t=65,p=1", "m=136,t=1,p=17", "m=4294967295,t=4294967295,p=1"] {
        let phc = hasher.decoy().unwrap().replace("m=64,t=3,p=1", params);
        let before = hasher.work();
        let error = HashError::TooCostly(params.parse().unwrap());
        assert_eq!(hasher.verify(&presented(PASSWORD), &phc).await, Err(error));
        assert_eq!(hasher.work() - before, 64 * 3, "{params}");
    }
}

#[tokio::test]
async fn a_wrong_password_for_a_cheaper_verifier_takes_the_work_of_the_decoy() {
    let current = hasher(HashParams { memory_kib: 96, iterations: 4, parallelism: 2 });
    let work = async |password: &str, phc: &str| {
        let before = current.work();
        let good = current.verify(&presented(password), phc).await.unwrap();
        (good, current.work() - before)
    };
    assert_eq!(work("another", &current.decoy().unwrap()).await, (false, 96 * 4));
    for (memory_kib, iterations) in [(8, 4), (48, 4), (96, 1), (96, 3), (192, 1), (96, 4)] {
        let params = HashParams { memory_kib, iterations, parallelism: 1 };
        let phc = hasher(params).hash(&new(PASSWORD), [7; 16]).await.unwrap();
        assert_eq!(work("another", &phc).await, (false, 96 * 4), "{params}");
        // What a good password takes tells nothing that its answer does not.
        assert_eq!(work(PASSWORD, &phc).await, (true, params.work()), "{params}");
    }
    let costlier = HashParams { memory_kib: 128, iterations: 4, parallelism: 1 };
    let phc = hasher(costlier).hash(&new(PASSWORD), [7; 16]).await.unwrap();
    assert_eq!(work("another", &phc).await, (false, 128 * 4));
}

#[test]
fn there_are_places_for_every_buffer_and_64_that_wait_for_it() {
    let hasher = hasher(TINY);
    let mut places: Vec<_> = std::iter::from_fn(|| hasher.place()).collect();
    assert_eq!(places.len(), 2 * 65);
    places.pop();
    assert!(hasher.place().is_some(), "a place that was given back is taken again");
    let _last = hasher.place();
    assert!(hasher.place().is_none());
}

#[tokio::test]
async fn a_verifier_that_no_argon2id_could_have_made_is_refused() {
    let hasher = hasher(TINY);
    for (from, to, error) in [
        ("$argon2id$", "$argon2d$", HashError::Algorithm),
        ("$argon2id$", "$argon2i$", HashError::Algorithm),
        ("$v=19$", "$v=16$", HashError::Version),
        ("m=8,t=1,p=1", "m=8,t=1,p=2", HashError::Malformed),
        ("m=8,t=1,p=1", "m=8,t=0,p=1", HashError::Malformed),
        ("m=8,t=1,p=1", "m=8,t=1,p=0", HashError::Malformed),
    ] {
        let phc = hasher.decoy().unwrap().replace(from, to);
        assert_eq!(hasher.verify(&presented(PASSWORD), &phc).await, Err(error), "{phc}");
    }
}

#[tokio::test]
async fn the_decoy_costs_what_a_new_verifier_costs_and_opens_to_nobody() {
    let hasher = hasher(TINY);
    let (decoy, real) = (hasher.decoy().unwrap(), hasher.hash(&new(PASSWORD), [7; 16]).await.unwrap());
    assert_eq!(decoy.len(), real.len());
    let cost = |phc| Verifier::read(phc).map(|verifier| (verifier.params, verifier.pepper)).unwrap();
    assert_eq!(cost(&decoy), cost(&real));
    assert_eq!(hasher.verify(&presented(PASSWORD), &decoy).await, Ok(false));
    assert_ne!(decoy, PasswordHasher::new(TINY, peppers(), 1).unwrap().decoy().unwrap(), "decoys are random");
}

#[test]
fn there_are_never_more_hashes_at_once_than_buffers() {
    gated(async |open| {
        let hasher = Arc::new(hasher(TINY));
        let tasks = ask(&hasher, 16).await;
        assert_eq!(hasher.available(), 0);
        assert!(tasks.iter().all(|task| !task.is_finished()));
        open.send(()).unwrap();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(false));
        }
        // A hash needs a buffer of its own: a third one at a time would have left a third buffer behind.
        assert_eq!(hasher.available(), 2);
    });
}

#[test]
fn cancelled_requests_give_their_buffers_back() {
    gated(async |open| {
        let hasher = Arc::new(hasher(TINY));
        // Two of these hold a buffer, three wait for one.
        let tasks = ask(&hasher, 5).await;
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        assert_eq!(hasher.available(), 0, "the hashes themselves are not cancelled");
        open.send(()).unwrap();
        // Waits for every buffer.
        hasher.warm().await.unwrap();
        assert_eq!(hasher.available(), 2);
        assert_eq!(hasher.verify(&presented(PASSWORD), &hasher.decoy().unwrap()).await, Ok(false));
    });
}

#[tokio::test]
async fn a_request_cancelled_while_it_hashes_gives_its_buffer_back() {
    let hasher = Arc::new(hasher(HashParams { memory_kib: 4_096, ..TINY }));
    for _ in 0..8 {
        for task in ask(&hasher, 3).await {
            task.abort();
        }
    }
    tokio::time::timeout(DEADLINE, hasher.warm()).await.unwrap().unwrap();
    assert_eq!(hasher.available(), 2);
}

#[tokio::test]
async fn warming_twice_at_once_beside_hashes_ends() {
    let hasher = Arc::new(hasher(TINY));
    let tasks = ask(&hasher, 4).await;
    let warmed = async { tokio::join!(hasher.warm(), hasher.warm()) };
    let warmed = tokio::time::timeout(DEADLINE, warmed).await.unwrap();
    assert_eq!(warmed, (Ok(()), Ok(())));
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(false));
    }
    assert_eq!(hasher.available(), 2);
}

#[test]
fn a_hasher_that_cannot_work_is_not_made() {
    let error = |params, parallel| PasswordHasher::new(params, peppers(), parallel).err();
    let no_pass = HashParams { iterations: 0, ..TINY };
    assert_eq!(error(no_pass, 1), Some(HasherError::Params(ParamsError::Iterations)));
    assert_eq!(error(TINY, 0), Some(HasherError::Parallel));
    assert_eq!(error(TINY, 65_536), Some(HasherError::Parallel));
    // Whatever it made it would not take.
    let costly = HashParams { memory_kib: 1_048_577, ..TINY };
    assert_eq!(error(costly, 1), Some(HasherError::TooCostly(costly)));
}
