use storage::keys::{KeySetting, KeySettingError};
use storage::tables::{MissingTables, Tables};

use crate::clients::{Clients, ClientsError};
use crate::http::{OriginError, OriginSecret};
use crate::passwords::{HashParams, ParamsError};

/// The settings of the function, all of them from its environment, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The tables: `ANNALS_EVENTS_TABLE`, `ANNALS_IDENTIFIERS_TABLE`, `ANNALS_VIEWS_TABLE`, `ANNALS_SESSIONS_TABLE`.
    pub tables: Tables,
    /// Where the service keys are: `ANNALS_KEYS_FILE` or `ANNALS_KEYS_PREFIX`.
    pub keys: KeySetting,
    /// The URL of the service: `ANNALS_ISSUER`.
    pub issuer: String,
    /// The cost of a password hash: `ANNALS_ARGON2`, as `m=19456,t=2,p=1`; the minimum unless it is set.
    pub argon2: HashParams,
    /// What the edge before the API proves itself with: `ANNALS_ORIGIN_SECRET`; there is no edge unless it is set.
    pub origin: Option<OriginSecret>,
    /// The OAuth clients with a secret: `ANNALS_CLIENTS`; none unless it is set.
    pub clients: ClientsFrom,
}

/// Where the OAuth clients come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientsFrom {
    /// From the setting itself, which is JSON.
    Setting(Clients),
    /// From the parameter of the Parameter Store whose name, which begins with a slash, is the setting.
    Parameter(String),
}

/// Why the function does not start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Names of tables are missing.
    #[error(transparent)]
    Tables(#[from] MissingTables),
    /// It is not said where the service keys are.
    #[error(transparent)]
    Keys(#[from] KeySettingError),
    /// A setting is missing or empty.
    #[error("not set: {0}")]
    Missing(&'static str),
    /// The issuer is no URL that tokens can name.
    #[error("ANNALS_ISSUER must be https://, a host, and nothing behind it")]
    Issuer,
    /// The cost of hashes cannot be read.
    #[error("ANNALS_ARGON2 is malformed")]
    Argon2(#[source] ParamsError),
    /// The list of clients is refused.
    #[error("ANNALS_CLIENTS is refused")]
    Clients(#[from] ClientsError),
    /// Hashes would be cheaper than is safe. A laptop may do that, a deployment may not.
    #[error("ANNALS_ARGON2 is below the minimum of {}", HashParams::MINIMUM)]
    BelowMinimum,
    /// The edge cannot prove itself with that. An empty one is none, and leaving it out says that there is no edge.
    #[error("ANNALS_ORIGIN_SECRET {0}")]
    Origin(#[source] OriginError),
}

impl Config {
    /// Reads the settings.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let tables = Tables::from_settings(&lookup)?;
        let keys = KeySetting::from_settings(&lookup)?;
        let issuer = issuer(&lookup)?;
        let argon2 = match lookup("ANNALS_ARGON2").filter(|value| !value.is_empty()) {
            Some(text) => text.parse().map_err(ConfigError::Argon2)?,
            None => HashParams::default(),
        };
        if argon2.is_below_minimum() {
            return Err(ConfigError::BelowMinimum);
        }
        let origin = lookup("ANNALS_ORIGIN_SECRET").map(|text| OriginSecret::parse(&text));
        let origin = origin.transpose().map_err(ConfigError::Origin)?;
        let clients = match lookup("ANNALS_CLIENTS").filter(|value| !value.is_empty()) {
            None => ClientsFrom::Setting(Clients::default()),
            Some(name) if name.starts_with('/') => ClientsFrom::Parameter(name),
            Some(text) => ClientsFrom::Setting(Clients::parse(&text)?),
        };
        Ok(Self { tables, keys, issuer, argon2, origin, clients })
    }
}

/// The settings of the authorizer, read once: fewer than those of the function behind it, and not one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizerConfig {
    /// Where the keys are, of which only the public halves are read: `ANNALS_KEYS_FILE` or `ANNALS_KEYS_PREFIX`.
    pub keys: KeySetting,
    /// The URL of the service: `ANNALS_ISSUER`.
    pub issuer: String,
}

impl AuthorizerConfig {
    /// Reads the settings.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Ok(Self { keys: KeySetting::from_settings(&lookup)?, issuer: issuer(&lookup)? })
    }
}

fn issuer(lookup: impl Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
    const NAME: &str = "ANNALS_ISSUER";
    let issuer = lookup(NAME).filter(|value| !value.is_empty()).ok_or(ConfigError::Missing(NAME))?;
    match issuer.strip_prefix("https://") {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', ' ']) => Ok(issuer),
        Some(_) | None => Err(ConfigError::Issuer),
    }
}

#[cfg(test)]
mod tests {
    use storage::keys::{KeySetting, KeySettingError};

    use super::{ClientsFrom, Config, ConfigError};
    use crate::clients::{Clients, ClientsError};

    fn read(changes: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut settings = vec![
            ("ANNALS_EVENTS_TABLE", "e"),
            ("ANNALS_IDENTIFIERS_TABLE", "i"),
            ("ANNALS_VIEWS_TABLE", "v"),
            ("ANNALS_SESSIONS_TABLE", "s"),
            ("ANNALS_KEYS_FILE", "/keys.json"),
            ("ANNALS_ISSUER", "https://accounts.example.com"),
        ];
        settings.extend_from_slice(changes);
        Config::read(|name| {
            settings.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        assert!(read(&[]).is_ok());
        assert!(matches!(read(&[("ANNALS_VIEWS_TABLE", "")]), Err(ConfigError::Tables(_))));
        let keys = |changes: &[_]| read(changes).map(|config| config.keys);
        assert_eq!(keys(&[("ANNALS_KEYS_FILE", "")]), Err(ConfigError::Keys(KeySettingError::Missing)));
        let prefix = ("ANNALS_KEYS_PREFIX", "/annals/stack/keys");
        assert_eq!(keys(&[prefix]), Err(ConfigError::Keys(KeySettingError::Both)));
        let below = KeySetting::Prefix("/annals/stack/keys/".to_owned());
        assert_eq!(keys(&[("ANNALS_KEYS_FILE", ""), prefix]), Ok(below));
        for wrong in ["annals/keys", "/", "//", "/annals//keys/", "/annals/keys with/blanks"] {
            let wrong = keys(&[("ANNALS_KEYS_FILE", ""), ("ANNALS_KEYS_PREFIX", wrong)]);
            assert_eq!(wrong, Err(ConfigError::Keys(KeySettingError::Prefix)));
        }
        for issuer in
            ["http://accounts.example.com", "https://", "https://a.example/", "accounts.example.com"]
        {
            assert_eq!(read(&[("ANNALS_ISSUER", issuer)]), Err(ConfigError::Issuer), "{issuer}");
        }
        assert!(matches!(read(&[("ANNALS_ARGON2", "m=1")]), Err(ConfigError::Argon2(_))));
    }

    #[test]
    fn clients_stand_in_the_setting_or_in_the_parameter_it_names() {
        let clients = |value| read(&[("ANNALS_CLIENTS", value)]).map(|config| config.clients);
        let none = || Ok(ClientsFrom::Setting(Clients::default()));
        assert_eq!((clients(""), clients("[]")), (none(), none()));
        let named = ClientsFrom::Parameter("/annals/live/clients".to_owned());
        assert_eq!(clients("/annals/live/clients"), Ok(named));
        let malformed = ClientsError::Malformed { line: 1, column: 1 };
        assert_eq!(clients("annals/live/clients"), Err(ConfigError::Clients(malformed)));
    }

    #[test]
    fn a_deployment_refuses_hashes_below_the_minimum() {
        assert_eq!(read(&[("ANNALS_ARGON2", "m=19455,t=2,p=1")]), Err(ConfigError::BelowMinimum));
        assert!(read(&[("ANNALS_ARGON2", "m=46080,t=2,p=1")]).is_ok());
    }
}
