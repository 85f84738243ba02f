//! The API as its clients see it: over HTTP, on a real engine.
#![expect(unreachable_pub, clippy::unwrap_used, reason = "tests")]

mod app;
mod story;
