use std::sync::Arc;
use std::time::Instant;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::{constant_time, rand};
use domain::{NewPassword, PresentedPassword};
use phc::Salt;
use storage::keys::{KeyId, LiveRing, Secret};
use telemetry::{Measure, measure};
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use super::guessable;
use super::pool::{Loan, Pool};
use super::verifier::{Hash, OUTPUT, Verifier};
use super::{HashParams, ParamsError};

/// How many requests may wait for each buffer. The last of them waits for 64 hashes: at the minimum cost one or two
/// seconds, after which few clients are still there.
const WAITING_PER_BUFFER: usize = 64;

/// Why there can be no hasher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HasherError {
    /// Hashes cannot cost what is configured.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// Hashes would cost more than any may ([`HashParams::is_above_maximum`]): none would ever be verified.
    #[error("hashes of {0} would cost more than is ever verified")]
    TooCostly(HashParams),
    /// There would be no buffer, or more than can be counted.
    #[error("between 1 and 65,535 hashes can run at once")]
    Parallel,
    /// The memory for the buffers is not to be had.
    #[error("no memory for the buffers of password hashes")]
    Memory(#[source] std::collections::TryReserveError),
    /// The system has no random numbers to make a decoy of.
    #[error("no random source")]
    NoRandomness,
    /// A decoy cannot be written.
    #[error("no decoy")]
    Decoy(#[source] HashError),
}

/// Why a password was neither hashed nor verified. None of these is the fault of whoever presented the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The stored verifier is not of the form that this crate writes.
    #[error("the stored verifier is malformed")]
    Malformed,
    /// The stored verifier is of another algorithm than Argon2id.
    #[error("the stored verifier is not of Argon2id")]
    Algorithm,
    /// The stored verifier is of another version of Argon2 than 19 (1.3).
    #[error("the stored verifier is of another version of Argon2")]
    Version,
    /// The stored verifier names a pepper that is not in the ring.
    #[error("the stored verifier needs the pepper {}, which is not in the ring", .0.as_str())]
    UnknownPepper(KeyId),
    /// The stored verifier asks for more than any hash may cost ([`HashParams::is_above_maximum`]). As no hasher makes
    /// such a verifier, somebody else did, with the key that seals them.
    #[error("the stored verifier asks for {0}, which is too much")]
    TooCostly(HashParams),
    /// There is no memory for a verifier that needs more than a kept buffer has.
    #[error("no memory for a password hash")]
    Memory(#[source] std::collections::TryReserveError),
    /// The algorithm refused its input.
    #[error("the password cannot be hashed")]
    Argon2(#[source] argon2::Error),
    /// The hash was given up: the process ends, or the hashing panicked.
    #[error("the password hash was interrupted")]
    Interrupted,
}

/// Hashes and verifies passwords with Argon2id, so many at once as it has buffers; more wait, in the order of asking.
///
/// A hash runs in a blocking thread that owns its buffer: a request that is cancelled meanwhile leaves both to end by
/// themselves, and a request cancelled before has taken nothing.
pub struct PasswordHasher {
    params: HashParams,
    peppers: LiveRing<Secret>,
    pool: Arc<Pool>,
    places: Semaphore,
    decoy: (Salt, Hash),
}

/// The memory that hashes of one cost are computed in, which needs no key: it is made ready while the keys are on their
/// way.
pub struct Buffers {
    params: HashParams,
    pool: Arc<Pool>,
}

/// A place among the requests that hash or wait for it, until this is dropped.
pub struct Place<'a>(#[expect(dead_code, reason = "held, to be given back")] SemaphorePermit<'a>);

impl Buffers {
    /// So many buffers of `params.memory_kib` each, reserved here and now, for a hasher of this cost. It may be any
    /// that the algorithm takes and that is not above the maximum ([`HashParams::is_above_maximum`]); whether to warn
    /// of weak ones or refuse them is for the caller to say ([`HashParams::is_below_minimum`]).
    pub fn new(params: HashParams, parallel: usize) -> Result<Self, HasherError> {
        let blocks = params.checked()?.block_count();
        if params.is_above_maximum() {
            return Err(HasherError::TooCostly(params));
        }
        let count = u16::try_from(parallel).ok().filter(|count| *count > 0).ok_or(HasherError::Parallel)?;
        let pool = Arc::new(Pool::new(count.into(), blocks).map_err(HasherError::Memory)?);
        Ok(Self { params, pool })
    }

    /// Touches every page of every buffer and reads the lists of much used passwords, so that the first request need
    /// not: part of starting on Lambda, where that time costs nothing. Waits for hashes that run already.
    pub async fn warm(&self) -> Result<(), HashError> {
        let mut loans = Arc::clone(&self.pool).lend_all().await.map_err(|_| HashError::Interrupted)?;
        let touch = move || {
            for loan in &mut loans {
                loan.blocks();
            }
            guessable::warm();
        };
        tokio::task::spawn_blocking(touch).await.map_err(|_| HashError::Interrupted)
    }
}

impl PasswordHasher {
    /// A hasher of this cost, with `parallel` buffers of `params.memory_kib` each: see [`Buffers::new`].
    pub fn new(
        params: HashParams,
        peppers: impl Into<LiveRing<Secret>>,
        parallel: usize,
    ) -> Result<Self, HasherError> {
        Self::of(Buffers::new(params, parallel)?, peppers)
    }

    /// A hasher with these buffers.
    pub fn of(buffers: Buffers, peppers: impl Into<LiveRing<Secret>>) -> Result<Self, HasherError> {
        let Buffers { params, pool } = buffers;
        let mut salt = [0; Salt::RECOMMENDED_LENGTH];
        let mut hash = Zeroizing::new([0; OUTPUT]);
        rand::fill(&mut salt).and_then(|()| rand::fill(&mut *hash)).map_err(|_| HasherError::NoRandomness)?;
        let salt = Salt::new(&salt).map_err(|_| HasherError::Decoy(HashError::Malformed))?;
        let places = Semaphore::new(pool.at_rest() * (1 + WAITING_PER_BUFFER));
        let hasher = Self { params, peppers: peppers.into(), pool, places, decoy: (salt, hash) };
        hasher.decoy().map_err(HasherError::Decoy)?;
        Ok(hasher)
    }

    /// A place for a request that is going to hash, unless there are too many already: one for each buffer and 64
    /// more that wait for it. To be taken before anything is counted or written, and held until the last hash.
    pub fn place(&self) -> Option<Place<'_>> {
        self.places.try_acquire().ok().map(Place)
    }

    /// The verifier of a password, as a PHC string: of the configured cost, with the current pepper. `salt` is random.
    pub async fn hash(&self, password: &NewPassword, salt: [u8; 16]) -> Result<Zeroizing<String>, HashError> {
        self.hash_octets(password.as_bytes(), salt).await
    }

    /// A verifier made anew of a password that opened this one, if this one is weaker than what is made now: of less
    /// work, or with another pepper than the current one. Length and likelihood of the password are not judged again.
    pub async fn rehash(
        &self,
        password: &PresentedPassword,
        phc: &str,
        salt: [u8; 16],
    ) -> Result<Option<Zeroizing<String>>, HashError> {
        let verifier = Verifier::read(phc)?;
        let weaker = self.params.beyond(verifier.params).is_some();
        if !weaker && verifier.pepper == self.peppers.current().0 {
            return Ok(None);
        }
        self.hash_octets(password.as_bytes(), salt).await.map(Some)
    }

    async fn hash_octets(&self, password: &[u8], salt: [u8; 16]) -> Result<Zeroizing<String>, HashError> {
        let salt = Salt::new(&salt).map_err(|_| HashError::Malformed)?;
        let (pepper, secret) = self.peppers.current();
        let hash = Input::new(password, &secret, salt, self.params)?;
        let hash = self.run(move |loan| hash.compute(loan)).await?;
        Verifier { params: self.params, pepper, salt, hash }.write()
    }

    /// Whether this is the password of a verifier: at the verifier's own cost and with the pepper that it names.
    ///
    /// A wrong password takes as much work as against [`Self::decoy`] where the verifier is cheaper: the rest is hashed
    /// after it. A verifier that asks for too much takes just that work, and is refused. One that is costlier, but not
    /// too costly, takes more work than the decoy, and shows thereby that there is a user: how much more, nobody could
    /// know who has no user to look at. That ends when its password is next set.
    pub async fn verify(&self, password: &PresentedPassword, phc: &str) -> Result<bool, HashError> {
        let verifier = Verifier::read(phc)?;
        let password = password.as_bytes();
        let (_, current) = self.peppers.current();
        if verifier.params.is_above_maximum() {
            let decoy = Input::new(password, &current, verifier.salt, self.params)?;
            self.run(move |loan| decoy.compute(loan)).await?;
            return Err(HashError::TooCostly(verifier.params));
        }
        let Some(secret) = self.peppers.get(&verifier.pepper) else {
            return Err(HashError::UnknownPepper(verifier.pepper));
        };
        let hash = Input::new(password, &secret, verifier.salt, verifier.params)?;
        let rest = self.params.beyond(verifier.params);
        let rest = rest.map(|rest| Input::new(password, &secret, verifier.salt, rest)).transpose()?;
        self.run(move |loan| {
            let good = constant_time::verify_slices_are_equal(&*hash.compute(loan)?, &*verifier.hash).is_ok();
            if let Some(rest) = rest.filter(|_| !good) {
                rest.compute(loan)?;
            }
            Ok(good)
        })
        .await
    }

    /// A verifier of no password, to verify against where there is no user: as costly as one that
    /// [`Self::hash`] makes now. Its hash is 256 random bits.
    pub fn decoy(&self) -> Result<Zeroizing<String>, HashError> {
        let ((salt, hash), (pepper, _)) = (&self.decoy, self.peppers.current());
        Verifier { params: self.params, pepper, salt: *salt, hash: hash.clone() }.write()
    }

    /// The work of all hashes so far, in KiB of memory times passes: what answers must have in common that are not to be
    /// told apart by their time.
    pub fn work(&self) -> u64 {
        self.pool.work.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// See [`Buffers::warm`].
    #[cfg(test)]
    pub(super) async fn warm(&self) -> Result<(), HashError> {
        Buffers { params: self.params, pool: Arc::clone(&self.pool) }.warm().await
    }

    /// How many more hashes could run now: the buffers at rest.
    pub fn available(&self) -> usize {
        self.pool.at_rest()
    }

    /// Runs this in a blocking thread, with a buffer.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Loan) -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let mut loan = Arc::clone(&self.pool).lend().await.map_err(|_| HashError::Interrupted)?;
        let timed = move || {
            let begun = Instant::now();
            let done = work(&mut loan);
            (done, begun.elapsed())
        };
        let (done, time) = tokio::task::spawn_blocking(timed).await.map_err(|_| HashError::Interrupted)?;
        measure(Measure::HashTime(time));
        done
    }
}

/// What goes into a hash.
struct Input {
    password: Zeroizing<Vec<u8>>,
    pepper: Secret,
    salt: Salt,
    params: Params,
}

impl Input {
    fn new(password: &[u8], pepper: &Secret, salt: Salt, params: HashParams) -> Result<Self, HashError> {
        let params = params.checked().map_err(|_| HashError::Malformed)?;
        Ok(Self { password: Zeroizing::new(password.to_vec()), pepper: pepper.clone(), salt, params })
    }

    /// Computes the hash in a kept buffer, or in fresh memory if that is too small.
    fn compute(self, loan: &mut Loan) -> Result<Hash, HashError> {
        let needed = self.params.block_count();
        loan.pool.work.fetch_add(
            u64::from(self.params.m_cost()) * u64::from(self.params.t_cost()),
            std::sync::atomic::Ordering::Relaxed,
        );
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let argon2 = Argon2::new_with_secret(self.pepper.expose(), algorithm, version, self.params)
            .map_err(HashError::Argon2)?;
        let mut hash = Zeroizing::new([0; OUTPUT]);
        let mut fresh = Vec::new();
        let mut blocks = loan.blocks();
        if blocks.len() < needed {
            fresh.try_reserve_exact(needed).map_err(HashError::Memory)?;
            fresh.resize(needed, Block::default());
            blocks = &mut fresh;
        }
        argon2
            .hash_password_into_with_memory(&self.password, &self.salt, hash.as_mut_slice(), blocks)
            .map_err(HashError::Argon2)?;
        Ok(hash)
    }
}
