use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};

use crate::Engine;

/// An address before an engine's, for a program that is told where DynamoDB is: some of its requests fail on the way.
#[derive(Debug)]
pub struct Detour {
    endpoint: String,
    refused: Arc<Mutex<Vec<(&'static str, String)>>>,
}

/// What the detour needs to know of where it leads.
#[derive(Clone)]
struct Way {
    http: reqwest::Client,
    engine: String,
    refused: Arc<Mutex<Vec<(&'static str, String)>>>,
}

impl Detour {
    /// An address that leads to this engine.
    pub async fn to(engine: &Engine) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let refused = Arc::default();
        let way = Way {
            http: reqwest::Client::new(),
            engine: engine.endpoint().to_owned(),
            refused: Arc::clone(&refused),
        };
        tokio::spawn(axum::serve(listener, Router::new().fallback(pass).with_state(way)).into_future());
        Self { endpoint: format!("http://{address}"), refused }
    }

    /// The address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// From now on, requests of this operation that name this user fail with 500.
    pub fn refuse(&self, operation: &'static str, user: &impl ToString) {
        self.refused().push((operation, user.to_string()));
    }

    /// From now on, all requests arrive.
    pub fn clear(&self) {
        self.refused().clear();
    }

    fn refused(&self) -> MutexGuard<'_, Vec<(&'static str, String)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn pass(State(way): State<Way>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers["x-amz-target"].to_str().unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let names = |(operation, user): &(&str, String)| target.ends_with(operation) && text.contains(user);
    let is_refused = way.refused.lock().unwrap_or_else(PoisonError::into_inner).iter().any(names);
    if is_refused {
        let error = r#"{"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError"}"#;
        return (StatusCode::INTERNAL_SERVER_ERROR, error).into_response();
    }
    let mut request = way.http.post(&way.engine);
    for name in ["authorization", "content-type", "x-amz-date", "x-amz-security-token", "x-amz-target"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    let answer = request.body(body).send().await.expect("an engine that runs");
    let (status, headers) = (answer.status(), answer.headers().clone());
    (status, headers, answer.bytes().await.expect("an answer")).into_response()
}
