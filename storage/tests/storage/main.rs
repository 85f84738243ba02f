//! The tables as they really behave, on the embedded engine: what is stored, what can be done to it, and what comes
//! of it. `#[cfg(test)]` tells clippy that helpers, too, are tests.

#[cfg(test)]
mod addresses;
#[cfg(test)]
mod append;
#[cfg(test)]
mod budget;
#[cfg(test)]
mod devices;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod garbage;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod guesses;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod live_keys;
#[cfg(test)]
mod load;
#[cfg(test)]
mod log;
#[cfg(test)]
mod log_size;
#[cfg(test)]
mod looking_back;
#[cfg(test)]
mod mail_claims;
#[cfg(test)]
mod mails;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod one_time;
#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod parameters;
#[cfg(test)]
mod passwords;
#[cfg(test)]
mod past;
#[cfg(test)]
mod plaintext;
#[cfg(test)]
mod rehashing;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod rewrapping;
#[cfg(test)]
mod session_rows;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod stale;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod unverified;
#[cfg(test)]
mod usage;
#[cfg(test)]
mod vault;
#[cfg(test)]
mod views;
