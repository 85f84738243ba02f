use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use command_api::tokens::{AccessClaims, AccessTokens};
use domain::{SessionId, UserId};
use serde_json::{Value, json};
use storage::keys::ServiceKeys;
use tempfile::TempDir;
use testkit::{Ended, Function, Outcome, Parameters, program};
use uuid::Uuid;

const ISSUER: &str = "https://accounts.example.com";
const PREFIX: &str = "/annals/stack/keys/";

/// The function before the gateway's protected routes, and the keys of the deployment.
struct Authorizer {
    function: Function,
    keys: ServiceKeys,
    folder: TempDir,
}

/// The event of a request, payload format 2.0. [API Gateway developer guide, "Control access to HTTP APIs with AWS Lambda
/// authorizers"]
fn event(authorization: &str) -> Value {
    json!({
        "version": "2.0",
        "type": "REQUEST",
        "routeArn": "arn:aws:execute-api:us-east-1:123456789012:abcdef1234/$default/GET/me",
        "identitySource": [authorization],
        "routeKey": "GET /me",
        "rawPath": "/me",
        "rawQueryString": "min_version=2",
        "cookies": ["theme=dark"],
        "headers": {"authorization": authorization, "user-agent": "curl/8.5.0"},
        "queryStringParameters": {"min_version": "2"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdef1234",
            "authentication": {"clientCert": {"subjectDN": "CN=example"}},
            "http": {
                "method": "GET", "path": "/me", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1",
                "userAgent": "curl/8.5.0",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "GET /me",
            "stage": "$default",
            "time": "10/Mar/2020:05:16:23 +0000",
            "timeEpoch": 1_583_817_383_220_i64,
        },
        "pathParameters": {"proxy": "me"},
        "stageVariables": {"variable": "value"},
    })
}

/// A token of these keys, issued this long ago, in seconds.
fn token(keys: &ServiceKeys, issuer: &str, age: i64) -> String {
    let tokens =
        AccessTokens::new(keys.signing.clone(), issuer.to_owned(), issuer.to_owned(), "annals".into());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = DateTime::<Utc>::from_timestamp(i64::try_from(now).unwrap() - age, 0).unwrap();
    let (user, session) = (UserId::new(Uuid::from_u128(1)), SessionId::new(Uuid::from_u128(2)));
    let claims = AccessClaims { user, session, auth_time: at, issued_at: at, token: Uuid::from_u128(3) };
    tokens.unwrap().issue(&claims).unwrap()
}

async fn start(settings: &BTreeMap<&'static str, String>) -> Result<Function, Ended> {
    Function::start(&program("ANNALS_AUTHORIZER_BIN", env!("CARGO_BIN_EXE_authorizer")), settings).await
}

impl Authorizer {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let keys = ServiceKeys::open_or_create(&path).unwrap();
        let settings = BTreeMap::from([
            ("ANNALS_ISSUER", ISSUER.to_owned()),
            ("ANNALS_KEYS_FILE", path.to_str().unwrap().to_owned()),
        ]);
        Self { function: start(&settings).await.unwrap(), keys, folder }
    }

    /// Has an event judged.
    async fn judges(&mut self, event: Value) -> bool {
        let Outcome::Answered(verdict) = self.function.invoke(event.clone()).await else {
            panic!("no verdict: {event}")
        };
        let authorized = verdict["isAuthorized"].as_bool().unwrap();
        assert_eq!(verdict, json!({ "isAuthorized": authorized }), "and nothing to be trusted");
        authorized
    }

    async fn lets_through(&mut self, token: &str) -> bool {
        self.judges(event(&format!("Bearer {token}"))).await
    }

    /// Publishes and uses another signing key.
    fn rotate(&mut self) {
        let others = ServiceKeys::random().unwrap().signing;
        let (id, key) = others.current();
        self.keys.signing = self.keys.signing.clone().rotated(id.clone(), key.clone());
        let path = self.folder.path().join("keys.json");
        std::fs::write(path, serde_json::to_vec(&self.keys).unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_signed_is_let_through_even_out_of_its_time() {
    let mut authorizer = Authorizer::start().await;
    for age in [0, 3_600, 30 * 86_400, -3_600] {
        let token = token(&authorizer.keys, ISSUER, age);
        assert!(authorizer.lets_through(&token).await, "{age} s old");
        assert!(authorizer.judges(event(&format!("bearer {token}"))).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forgeries_are_turned_away() {
    let mut authorizer = Authorizer::start().await;
    let genuine = token(&authorizer.keys, ISSUER, 0);
    let [header, claims, signature]: [&str; 3] = genuine.split('.').collect::<Vec<_>>().try_into().unwrap();
    // The same kid, another key.
    let mut forger = ServiceKeys::random().unwrap();
    forger.signing = storage::keys::Ring::of(
        authorizer.keys.signing.current().0.clone(),
        forger.signing.current().1.clone(),
    );
    let other = token(&authorizer.keys, ISSUER, 1);
    let other_claims = other.split('.').nth(1).unwrap();
    for forged in [
        token(&forger, ISSUER, 0),
        token(&ServiceKeys::random().unwrap(), ISSUER, 0),
        token(&authorizer.keys, "https://elsewhere.example.com", 0),
        format!("{header}.{other_claims}.{signature}"),
        format!("{header}.{claims}."),
        format!("{header}.{claims}"),
        format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{claims}."),
        format!("{genuine},Bearer {genuine}"),
        format!(" {genuine}"),
        "a".repeat(10_000),
        String::new(),
    ] {
        assert!(!authorizer.lets_through(&forged).await, "{forged}");
    }
    assert!(authorizer.lets_through(&genuine).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_gets_a_verdict_and_only_the_identity_source_counts() {
    let mut authorizer = Authorizer::start().await;
    let genuine = token(&authorizer.keys, ISSUER, 0);
    let whole = event(&format!("Bearer {genuine}"));
    let with = |name: &str, value: Value| {
        let mut event = whole.clone();
        event[name] = value;
        event
    };
    let mut without = whole.clone();
    without.as_object_mut().unwrap().remove("identitySource");
    for refused in [
        without,
        with("identitySource", Value::Null),
        with("identitySource", json!([])),
        with("identitySource", json!([""])),
        with("identitySource", json!([genuine])),
        with("identitySource", json!([format!("Basic {genuine}")])),
        with("identitySource", json!([format!("Bearer {genuine}"), "another"])),
        with("identitySource", json!(format!("Bearer {genuine}"))),
        with("identitySource", json!([7])),
        json!({}),
        json!([]),
        json!("secret"),
        Value::Null,
        // Payload format 1.0.
        json!({"version": "1.0", "type": "REQUEST", "identitySource": format!("Bearer {genuine}"),
            "authorizationToken": format!("Bearer {genuine}"), "httpMethod": "GET", "path": "/me"}),
    ] {
        assert!(!authorizer.judges(refused.clone()).await, "{refused}");
    }
    let least = json!({"identitySource": [format!("Bearer {genuine}")]});
    for good in [least, with("headers", json!({})), with("requestContext", json!({})), with("new", json!(1))]
    {
        assert!(authorizer.judges(good.clone()).await, "{good}");
    }
    let log = authorizer.function.stop().await;
    let lines: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refusals = lines.iter().filter(|line| line["_aws"].is_object() && line["Refusals"][0] == 1.0).count();
    assert_eq!(refusals, 14, "{log:#?}");
    let judged = lines.iter().rfind(|line| line["message"] == "judged").unwrap();
    assert_eq!((&judged["route"], &judged["authorized"]), (&json!("GET /me"), &json!(true)), "{judged}");
    assert_eq!(judged["gateway_request_id"], "JKJaXmPLvHcESHA=");
    let log = log.join("\n");
    assert!(!log.contains(genuine.split('.').nth(1).unwrap()) && !log.contains("secret"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_looked_for_at_most_once_a_minute() {
    let mut authorizer = Authorizer::start().await;
    let old = token(&authorizer.keys, ISSUER, 0);
    authorizer.rotate();
    let new = token(&authorizer.keys, ISSUER, 0);
    assert!(authorizer.lets_through(&new).await, "the keys are read again");
    assert!(authorizer.lets_through(&old).await);
    authorizer.rotate();
    let newer = token(&authorizer.keys, ISSUER, 0);
    assert!(!authorizer.lets_through(&newer).await, "not so soon");
    assert!(authorizer.lets_through(&new).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_parameters_it_reads_the_public_keys_alone() {
    let keys = ServiceKeys::random().unwrap();
    let parameters = Parameters::of(PREFIX, &keys).await;
    let settings = BTreeMap::from([
        ("ANNALS_ISSUER", ISSUER.to_owned()),
        ("ANNALS_KEYS_PREFIX", PREFIX.to_owned()),
        ("AWS_ENDPOINT_URL_SSM", parameters.endpoint.clone()),
    ]);
    let function = start(&settings).await.unwrap();
    let mut authorizer = Authorizer { function, keys, folder: tempfile::tempdir().unwrap() };
    let genuine = token(&authorizer.keys, ISSUER, 0);
    assert!(authorizer.lets_through(&genuine).await);
    assert!(!authorizer.lets_through(&token(&ServiceKeys::random().unwrap(), ISSUER, 0)).await);
    assert!(!authorizer.lets_through(&token(&ServiceKeys::random().unwrap(), ISSUER, 0)).await);
    // Once at the start, and once for both unknown keys.
    assert_eq!(
        parameters.names_asked(),
        [[format!("{PREFIX}public")].into(), [format!("{PREFIX}public")].into()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_of_the_authorizer_that_is_missing_or_malformed_is_named_and_fatal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    ServiceKeys::open_or_create(&path).unwrap();
    let keys = path.to_str().unwrap();
    let refusal = async |settings: &[(&'static str, &str)]| {
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        start(&settings).await.unwrap_err().reason()
    };
    assert_eq!(refusal(&[("ANNALS_KEYS_FILE", keys)]).await, "not set: ANNALS_ISSUER");
    assert_eq!(
        refusal(&[("ANNALS_ISSUER", ISSUER)]).await,
        "not set: ANNALS_KEYS_FILE or ANNALS_KEYS_PREFIX"
    );
    let malformed = refusal(&[("ANNALS_ISSUER", "accounts.example.com"), ("ANNALS_KEYS_FILE", keys)]).await;
    assert!(malformed.contains("ANNALS_ISSUER"), "{malformed}");
    let both = [("ANNALS_ISSUER", ISSUER), ("ANNALS_KEYS_FILE", keys), ("ANNALS_KEYS_PREFIX", PREFIX)];
    assert!(refusal(&both).await.contains("ANNALS_KEYS_PREFIX"));
}
