use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

/// A Parameter Store of AWS Systems Manager, as far as it is only read: names and values, and what it answers if it
/// refuses. [AWS Systems Manager API reference, "GetParameter" and "GetParameters"]
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Where it listens.
    pub endpoint: String,
    stored: Arc<Mutex<Stored>>,
}

#[derive(Debug, Default)]
struct Stored {
    values: BTreeMap<String, String>,
    refusal: Option<(&'static str, String)>,
    asked: Vec<String>,
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

    /// Puts a value in place of any other.
    pub fn put(&self, name: &str, value: &str) {
        self.stored().values.insert(name.to_owned(), value.to_owned());
    }

    /// Takes a value away.
    pub fn remove(&self, name: &str) {
        self.stored().values.remove(name);
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
        let value = stored.values.get(name)?;
        Some(json!({"Name": name, "Value": value, "Version": 1, "Type": "String"}))
    };
    let answer = match target.rsplit_once('.').map(|(_, action)| action) {
        Some("GetParameter") => {
            let found = asked["Name"].as_str().and_then(parameter);
            let Some(found) = found else { return refused("ParameterNotFound", "") };
            json!({ "Parameter": found })
        }
        Some("GetParameters") => {
            let names = asked["Names"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let (found, missing): (Vec<_>, Vec<_>) = names.partition(|name| parameter(name).is_some());
            let found: Vec<_> = found.into_iter().filter_map(parameter).collect();
            json!({ "Parameters": found, "InvalidParameters": missing })
        }
        _ => return refused("InvalidAction", target),
    };
    ([("content-type", "application/x-amz-json-1.1")], answer.to_string()).into_response()
}

fn refused(code: &str, message: &str) -> Response {
    let body = json!({"__type": code, "message": message}).to_string();
    (StatusCode::BAD_REQUEST, [("content-type", "application/x-amz-json-1.1")], body).into_response()
}
