//! Access tokens: RFC 9068, signed with ES256 only, which is a stated deviation from its RS256.

mod access;
#[cfg(test)]
mod forgeries;
mod members;
#[cfg(test)]
mod mutations;
mod public;
mod verify;

pub use access::{AccessClaims, AccessTokens, LIFETIME_SECONDS, SigningError};
pub use public::PublicTokens;
pub use verify::{Introspected, TokenError, Verified};
