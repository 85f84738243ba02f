//! The function as API Gateway and Lambda see it: the real program, on events of an HTTP API, over a real engine.
//!
//! `ANNALS_COMMAND_API_BIN` names another program to test than the one built with the tests, such as a release build.
#![expect(unreachable_pub, clippy::unwrap_used, reason = "tests")]

mod authorizer;
mod edge;
mod events;
mod gateway;
mod log;
mod oauth_clients;
mod requests;
mod start;
mod story;
mod verification;
