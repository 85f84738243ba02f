//! One-time tokens, which go out by mail and are shown once: to reset a password, to verify an address, to confirm
//! another one.
//!
//! Nothing about a token lies in a table. It is bound to what the user's log says at the time ([`Bound`]), and good as
//! long as that is still so: what a token is used for changes it, and so does whatever must void the token.

mod token;

pub use token::{Bound, OneTimeError, OneTimeKeys, OneTimePurpose, OneTimeToken};
