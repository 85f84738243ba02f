//! Passwords as Argon2id verifiers, hashed off the async threads in a pool of kept buffers; and which ones may be set.

mod guessable;
mod hasher;
mod params;
mod pool;
#[cfg(test)]
mod tests;
mod verifier;

pub use guessable::{Guessable, KnownWords, judge};
pub use hasher::{Buffers, HashError, HasherError, PasswordHasher, Place};
pub use params::{HashParams, ParamsError};
pub use verifier::pepper_of;
