//! What the tests of every crate run on: a real DynamoDB engine in the test's own process, a meter that counts the
//! requests sent to it and the capacity units they cost, faults on the way to it (by a script, or at random from a
//! seed), Lambda's side of a function, a Parameter Store, and addresses where nobody listens.
//!
//! Invariant: no crate depends on this one outside its tests.
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test has nothing better to do than to stop when its ground is missing"
)]

mod detour;
mod engine;
mod faults;
mod forge;
mod in_process;
mod meter;
mod nobody;
mod parameters;
mod random;
mod runtime_api;
mod storm;

pub use detour::Detour;
pub use engine::Engine;
pub use faults::{Fault, Faults};
pub use forge::commit_after;
pub use in_process::{InProcess, Stream};
pub use meter::{Meter, Taken};
pub use nobody::Nobody;
pub use parameters::Parameters;
pub use random::Random;
pub use runtime_api::{Ended, Function, Outcome, program, settings};
pub use storm::{Mishap, Storm, Weather, with_luck};
