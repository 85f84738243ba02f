use chrono::{DateTime, Utc};
use projector::{Config, ConfigError};
use storage::keys::{KeyFileError, KeySettingError, KeysError, ServiceKeys};
use storage::tables::MissingTables;

fn with(keys: Option<&str>, prefix: Option<&str>) -> Result<Config, ConfigError> {
    Config::from_settings(move |key| match key {
        "ANNALS_KEYS_FILE" => keys.map(str::to_owned),
        "ANNALS_KEYS_PREFIX" => prefix.map(str::to_owned),
        table => Some(table.to_lowercase()),
    })
}

#[test]
fn what_is_missing_or_malformed_is_named() {
    let error = Config::from_settings(|_| None).unwrap_err();
    assert!(matches!(&error, ConfigError::Tables(MissingTables(missing)) if missing.len() == 2), "{error}");
    for unset in [None, Some("")] {
        assert!(matches!(with(unset, unset), Err(ConfigError::NoKeys(KeySettingError::Missing))));
    }
    with(Some("keys.json"), None).unwrap();
    with(None, Some("/annals/stack/keys/")).unwrap();
    let both = with(Some("keys.json"), Some("/annals/stack/keys/"));
    assert!(matches!(both, Err(ConfigError::NoKeys(KeySettingError::Both))));
    assert!(matches!(with(None, Some("keys")), Err(ConfigError::NoKeys(KeySettingError::Prefix))));
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_fatal_and_the_setting_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let started = || async {
        let config = with(path.to_str(), None).unwrap();
        config.read_model(|| DateTime::<Utc>::UNIX_EPOCH).await.map(|_| ())
    };
    let error = started().await.unwrap_err();
    assert!(matches!(error, ConfigError::Keys(_, KeysError::File(KeyFileError::Io(..)))));
    assert!(!path.exists(), "a function makes no keys of its own");
    ServiceKeys::open_or_create(&path).unwrap();
    started().await.unwrap();
    std::fs::write(&path, "{}").unwrap();
    let error = started().await.unwrap_err();
    assert!(matches!(error, ConfigError::Keys(_, KeysError::File(KeyFileError::Malformed(..)))));
    assert!(error.to_string().contains("ANNALS_KEYS_FILE"), "{error}");
}
