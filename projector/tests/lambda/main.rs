//! The function as the stream and Lambda see it: the real program, on events of a stream, over a real engine.
//!
//! `ANNALS_PROJECTOR_BIN` names another program to test than the one built with the tests, such as a release build; `ANNALS_REPLAYER_BIN` another replayer.
#![expect(unreachable_pub, clippy::unwrap_used, reason = "tests")]

mod batches;
mod poison;
mod records;
mod replaying;
mod start;
mod stream;
