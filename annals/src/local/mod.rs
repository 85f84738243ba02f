//! What stands in for AWS on one machine: a DynamoDB engine with its data in a folder, and a pump that hands the
//! stream to the projector as Lambda would.

pub mod clients;
pub mod engine;
pub mod pump;
