//! The ground the other tests stand on, tested itself.

mod meter;
mod tables;
