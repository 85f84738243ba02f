use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Json, Router};
use serde_json::{Value, json};
use storage::keys::{PublicKeys, ServiceKeys};

/// The Parameter Store with the service keys of a deployment, as far as a function may use it: `GetParameters` of its API.
#[derive(Debug)]
pub struct Parameters {
    endpoint: String,
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    values: BTreeMap<String, String>,
    /// The names that each request asked for.
    asked: Vec<BTreeSet<String>>,
}

impl Parameters {
    /// Below this path, which ends with a slash, these keys.
    pub async fn of(prefix: &str, keys: &ServiceKeys) -> Self {
        let whole = serde_json::to_value(keys).expect("keys as JSON");
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in whole.as_object().into_iter().flatten() {
            values.insert(format!("{prefix}{}", name.replace('_', "-")), value.to_string());
        }
        let public = PublicKeys::of(&keys.signing).expect("public keys");
        values.insert(format!("{prefix}public"), serde_json::to_string(&public).expect("keys as JSON"));
        let shelf = Arc::new(Mutex::new(Shelf { values, asked: Vec::new() }));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let router = Router::new().fallback(get_parameters).with_state(Arc::clone(&shelf));
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { endpoint: format!("http://{address}"), shelf }
    }

    /// The address, for `AWS_ENDPOINT_URL_SSM`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The names that each request so far asked for.
    pub fn asked(&self) -> Vec<BTreeSet<String>> {
        shelf(&self.shelf).asked.clone()
    }
}

fn shelf(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn get_parameters(
    State(state): State<Arc<Mutex<Shelf>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Json<Value> {
    assert_eq!(headers["x-amz-target"], "AmazonSSM.GetParameters", "another request");
    let request: Value = serde_json::from_slice(&body).expect("a request in JSON");
    let names = request["Names"].as_array().into_iter().flatten();
    let names: BTreeSet<String> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let mut shelf = shelf(&state);
    let found = |name: &String| Some(json!({"Name": name, "Value": shelf.values.get(name)?}));
    let parameters: Vec<Value> = names.iter().filter_map(found).collect();
    shelf.asked.push(names);
    Json(json!({"Parameters": parameters, "InvalidParameters": []}))
}
