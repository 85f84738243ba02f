use projector::{Config, ConfigError};
use storage::keys::{KeyFileError, ServiceKeys};
use storage::tables::MissingTables;

#[test]
fn what_is_missing_or_malformed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let with = |keys: Option<&str>| {
        let keys = keys.map(str::to_owned);
        Config::from_settings(move |key| match key {
            "ANNALS_KEYS_FILE" => keys.clone(),
            table => Some(table.to_lowercase()),
        })
    };
    let path_text = path.to_str().unwrap();

    let error = Config::from_settings(|_| None).unwrap_err();
    assert!(matches!(&error, ConfigError::Tables(MissingTables(missing)) if missing.len() == 4), "{error}");
    for unset in [None, Some("")] {
        assert!(matches!(with(unset), Err(ConfigError::NoKeys)));
    }
    assert!(matches!(with(Some(path_text)), Err(ConfigError::Keys(KeyFileError::Io(..)))));
    assert!(!path.exists(), "a function makes no keys of its own");
    ServiceKeys::open_or_create(&path).unwrap();
    with(Some(path_text)).unwrap();
    std::fs::write(&path, "{}").unwrap();
    let error = with(Some(path_text)).unwrap_err();
    assert!(matches!(error, ConfigError::Keys(KeyFileError::Malformed(..))));
    assert!(error.to_string().contains("ANNALS_KEYS_FILE"), "{error}");
}
