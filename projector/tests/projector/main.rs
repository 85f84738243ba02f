//! The projector on a real engine: what is put into the log comes out in the read model, whatever happens between.
//! `#[cfg(test)]` tells clippy that helpers, too, are tests.

#[cfg(test)]
mod catching_up;
#[cfg(test)]
mod cost;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod garbage;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod handling;
#[cfg(test)]
mod living;
#[cfg(test)]
mod poison;
#[cfg(test)]
mod rebuilding;
#[cfg(test)]
mod repairing;
#[cfg(test)]
mod restoring;
#[cfg(test)]
mod resuming;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod tampering;
#[cfg(test)]
mod verifying;
