//! The local stack: its engine and its stream pump. `#[cfg(test)]` tells clippy that helpers, too, are tests.

#[cfg(test)]
mod engine;
#[cfg(test)]
mod pump;
#[cfg(test)]
mod pump_restart;
#[cfg(test)]
mod source;
