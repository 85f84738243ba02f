//! The write path: load, decide, append; on a conflict, read the tail and decide again.

mod append;
mod effects;
mod execute;
mod pretend;

pub use effects::Enclosed;
pub use execute::{Appended, ExecuteError, Intent};
pub use pretend::Pretended;
