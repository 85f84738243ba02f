//! The only crate that knows DynamoDB.

pub mod keys;
pub mod tables;
