use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use mailer::{Config, ConfigError};
use storage::keys::{KeyFileError, KeySettingError, KeysError, ServiceKeys};
use storage::tables::MissingTables;

/// The settings of a mailer, with these instead of the usual ones.
fn with(others: &[(&'static str, &str)]) -> Result<Config, ConfigError> {
    let mut settings = BTreeMap::from([
        ("ANNALS_EVENTS_TABLE", "events"),
        ("ANNALS_SESSIONS_TABLE", "sessions"),
        ("ANNALS_LINKS", "https://app.example.com"),
        ("ANNALS_MAIL_FROM", "no-reply@example.com"),
        ("ANNALS_KEYS_FILE", "keys.json"),
    ]);
    settings.extend(others.iter().copied());
    Config::from_settings(move |key| settings.get(key).map(|text| (*text).to_owned()))
}

#[test]
fn what_is_missing_or_malformed_is_named() {
    with(&[]).unwrap();
    with(&[("ANNALS_SMTP", "smtps://user:secret@mail.example.com")]).unwrap();
    with(&[("ANNALS_SMTP", "/annals/stack/smtp")]).unwrap();
    let tables = with(&[("ANNALS_EVENTS_TABLE", ""), ("ANNALS_SESSIONS_TABLE", "")]).unwrap_err();
    assert!(matches!(&tables, ConfigError::Tables(MissingTables(missing)) if missing.len() == 2), "{tables}");
    for name in ["ANNALS_LINKS", "ANNALS_MAIL_FROM"] {
        assert_eq!(with(&[(name, "")]).unwrap_err().to_string(), format!("not set: {name}"));
    }
    for (name, wrong) in [
        ("ANNALS_LINKS", "http://app.example.com"),
        ("ANNALS_MAIL_FROM", "nobody"),
        ("ANNALS_SMTP", "nowhere"),
    ] {
        let error = with(&[(name, wrong)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name}: must be ")), "{error}");
    }
    let keys = with(&[("ANNALS_KEYS_FILE", "")]).unwrap_err();
    assert!(matches!(keys, ConfigError::NoKeys(KeySettingError::Missing)), "{keys}");
}

#[test]
fn the_password_of_the_server_is_shown_nowhere() {
    let secret = "smtps://user:s3cret@mail.example.com/wrong";
    let error = with(&[("ANNALS_SMTP", secret)]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"));
    let config = with(&[("ANNALS_SMTP", "smtps://user:s3cret@mail.example.com")]).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_fatal_and_the_setting_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let started = || async {
        let config = with(&[("ANNALS_KEYS_FILE", path.to_str().unwrap())]).unwrap();
        config.mailer(|| DateTime::<Utc>::UNIX_EPOCH).await.map(|_| ())
    };
    let error = started().await.unwrap_err();
    assert!(matches!(error, ConfigError::Keys(_, KeysError::File(KeyFileError::Io(..)))), "{error}");
    assert!(error.to_string().starts_with("ANNALS_KEYS_FILE: "), "{error}");
    ServiceKeys::open_or_create(&path).unwrap();
    started().await.unwrap();
}
