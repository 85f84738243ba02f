//! The rules, seen from outside: what commands lead to, what events add up to, and the forms in which both are
//! stored. `#[cfg(test)]` tells clippy that helpers, too, are tests.

#[cfg(test)]
mod addresses;
#[cfg(test)]
mod decisions;
#[cfg(test)]
mod decoding;
#[cfg(test)]
mod evolution;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod values;
