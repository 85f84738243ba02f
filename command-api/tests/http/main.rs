//! The API as its clients see it: over HTTP, on a real engine.
#![expect(unreachable_pub, clippy::unwrap_used, reason = "tests")]

mod access;
mod alike;
mod app;
mod bodies;
mod budget;
mod contract;
mod devices;
mod disabling;
mod discovery;
mod each_hash;
mod fields;
mod forgetting;
mod guessing;
mod hashing;
mod listing;
mod looking_back;
mod moving;
mod oauth;
mod outage;
mod passwords;
mod paths;
mod put_back;
mod reading;
mod refreshing;
mod registering;
mod renaming;
mod resetting;
mod rotating;
mod secrets;
mod sessions;
mod story;
mod unsaid;
mod unverified;
mod verifying;
mod writers;
