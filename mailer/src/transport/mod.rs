//! Ways a mail leaves: Amazon SES, a server that speaks SMTP, or a folder.

pub(crate) mod outbox;
pub(crate) mod ses;
pub(crate) mod smtp;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::letter::Letter;
use outbox::Outbox;
use ses::Ses;
use smtp::Smtp;

/// How mails are sent.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Through Amazon SES.
    Ses(Ses),
    /// Through a server that speaks SMTP.
    Smtp(Smtp),
    /// Into a folder, for nobody but whoever looks there.
    Outbox(Outbox),
}

/// Why a mail was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The next server will not have this mail, and would say so again.
    #[error("refused: {0}")]
    Refused(Reply),
    /// It did not work out this time. Perhaps it did, and the answer was lost.
    #[error("not delivered: {0}")]
    Failed(Reply),
}

/// What went wrong, without anything a server said in words: those may hold the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What was being done.
    pub step: &'static str,
    /// The code of the answer, if one came.
    pub code: Option<String>,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{}: {code}", self.step),
            None => write!(f, "{}: no answer", self.step),
        }
    }
}

impl Transport {
    /// Gives a mail away.
    pub(crate) async fn deliver(&self, letter: &Letter, now: DateTime<Utc>) -> Result<(), DeliveryError> {
        match self {
            Self::Ses(ses) => ses.deliver(letter).await,
            Self::Smtp(smtp) => smtp.deliver(letter).await,
            Self::Outbox(outbox) => outbox.deliver(letter, now),
        }
    }

    /// Within this, a mail has been given away, or else it is broken off.
    pub(crate) const fn patience(&self) -> Duration {
        match self {
            Self::Ses(_) | Self::Smtp(_) => Duration::from_secs(10),
            Self::Outbox(_) => Duration::from_secs(1),
        }
    }
}
