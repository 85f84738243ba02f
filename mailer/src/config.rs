use chrono::{DateTime, Utc};
use storage::keys::{KeySetting, KeySettingError, KeysError};
use storage::one_time::OneTimeKeys;
use storage::tables::MissingTables;
use storage::{EventLog, MailClaims, Unavailable};
use zeroize::Zeroizing;

use crate::letterhead::{Letterhead, Links, NoLinks, NoSender, Sender};
use crate::mailer::Mailer;
use crate::transport::Transport;
use crate::transport::ses::Ses;
use crate::transport::smtp::{NoSmtpServer, Smtp};

/// The base of links.
const LINKS: &str = "ANNALS_LINKS";
/// The sender of all mails.
const MAIL_FROM: &str = "ANNALS_MAIL_FROM";
/// The server that takes the mails, instead of SES: its address, or the name of a parameter that holds it.
const SMTP: &str = "ANNALS_SMTP";

/// The settings of the mailer, read once.
#[derive(Debug)]
pub struct Config {
    events: String,
    sessions: String,
    letterhead: Letterhead,
    relay: Relay,
    keys: KeySetting,
}

/// Who takes the mails.
#[derive(Debug)]
enum Relay {
    /// SES.
    Ses,
    /// This server.
    Smtp(Smtp),
    /// The server whose address this parameter of the Parameter Store holds: there is a password in it.
    Parameter(String),
}

/// Why the mailer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Names of tables are missing.
    #[error(transparent)]
    Tables(#[from] MissingTables),
    /// These are missing.
    #[error("not set: {0}")]
    NotSet(&'static str),
    /// Nothing can be linked to.
    #[error("{LINKS}: {0}")]
    Links(#[from] NoLinks),
    /// Nobody can send.
    #[error("{MAIL_FROM}: {0}")]
    Sender(#[from] NoSender),
    /// Nobody takes the mails. What is set is not shown: there may be a password in it.
    #[error("{SMTP}: {0}")]
    Smtp(#[from] NoSmtpServer),
    /// The parameter that holds the server's address cannot be read.
    #[error("{SMTP}: there is no parameter {0}, or it cannot be read")]
    Parameter(String, #[source] Unavailable),
    /// It is not said where the service keys are.
    #[error(transparent)]
    NoKeys(#[from] KeySettingError),
    /// The service keys cannot be used.
    #[error("{0}: {1}")]
    Keys(&'static str, #[source] KeysError),
}

impl Config {
    /// The settings that `setting` finds: `ANNALS_EVENTS_TABLE` and `ANNALS_SESSIONS_TABLE`; `ANNALS_LINKS`, the base of
    /// the links in mails; `ANNALS_MAIL_FROM`, their sender; `ANNALS_SMTP`, the address of a server that takes them, or
    /// the name of a parameter that holds it, without which SES does; and where the service keys are
    /// (`ANNALS_KEYS_FILE` or `ANNALS_KEYS_PREFIX`).
    pub fn from_settings(setting: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let set = |key: &'static str| setting(key).filter(|text| !text.is_empty());
        let mut missing = Vec::new();
        let mut table = |key| {
            set(key).unwrap_or_else(|| {
                missing.push(key);
                String::new()
            })
        };
        let (events, sessions) = (table("ANNALS_EVENTS_TABLE"), table("ANNALS_SESSIONS_TABLE"));
        if !missing.is_empty() {
            return Err(MissingTables(missing).into());
        }
        let needed = |key: &'static str| set(key).ok_or(ConfigError::NotSet(key));
        let links: Links = needed(LINKS)?.parse()?;
        let from: Sender = needed(MAIL_FROM)?.parse()?;
        let relay = match set(SMTP) {
            None => Relay::Ses,
            Some(name) if name.starts_with('/') => Relay::Parameter(name),
            Some(text) => Relay::Smtp(text.parse()?),
        };
        let keys = KeySetting::from_settings(&setting)?;
        Ok(Self { events, sessions, letterhead: Letterhead { from, links }, relay, keys })
    }

    /// The mailer on these tables, reached with the region and credentials of the environment. Of the service keys only
    /// those that open commits and make one-time tokens are kept, and read again by this clock.
    pub async fn mailer(
        self,
        now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
    ) -> Result<Mailer, ConfigError> {
        let sdk = storage::environment().await;
        let keys = self.keys.source(&sdk).open_for_mail(now).await;
        let keys = keys.map_err(|error| ConfigError::Keys(self.keys.name(), error))?;
        let transport = match self.relay {
            Relay::Ses => Transport::Ses(Ses::new(&sdk)),
            Relay::Smtp(smtp) => Transport::Smtp(smtp),
            Relay::Parameter(name) => {
                let text = storage::parameter(&sdk, &name).await.map(Zeroizing::new);
                Transport::Smtp(text.map_err(|error| ConfigError::Parameter(name, error))?.parse()?)
            }
        };
        let client = storage::client(&sdk);
        let log = EventLog::new(client.clone(), self.events, keys.wrapping);
        let claims = MailClaims::new(client, self.sessions);
        let tokens = OneTimeKeys::new(keys.deployment, keys.one_time);
        Ok(Mailer::new(log, claims, tokens, self.letterhead, transport))
    }
}
