use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use crate::gateway::Ground;

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
async fn a_setting_that_is_malformed_is_named_and_fatal() {
    let ground = Ground::new().await;
    for (name, value) in [
        ("ANNALS_ISSUER", "http://accounts.example.com"),
        ("ANNALS_ISSUER", "https://accounts.example.com/"),
        ("ANNALS_ARGON2", "m=19456,t=1,p=1"),
        ("ANNALS_ARGON2", "m=8192,t=2,p=1"),
        ("ANNALS_ARGON2", "strong"),
    ] {
        let mut settings = ground.settings();
        settings.insert(name, value.to_owned());
        let error = refusal(&ground, &settings).await;
        assert!(error.contains(name), "{name}={value}: {error}");
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
    let keys = std::fs::read_to_string(&path).unwrap();
    let at = path.display();

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = refusal(&ground, &settings).await;
    assert_eq!(error, format!("the service keys at {at} must be readable by their owner only (mode 0600)"));

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, keys.replace("\"pepper\"", "\"papper\"")).unwrap();
    assert_eq!(refusal(&ground, &settings).await, format!("the service keys at {at} are malformed"));

    std::fs::remove_file(&path).unwrap();
    assert_eq!(refusal(&ground, &settings).await, format!("cannot use the service keys at {at}"));
    assert!(!path.exists(), "a function makes no keys of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_the_function_starts_and_says_so() {
    let ground = Ground::new().await;
    let mut settings = ground.settings();
    // Nobody listens at the discard port.
    settings.insert("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9".to_owned());
    let log = ground.start(&settings).await.unwrap().stop().await.join("\n");
    assert!(log.contains("the connection to the database could not be warmed"), "{log}");
}
