//! How the functions on Lambda start, and what they say of themselves: log lines on standard error, metrics on standard
//! output.
//!
//! Invariants: nothing here knows an event of Lambda, DynamoDB or HTTP; no metric carries a user, an address or anything
//! else that a client sent.

mod function;
mod metrics;
mod settings;

pub use function::function;
pub use metrics::{Measure, Metrics, measure};
pub use settings::{Settings, UnknownSettings};
