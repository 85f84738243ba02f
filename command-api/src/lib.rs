//! command-api

pub mod passwords;
pub mod tokens;
