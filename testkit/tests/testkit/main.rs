//! The ground the other tests stand on, tested itself. `#[cfg(test)]` tells clippy that helpers, too, are tests.

#[cfg(test)]
mod faults;
#[cfg(test)]
mod meter;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod tables;
