use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use serde_json::Value;

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It is lost on the way: nothing happens, and the client waits in vain.
    DropBefore,
    /// It takes effect and the answer is lost: the client waits in vain.
    DropAfter,
    /// It is lost on the way, and the client gets this answer.
    Answer(u16, Value),
    /// It takes effect, and the client gets this answer instead of the true one.
    AnswerAfter(u16, Value),
}

/// A script of what goes wrong between a client and its engine. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    script: Arc<Mutex<Vec<Line>>>,
    wire: Arc<OnceLock<SharedHttpConnector>>,
}

#[derive(Debug)]
struct Line {
    operation: &'static str,
    /// So many requests of the operation pass before it is this one's turn.
    passing: usize,
    fault: Fault,
}

impl Fault {
    /// An answer of DynamoDB that names an error, such as `InternalServerError`.
    pub fn error(status: u16, name: &str) -> Self {
        Self::Answer(status, error_body(name))
    }

    /// The same after the request took effect.
    pub fn error_after(status: u16, name: &str) -> Self {
        Self::AnswerAfter(status, error_body(name))
    }

    /// A transaction cancelled for these reasons, by their codes (`None` for an action that nothing stood in the way
    /// of), and without any effect.
    pub fn cancelled(reasons: &[&str]) -> Self {
        let mut body = error_body("TransactionCanceledException");
        body["CancellationReasons"] =
            reasons.iter().map(|code| serde_json::json!({ "Code": code })).collect();
        Self::Answer(400, body)
    }
}

pub(crate) fn error_body(name: &str) -> Value {
    serde_json::json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": "injected" })
}

impl Faults {
    /// The `nth` request of an operation from now on, counted from 1, goes wrong in this way.
    ///
    /// # Panics
    /// If `nth` is 0: there is no such request.
    pub fn script(&self, operation: &'static str, nth: usize, fault: Fault) {
        let passing = nth.checked_sub(1).expect("requests are counted from 1");
        self.lines().push(Line { operation, passing, fault });
    }

    /// How many faults have not occurred yet.
    pub fn outstanding(&self) -> usize {
        self.lines().len()
    }

    /// The fault of this request, if it has one. Every line counts every request of its operation.
    fn next(&self, operation: &str) -> Option<Fault> {
        let mut lines = self.lines();
        let due = lines.iter().position(|line| line.operation == operation && line.passing == 0);
        let fault = due.map(|index| lines.remove(index).fault);
        for line in lines.iter_mut().filter(|line| line.operation == operation) {
            line.passing = line.passing.saturating_sub(1);
        }
        fault
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for Faults {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let wire = self.wire.get_or_init(|| {
            SharedHttpConnector::new(Connector::builder().connector_settings(settings.clone()).build_http())
        });
        SharedHttpConnector::new(FaultyWire { faults: self.clone(), wire: wire.clone() })
    }
}

/// A connector that looks into the script before it sends anything.
#[derive(Debug)]
struct FaultyWire {
    faults: Faults,
    wire: SharedHttpConnector,
}

impl HttpConnector for FaultyWire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default();
        let fault = self.faults.next(operation);
        let wire = self.wire.clone();
        HttpConnectorFuture::new(async move {
            match fault {
                None => wire.call(request).await,
                Some(Fault::DropBefore) => Err(lost()),
                Some(Fault::DropAfter) => {
                    wire.call(request).await?;
                    Err(lost())
                }
                Some(Fault::Answer(status, body)) => answer(status, &body),
                Some(Fault::AnswerAfter(status, body)) => {
                    wire.call(request).await?;
                    answer(status, &body)
                }
            }
        })
    }
}

fn lost() -> ConnectorError {
    ConnectorError::timeout("injected: no answer came".into())
}

fn answer(status: u16, body: &Value) -> Result<HttpResponse, ConnectorError> {
    let status = status.try_into().map_err(|error| ConnectorError::other(Box::new(error), None))?;
    let mut response = HttpResponse::new(status, SdkBody::from(body.to_string()));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    Ok(response)
}
