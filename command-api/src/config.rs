use std::path::PathBuf;

use storage::tables::{MissingTables, Tables};

use crate::passwords::{HashParams, ParamsError};
use crate::service::{Verification, VerificationError};

/// The settings of the function, all of them from its environment, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The tables: `ANNALS_EVENTS_TABLE`, `ANNALS_IDENTIFIERS_TABLE`, `ANNALS_VIEWS_TABLE`, `ANNALS_SESSIONS_TABLE`.
    pub tables: Tables,
    /// The file with the service keys: `ANNALS_KEYS_FILE`.
    pub keys: PathBuf,
    /// The URL of the service: `ANNALS_ISSUER`.
    pub issuer: String,
    /// The cost of a password hash: `ANNALS_ARGON2`, as `m=19456,t=2,p=1`; the minimum unless it is set.
    pub argon2: HashParams,
    /// Whether addresses have to be verified: `ANNALS_VERIFICATION`, `optional` or `required`; `optional` unless it is set.
    pub verification: Verification,
}

/// Why the function does not start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Names of tables are missing.
    #[error(transparent)]
    Tables(#[from] MissingTables),
    /// A setting is missing or empty.
    #[error("not set: {0}")]
    Missing(&'static str),
    /// The issuer is no URL that tokens can name.
    #[error("ANNALS_ISSUER must be https://, a host, and nothing behind it")]
    Issuer,
    /// The cost of hashes cannot be read.
    #[error("ANNALS_ARGON2 is malformed")]
    Argon2(#[source] ParamsError),
    /// Hashes would be cheaper than is safe. A laptop may do that, a deployment may not.
    #[error("ANNALS_ARGON2 is below the minimum of {}", HashParams::MINIMUM)]
    BelowMinimum,
    /// It is neither said that addresses have to be verified nor that they need not be.
    #[error("ANNALS_VERIFICATION {0}")]
    Verification(VerificationError),
}

impl Config {
    /// Reads the settings.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let tables = Tables::from_settings(&lookup)?;
        let setting = |name: &'static str| {
            lookup(name).filter(|value| !value.is_empty()).ok_or(ConfigError::Missing(name))
        };
        let keys = setting("ANNALS_KEYS_FILE")?.into();
        let issuer = setting("ANNALS_ISSUER")?;
        let host = issuer.strip_prefix("https://").ok_or(ConfigError::Issuer)?;
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
            return Err(ConfigError::Issuer);
        }
        let argon2 = match lookup("ANNALS_ARGON2").filter(|value| !value.is_empty()) {
            Some(text) => text.parse().map_err(ConfigError::Argon2)?,
            None => HashParams::default(),
        };
        if argon2.is_below_minimum() {
            return Err(ConfigError::BelowMinimum);
        }
        let verification = match lookup("ANNALS_VERIFICATION").filter(|value| !value.is_empty()) {
            Some(text) => text.parse().map_err(ConfigError::Verification)?,
            None => Verification::default(),
        };
        Ok(Self { tables, keys, issuer, argon2, verification })
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, ConfigError};
    use crate::service::{Verification, VerificationError};

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
        assert_eq!(read(&[("ANNALS_KEYS_FILE", "")]), Err(ConfigError::Missing("ANNALS_KEYS_FILE")));
        for issuer in
            ["http://accounts.example.com", "https://", "https://a.example/", "accounts.example.com"]
        {
            assert_eq!(read(&[("ANNALS_ISSUER", issuer)]), Err(ConfigError::Issuer), "{issuer}");
        }
        assert!(matches!(read(&[("ANNALS_ARGON2", "m=1")]), Err(ConfigError::Argon2(_))));
    }

    #[test]
    fn addresses_have_to_be_verified_where_it_is_said() {
        let said = |text| read(&[("ANNALS_VERIFICATION", text)]).map(|config| config.verification);
        assert_eq!((said(""), said("optional")), (Ok(Verification::Optional), Ok(Verification::Optional)));
        assert_eq!(said("required"), Ok(Verification::Required));
        for neither in ["Required", "yes", "off"] {
            assert_eq!(said(neither), Err(ConfigError::Verification(VerificationError)), "{neither}");
        }
    }

    #[test]
    fn a_deployment_refuses_hashes_below_the_minimum() {
        assert_eq!(read(&[("ANNALS_ARGON2", "m=19455,t=2,p=1")]), Err(ConfigError::BelowMinimum));
        assert!(read(&[("ANNALS_ARGON2", "m=46080,t=2,p=1")]).is_ok());
    }
}
