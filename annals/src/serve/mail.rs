use std::env::VarError;
use std::net::SocketAddr;

use axum::Router;
use mailer::{Letterhead, Links, Mailer, NoSmtpServer, Outbox, Transport};

use super::{ServeError, outbox};
use crate::cli::MailArgs;
use crate::place::Place;

/// The server that mails are sent with, if no option names one.
const SMTP: &str = "ANNALS_SMTP";
/// The folder for mails, in the data folder.
const OUTBOX: &str = "outbox";

/// What becomes of mails, and where they can be looked at.
pub(super) struct Mail {
    pub mailer: Mailer,
    /// The pages of the outbox, if there is one.
    pub routes: Router,
    /// Says where the mails go.
    pub place: String,
}

impl Mail {
    /// Of a server at this address.
    pub(super) fn of(args: &MailArgs, place: &Place, address: SocketAddr) -> Result<Self, ServeError> {
        let smtp = match (&args.smtp, &args.outbox) {
            (Some(url), _) => Some(url.parse().map_err(|error| ServeError::Smtp("--smtp", error))?),
            (None, Some(_)) => None,
            (None, None) => match std::env::var(SMTP) {
                Ok(url) if !url.is_empty() => {
                    Some(url.parse().map_err(|error| ServeError::Smtp(SMTP, error))?)
                }
                Ok(_) | Err(VarError::NotPresent) => None,
                Err(VarError::NotUnicode(_)) => return Err(ServeError::Smtp(SMTP, NoSmtpServer)),
            },
        };
        let links: Links = match &args.links {
            Some(links) => links.clone(),
            None => outbox::pages(address)
                .parse()
                .map_err(|error| ServeError::Broken(std::io::Error::other(error)))?,
        };
        let letterhead = Letterhead { from: args.mail_from.clone(), links };
        if let Some(smtp) = smtp {
            let mailer = place.mailer(letterhead, Transport::Smtp(smtp));
            return Ok(Self { mailer, routes: Router::new(), place: "Mails are sent by SMTP.".to_owned() });
        }
        let folder = args.outbox.clone().unwrap_or_else(|| place.folder.join(OUTBOX));
        let outbox = Outbox::open(&folder).map_err(|error| ServeError::Outbox(folder, error))?;
        Ok(Self {
            mailer: place.mailer(letterhead, Transport::Outbox(outbox.clone())),
            routes: outbox::routes(outbox, address),
            place: format!("Mails are not sent: read them at http://{address}/outbox"),
        })
    }
}
