//! Tells users by mail what their events call for: the events of the log are its only input.
//!
//! [`handle`] takes a batch of records of the log's stream. A record names a commit, which is read; [`errand`] says
//! which events call for which mails, [`letter`] writes them, and a [`Transport`] takes them away. Between two writes,
//! a claim before and a note after, each mail is sent once ([`mailer`]).
//!
//! Invariants: nothing is sent but for a record that says that a commit was appended, so that no replay, repair or
//! restore sends anything; nothing here writes the log, a view or an identifier; no address, name or token is logged;
//! links point to where the configuration says, and their tokens stand in the fragment.

mod client;
mod config;
mod errand;
mod handler;
mod letter;
mod letterhead;
mod mailer;
mod transport;

pub use config::{Config, ConfigError};
pub use handler::handle;
pub use letterhead::{Letterhead, Links, NoLinks, NoSender, Sender};
pub use mailer::Mailer;
pub use transport::outbox::{Kept, Outbox};
pub use transport::ses::Ses;
pub use transport::smtp::{NoSmtpServer, Smtp};
pub use transport::{DeliveryError, Reply, Transport};
