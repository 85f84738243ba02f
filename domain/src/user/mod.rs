//! The user: the one aggregate of Annals. [`UserEvent`] is what happened, [`Command`] what is asked, [`decide`] what
//! comes of it, and [`User`] what all events so far add up to.

mod addresses;
mod commands;
mod decide;
mod events;
mod evolve;
mod state;
mod upcast;

pub use addresses::UNVERIFIED_KEPT_FOR;
pub use commands::{Command, Rejection};
pub use decide::{MAX_SESSIONS, MOST_FAILURES, decide};
pub use events::{UserEvent, VerifiedPassword};
pub use state::{Account, EmailChange, FOLD, LiveSession, User};
