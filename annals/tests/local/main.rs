//! The local stack: its engine and its stream pump. `#[cfg(test)]` tells clippy that helpers, too, are tests.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod pump;
#[cfg(test)]
mod pump_restart;
#[cfg(test)]
mod setbacks;
#[cfg(test)]
mod shards;
#[cfg(test)]
mod source;
