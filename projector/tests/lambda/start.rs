use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use crate::stream::Ground;

/// Starts the function, which must refuse; why.
async fn refusal(ground: &Ground, settings: &BTreeMap<&'static str, String>) -> String {
    ground.start(settings).await.unwrap_err().reason()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_is_missing_is_named_and_fatal() {
    let ground = Ground::new().await;
    let settings = ground.settings();
    for name in settings.keys().filter(|name| name.starts_with("ANNALS_")) {
        let mut without = settings.clone();
        let either = if *name == "ANNALS_KEYS_FILE" { " or ANNALS_KEYS_PREFIX" } else { "" };
        without.remove(name);
        assert_eq!(refusal(&ground, &without).await, format!("not set: {name}{either}"));
        without.insert(name, String::new());
        assert_eq!(refusal(&ground, &without).await, format!("not set: {name}{either}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_is_none_is_named_and_fatal() {
    let ground = Ground::new().await;
    let mut settings = ground.settings();
    settings.insert("ANNALS_ARGON", "m=19456,t=3,p=1".to_owned());
    assert_eq!(refusal(&ground, &settings).await, "not a setting of this function: ANNALS_ARGON");
}

#[tokio::test(flavor = "multi_thread")]
async fn service_keys_that_cannot_be_used_are_named_and_fatal() {
    let ground = Ground::new().await;
    let (settings, path) = (ground.settings(), ground.folder.path().join("keys.json"));
    let at = path.display();

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let why = format!("the service keys at {at} must be readable by their owner only (mode 0600)");
    assert_eq!(refusal(&ground, &settings).await, format!("ANNALS_KEYS_FILE: {why}"));

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "{}").unwrap();
    let why = format!("the service keys at {at} are malformed");
    assert_eq!(refusal(&ground, &settings).await, format!("ANNALS_KEYS_FILE: {why}"));

    std::fs::remove_file(&path).unwrap();
    let why = format!("cannot use the service keys at {at}");
    assert_eq!(refusal(&ground, &settings).await, format!("ANNALS_KEYS_FILE: {why}"));
    assert!(!path.exists(), "a function makes no keys of its own");
}
