//! The projector on a real engine: what is put into the log comes out in the read model, whatever happens between.

mod catching_up;
mod cost;
mod faults;
mod ground;
mod handling;
mod rebuilding;
mod repairing;
mod settings;
mod verifying;
