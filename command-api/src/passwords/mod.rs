//! Passwords as Argon2id verifiers, hashed off the async threads in a pool of kept buffers.

mod hasher;
mod params;
mod pool;
#[cfg(test)]
mod tests;
mod verifier;

pub use hasher::{HashError, HasherError, PasswordHasher, Place};
pub use params::{HashParams, ParamsError};
