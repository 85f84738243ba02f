use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use percent_encoding::percent_decode_str;
use url::Url;

use super::{DeliveryError, Reply};
use crate::letter::Letter;
use crate::letterhead::is_loopback;

/// How long to wait for a connection.
const CONNECTS_WITHIN: Duration = Duration::from_secs(4);
/// How long to wait for an answer to the farewell. Waiting longer, a mail that was taken would seem not to have been.
const FAREWELL: Duration = Duration::from_secs(1);

/// A server that takes mail by SMTP; a connection for each mail.
#[derive(Clone)]
pub struct Smtp {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
}

/// How the way to the server is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    /// Not at all: the server is on this machine.
    None,
    /// With STARTTLS, without which nothing is sent.
    StartTls,
    /// With TLS from the first octet on.
    Tls,
}

/// This names no server that mail could be given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be smtps://USER:PASSWORD@HOST[:465], or smtp://USER:PASSWORD@HOST[:587] for STARTTLS, which only a server \
     on this machine is spared unless ?tls=required is added"
)]
pub struct NoSmtpServer;

/// Without the password and the name of its owner.
impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

impl FromStr for Smtp {
    type Err = NoSmtpServer;

    /// Reads an address. The error quotes nothing of it: there may be a password in it.
    fn from_str(text: &str) -> Result<Self, NoSmtpServer> {
        let url = Url::parse(text).map_err(|_| NoSmtpServer)?;
        // The scheme is not one that browsers know, so hosts are taken as they stand; as another one they are parsed.
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(NoSmtpServer)?;
        let known = Url::parse(&format!("http://{host}/")).map_err(|_| NoSmtpServer)?;
        let (security, port) = match (url.scheme(), url.query()) {
            ("smtps", None) => (Security::Tls, 465),
            ("smtp", None) if is_loopback(known.host().as_ref()) => (Security::None, 25),
            ("smtp", None | Some("tls=required")) => (Security::StartTls, 587),
            _ => return Err(NoSmtpServer),
        };
        if url.fragment().is_some() || !matches!(url.path(), "" | "/") {
            return Err(NoSmtpServer);
        }
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().map_err(|_| NoSmtpServer)?;
            Ok(text.into_owned())
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (name, Some(password)) => Some(Credentials::new(decoded(name)?, decoded(password)?)),
            (_, None) => return Err(NoSmtpServer),
        };
        let host = known.host_str().ok_or(NoSmtpServer)?.to_owned();
        Ok(Self { host, port: url.port().unwrap_or(port), security, credentials })
    }
}

impl Smtp {
    /// Hands a mail over. What the server says of the recipient or of the mail itself is about this mail; whatever goes
    /// wrong before, even for ever, is about the server or about us, and another mail would fare no better.
    pub(super) async fn deliver(&self, letter: &Letter) -> Result<(), DeliveryError> {
        type Spoken = lettre::transport::smtp::Error;
        let reply = |step, error: &Spoken| Reply { step, code: error.status().map(|code| code.to_string()) };
        let failed = |step| move |error: Spoken| DeliveryError::Failed(reply(step, &error));
        let judged = |step| {
            move |error: Spoken| {
                let reply = reply(step, &error);
                if error.is_permanent() {
                    DeliveryError::Refused(reply)
                } else {
                    DeliveryError::Failed(reply)
                }
            }
        };
        let mut server = self.connected().await?;
        let envelope = letter.message.envelope();
        server.command(Mail::new(envelope.from().cloned(), Vec::new())).await.map_err(failed("MAIL"))?;
        for recipient in envelope.to() {
            server.command(Rcpt::new(recipient.clone(), Vec::new())).await.map_err(judged("RCPT"))?;
        }
        server.command(Data).await.map_err(failed("DATA"))?;
        server.message(&letter.message.formatted()).await.map_err(judged("the mail"))?;
        // It has the mail, whatever it says to the farewell, and whenever.
        let _ = tokio::time::timeout(FAREWELL, server.quit()).await;
        Ok(())
    }

    async fn connected(&self) -> Result<AsyncSmtpConnection, DeliveryError> {
        let failed = |step| {
            move |error: lettre::transport::smtp::Error| {
                DeliveryError::Failed(Reply { step, code: error.status().map(|code| code.to_string()) })
            }
        };
        let tls = || TlsParameters::new(self.host.clone()).map_err(failed("TLS"));
        let at_once = if self.security == Security::Tls { Some(tls()?) } else { None };
        let name = ClientId::default();
        let place = (self.host.trim_matches(['[', ']']), self.port);
        let mut server =
            AsyncSmtpConnection::connect_tokio1(place, Some(CONNECTS_WITHIN), &name, at_once, None)
                .await
                .map_err(failed("connecting"))?;
        if self.security == Security::StartTls {
            server.starttls(tls()?, &name).await.map_err(failed("STARTTLS"))?;
        }
        if let Some(credentials) = &self.credentials {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            server.auth(&mechanisms, credentials).await.map_err(failed("AUTH"))?;
        }
        Ok(server)
    }
}

#[cfg(test)]
mod tests {
    use super::{NoSmtpServer, Security, Smtp};

    #[test]
    fn only_a_server_on_this_machine_is_spoken_to_in_clear() {
        for (text, host, port, security) in [
            ("smtp://127.0.0.1", "127.0.0.1", 25, Security::None),
            ("smtp://localhost:1025/", "localhost", 1025, Security::None),
            ("smtp://[::1]:1025", "[::1]", 1025, Security::None),
            ("smtp://127.0.0.1:1025?tls=required", "127.0.0.1", 1025, Security::StartTls),
            ("smtp://mail.example.com", "mail.example.com", 587, Security::StartTls),
            ("smtp://192.0.2.7:2525", "192.0.2.7", 2525, Security::StartTls),
            ("smtps://mail.example.com", "mail.example.com", 465, Security::Tls),
            ("smtps://localhost:4650", "localhost", 4650, Security::Tls),
        ] {
            let smtp: Smtp = text.parse().unwrap();
            assert_eq!((smtp.host.as_str(), smtp.port, smtp.security), (host, port, security), "{text}");
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for wrong in [
            "",
            "mail.example.com",
            "http://mail.example.com",
            "smtp://",
            "smtp://mail.example.com?tls=none",
            "smtp://mail.example.com?tls=opportunistic",
            "smtp://mail.example.com/path",
            "smtp://mail.example.com#a",
            "smtp://name@mail.example.com",
        ] {
            assert_eq!(wrong.parse::<Smtp>().unwrap_err(), NoSmtpServer, "{wrong}");
        }
    }

    #[test]
    fn neither_an_error_nor_a_log_shows_the_password() {
        let smtp: Smtp = "smtps://ada:s3cr%25t@mail.example.com".parse().unwrap();
        let shown = format!("{smtp:?}");
        assert!(!shown.contains("s3cr") && !shown.contains("ada"), "{shown}");
        let error = "smtp://ada:s3cr%25t@mail.example.com?x".parse::<Smtp>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cr"));
    }
}
