//! Small models of what is easily got wrong, explored exhaustively by [`explore()`].
//!
//! Each model is a state machine: actors that take steps in any order, requests that are lost or come late, processes
//! that die. Each has *guards*, the rules of the production code that look odd until one has seen what they prevent, and
//! *invariants*. With every guard on, no reachable state breaks an invariant; with any one of them off, some state does,
//! and the explorer prints the shortest way there:
//!
//! ```text
//! cargo test --workspace --test models -- --nocapture
//! ```
//!
//! | model | what it is of | production code |
//! |---|---|---|
//! | [`append`] | a commit is appended at most once, though answers are lost and requests come late | `storage/src/write/append.rs`, `execute.rs` |
//! | [`catch_up`] | projectors and a rebuild of another fold number write the same view | `projector/src/catch_up.rs`, `replay/standing.rs`, `storage/src/views.rs` |
//! | [`password`] | a password changes while others sign in, refresh, end sessions and re-wrap keys | rules of the design; sign-in and sign-out follow them in `command-api/src/routes/login.rs` and `storage/src/write/effects.rs` |
//!
//! A model is no proof of the code: it shows that the rules suffice and that each is needed, in the cases that it
//! covers. That the code keeps to the rules is for the tests beside it, under faults, races and crashes.
//!
//! Invariant: no dependency, no I/O, no clock and no randomness in this crate; what can happen, happens in some branch.

pub mod append;
pub mod catch_up;

pub mod explore;
pub mod password;

pub use explore::{Explored, Model, Step, Violation, explore};
