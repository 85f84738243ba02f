//! The models, explored: nothing is wrong with every guard on, and something is with any of them off. `#[cfg(test)]`
//! tells clippy that helpers, too, are tests.

#[cfg(test)]
mod append;
#[cfg(test)]
mod catch_up;
#[cfg(test)]
mod exploring;
#[cfg(test)]
mod password;
