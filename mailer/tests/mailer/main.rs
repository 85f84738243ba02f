//! The mailer on a real engine: what is put into the log comes to whom it concerns, once, whatever happens between.
//! `#[cfg(test)]` tells clippy that helpers, too, are tests.

#[cfg(test)]
mod function;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod handling;
#[cfg(test)]
mod letters;
#[cfg(test)]
mod over_http;
#[cfg(test)]
mod over_smtp;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod stormy;
