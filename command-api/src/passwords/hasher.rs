use std::sync::Arc;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::{constant_time, rand};
use domain::{NewPassword, PresentedPassword};
use phc::Salt;
use storage::keys::{KeyId, Ring, Secret};
use zeroize::Zeroizing;

use super::pool::{Loan, Pool};
use super::verifier::{Hash, OUTPUT, Verifier};
use super::{HashParams, ParamsError};

/// How often over the configured cost, or the minimum if that is higher, a stored verifier may ask for: once for each
/// of memory, passes and lanes. Above, it is refused without being computed.
const MAX_FACTOR: u32 = 4;

/// Why there can be no hasher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HasherError {
    /// Hashes cannot cost what is configured.
    #[error(transparent)]
    Params(#[from] ParamsError),
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
    /// The stored verifier asks for more than four times the configured memory, passes or lanes.
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
    peppers: Ring<Secret>,
    pool: Arc<Pool>,
    decoy: Zeroizing<String>,
}

impl PasswordHasher {
    /// A hasher of this cost, with `parallel` buffers of `params.memory_kib` each, reserved here and now. It takes any
    /// parameters that the algorithm takes: whether to warn of weak ones or refuse them is for the caller to say
    /// ([`HashParams::is_below_minimum`]).
    pub fn new(params: HashParams, peppers: Ring<Secret>, parallel: usize) -> Result<Self, HasherError> {
        let blocks = params.checked()?.block_count();
        let count = u16::try_from(parallel).ok().filter(|count| *count > 0).ok_or(HasherError::Parallel)?;
        let pool = Arc::new(Pool::new(count.into(), blocks).map_err(HasherError::Memory)?);
        let mut salt = [0; Salt::RECOMMENDED_LENGTH];
        let mut hash = Zeroizing::new([0; OUTPUT]);
        rand::fill(&mut salt).and_then(|()| rand::fill(&mut *hash)).map_err(|_| HasherError::NoRandomness)?;
        let salt = Salt::new(&salt).map_err(|_| HasherError::Decoy(HashError::Malformed))?;
        let decoy = Verifier { params, pepper: peppers.current().0.clone(), salt, hash };
        let decoy = decoy.write().map_err(HasherError::Decoy)?;
        Ok(Self { params, peppers, pool, decoy })
    }

    /// The verifier of a password, as a PHC string: of the configured cost, with the current pepper. `salt` is random.
    pub async fn hash(&self, password: &NewPassword, salt: [u8; 16]) -> Result<Zeroizing<String>, HashError> {
        let salt = Salt::new(&salt).map_err(|_| HashError::Malformed)?;
        let (pepper, secret) = self.peppers.current();
        let hash = self.compute(password.as_bytes(), secret, salt, self.params).await?;
        Verifier { params: self.params, pepper: pepper.clone(), salt, hash }.write()
    }

    /// Whether this is the password of a verifier: at the verifier's own cost and with the pepper that it names.
    pub async fn verify(&self, password: &PresentedPassword, phc: &str) -> Result<bool, HashError> {
        let verifier = Verifier::read(phc)?;
        if self.is_too_costly(verifier.params) {
            return Err(HashError::TooCostly(verifier.params));
        }
        let Some(secret) = self.peppers.get(&verifier.pepper) else {
            return Err(HashError::UnknownPepper(verifier.pepper));
        };
        let hash = self.compute(password.as_bytes(), secret, verifier.salt, verifier.params).await?;
        Ok(constant_time::verify_slices_are_equal(&*hash, &*verifier.hash).is_ok())
    }

    /// A verifier of no password, to verify against where there is no user: as costly as one that
    /// [`Self::hash`] makes now. Its hash is 256 random bits.
    pub fn decoy(&self) -> &str {
        &self.decoy
    }

    /// How many more hashes could run now: the buffers at rest.
    pub fn available(&self) -> usize {
        self.pool.at_rest()
    }

    /// Touches every page of every buffer, so that the first hashes need not: part of starting on Lambda, where that
    /// time costs nothing. Waits for hashes that run already.
    pub async fn warm(&self) -> Result<(), HashError> {
        let mut loans = Arc::clone(&self.pool).lend_all().await.map_err(|_| HashError::Interrupted)?;
        let touch = move || {
            for loan in &mut loans {
                loan.blocks();
            }
        };
        tokio::task::spawn_blocking(touch).await.map_err(|_| HashError::Interrupted)
    }

    const fn is_too_costly(&self, asked: HashParams) -> bool {
        const fn most(configured: u32, minimum: u32) -> u32 {
            MAX_FACTOR.saturating_mul(if configured > minimum { configured } else { minimum })
        }
        let minimum = HashParams::MINIMUM;
        asked.memory_kib > most(self.params.memory_kib, minimum.memory_kib)
            || asked.iterations > most(self.params.iterations, minimum.iterations)
            || asked.parallelism > most(self.params.parallelism, minimum.parallelism)
    }

    async fn compute(
        &self,
        password: &[u8],
        pepper: &Secret,
        salt: Salt,
        params: HashParams,
    ) -> Result<Hash, HashError> {
        let params = params.checked().map_err(|_| HashError::Malformed)?;
        let password = Zeroizing::new(password.to_vec());
        let pepper = pepper.clone();
        let mut loan = Arc::clone(&self.pool).lend().await.map_err(|_| HashError::Interrupted)?;
        let compute = move || compute_in(&mut loan, &password, &pepper, &salt, params);
        tokio::task::spawn_blocking(compute).await.map_err(|_| HashError::Interrupted)?
    }
}

/// Computes a hash in a kept buffer, or in fresh memory if that is too small.
fn compute_in(
    loan: &mut Loan,
    password: &[u8],
    pepper: &Secret,
    salt: &Salt,
    params: Params,
) -> Result<Hash, HashError> {
    let needed = params.block_count();
    let argon2 = Argon2::new_with_secret(pepper.expose(), Algorithm::Argon2id, Version::V0x13, params)
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
        .hash_password_into_with_memory(password, salt, hash.as_mut_slice(), blocks)
        .map_err(HashError::Argon2)?;
    Ok(hash)
}
