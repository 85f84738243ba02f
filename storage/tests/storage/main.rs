//! The tables as they really behave, on the embedded engine: what is stored, what can be done to it, and what comes
//! of it.

mod append;
mod budget;
mod fixture;
mod forge;
mod golden;
mod guesses;
mod histories;
mod load;
mod log;
mod log_size;
mod outcomes;
mod plaintext;
mod session_rows;
mod sessions;
mod stale;
mod tokens;
mod vault;
mod views;
