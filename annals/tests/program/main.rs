//! The program as people meet it: the real binary, in processes of its own, over real HTTP. `#[cfg(test)]` tells
//! clippy that helpers, too, are tests.

#[cfg(test)]
mod account;
#[cfg(test)]
mod client;
#[cfg(test)]
mod elsewhere;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod looking_after;
#[cfg(test)]
mod mails;
#[cfg(test)]
mod oauth_clients;
#[cfg(test)]
mod poison;
#[cfg(test)]
mod population;
#[cfg(test)]
mod process;
#[cfg(test)]
mod read_back;
#[cfg(test)]
mod rebuilding;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod resting;
#[cfg(test)]
mod restoring;
#[cfg(test)]
mod smoke;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod story;
#[cfg(test)]
mod tampering;
#[cfg(test)]
mod time_travel;
#[cfg(test)]
mod traffic;
