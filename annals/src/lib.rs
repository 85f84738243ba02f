//! The operator's program: everything in one process, and the tools beside it.

pub mod local;
