use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use storage::keys::{PublicKeys, ServiceKeys};

/// A Parameter Store of AWS Systems Manager: names and values, each with its versions, and what it answers if it refuses.
/// [AWS Systems Manager API reference, `GetParameter`, `GetParameters` and `PutParameter`]
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Where it listens.
    pub endpoint: String,
    stored: Arc<Mutex<Stored>>,
}

#[derive(Debug, Default)]
struct Stored {
    /// The values of each name, the first version first.
    values: BTreeMap<String, Vec<String>>,
    /// What somebody else writes, by name, right before the next one writes over a parameter.
    meanwhile: Vec<(String, Vec<(String, String)>)>,
    refusal: Option<(&'static str, String)>,
    asked: Vec<String>,
    /// The names that each `GetParameters` asked for.
    names: Vec<BTreeSet<String>>,
}

impl Parameters {
    /// An empty one, which runs as long as the test.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let stored = Arc::<Mutex<Stored>>::default();
        let routes = Router::new().route("/", post(answer)).with_state(Arc::clone(&stored));
        tokio::spawn(axum::serve(listener, routes).into_future());
        Self { endpoint: format!("http://{address}"), stored }
    }

    /// Below this path, which ends with a slash, these keys and the public halves of theirs that sign.
    pub async fn of(prefix: &str, keys: &ServiceKeys) -> Self {
        let parameters = Self::start().await;
        let whole = serde_json::to_value(keys).expect("keys as JSON");
        for (name, value) in whole.as_object().into_iter().flatten() {
            parameters.put(&format!("{prefix}{}", name.replace('_', "-")), &value.to_string());
        }
        let public = PublicKeys::of(&keys.signing).expect("public keys");
        let public = serde_json::to_string(&public).expect("keys as JSON");
        parameters.put(&format!("{prefix}public"), &public);
        parameters
    }

    /// The names that each `GetParameters` so far asked for.
    pub fn names_asked(&self) -> Vec<BTreeSet<String>> {
        self.stored().names.clone()
    }

    /// Puts a value in place of any other.
    pub fn put(&self, name: &str, value: &str) {
        self.stored().values.insert(name.to_owned(), vec![value.to_owned()]);
    }

    /// Takes a value away.
    pub fn remove(&self, name: &str) {
        self.stored().values.remove(name);
    }

    /// Somebody else writes this right before the next one writes over a parameter of this name.
    pub fn put_meanwhile(&self, name: &str, value: &str) {
        self.put_before(name, &[(name, value)]);
    }

    /// Somebody else writes all of this right before the next one writes over a parameter of this name.
    pub fn put_before(&self, name: &str, written: &[(&str, &str)]) {
        let written = written.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.stored().meanwhile.push((name.to_owned(), written.collect()));
    }

    /// Every name with its value.
    pub fn values(&self) -> BTreeMap<String, String> {
        let stored = self.stored();
        stored
            .values
            .iter()
            .filter_map(|(name, values)| Some((name.clone(), values.last()?.clone())))
            .collect()
    }

    /// How a client reaches it.
    pub fn sdk(&self) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "test", "test", None, None, "test",
            )))
            .endpoint_url(&self.endpoint)
            .build()
    }

    /// From now on every request is refused with this error and this message; with `None`, no longer.
    pub fn refuse(&self, refusal: Option<(&'static str, &str)>) {
        self.stored().refusal = refusal.map(|(code, message)| (code, message.to_owned()));
    }

    /// The actions that were asked for since the last look.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.stored().asked)
    }

    fn stored(&self) -> std::sync::MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(stored): State<Arc<Mutex<Stored>>>, headers: HeaderMap, body: String) -> Response {
    let mut stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    stored.asked.push(target.to_owned());
    if let Some((code, message)) = &stored.refusal {
        return refused(code, message);
    }
    let asked: Value = serde_json::from_str(&body).expect("JSON");
    let parameter = |name: &str| {
        let (name, version) = match name.split_once(':') {
            Some((name, version)) => (name, version.parse().ok()?),
            None => (name, stored.values.get(name)?.len()),
        };
        let value = stored.values.get(name)?.get(version.checked_sub(1)?)?;
        Some(json!({"Name": name, "Value": value, "Version": version, "Type": "String"}))
    };
    let answer = match target.rsplit_once('.').map(|(_, action)| action) {
        Some("GetParameter") => {
            let found = asked["Name"].as_str().and_then(parameter);
            let Some(found) = found else { return refused("ParameterNotFound", "") };
            json!({ "Parameter": found })
        }
        Some("GetParameters") => {
            let names = asked["Names"].as_array().expect("names");
            if names.len() > 10 {
                return refused("ValidationException", "more than 10 names");
            }
            let names = names.iter().filter_map(Value::as_str);
            let asked = names.clone().map(str::to_owned).collect();
            let (found, missing): (Vec<_>, Vec<_>) = names.partition(|name| parameter(name).is_some());
            let found: Vec<_> = found.into_iter().filter_map(parameter).collect();
            let answer = json!({ "Parameters": found, "InvalidParameters": missing });
            stored.names.push(asked);
            answer
        }
        Some("PutParameter") => {
            let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
            let (name, overwrite) = (text("Name"), asked["Overwrite"] == true);
            let Stored { values, meanwhile, .. } = &mut *stored;
            if let Some(at) = meanwhile.iter().position(|(of, _)| overwrite && *of == name) {
                for (name, value) in meanwhile.remove(at).1 {
                    values.entry(name).or_default().push(value);
                }
            }
            let versions = values.entry(name).or_default();
            if !overwrite && !versions.is_empty() {
                return refused("ParameterAlreadyExists", "");
            }
            versions.push(text("Value"));
            json!({ "Version": versions.len() })
        }
        _ => return refused("InvalidAction", target),
    };
    ([("content-type", "application/x-amz-json-1.1")], answer.to_string()).into_response()
}

fn refused(code: &str, message: &str) -> Response {
    let body = json!({"__type": code, "message": message}).to_string();
    (StatusCode::BAD_REQUEST, [("content-type", "application/x-amz-json-1.1")], body).into_response()
}
