use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_dynamodb::config::interceptors::{
    BeforeTransmitInterceptorContextMut, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use serde_json::Value;

use crate::Engine;

/// Counts what a client takes. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<Taken>>);

/// What was sent since the meter was reset, and what it cost.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// The names of the operations in the order they were sent, each retry by the SDK included.
    pub requests: Vec<String>,
    /// Read capacity units.
    pub read_units: f64,
    /// Write capacity units.
    pub write_units: f64,
}

impl Taken {
    /// Whether it cost this much. Only the embedded engine counts units as AWS does; with another one nobody can tell,
    /// and the requests are what counts.
    pub fn cost(&self, read_units: f64, write_units: f64) -> bool {
        let same = |a: f64, b: f64| (a - b).abs() < f64::EPSILON;
        Engine::is_elsewhere() || (same(self.read_units, read_units) && same(self.write_units, write_units))
    }
}

/// The same requests at the same [`cost`](Taken::cost).
impl PartialEq for Taken {
    fn eq(&self, other: &Self) -> bool {
        self.requests == other.requests && self.cost(other.read_units, other.write_units)
    }
}

/// The number of actions in a transaction, kept until its answer is there: by then the request is gone.
#[derive(Debug)]
struct Actions(usize);

impl Storable for Actions {
    type Storer = StoreReplace<Self>;
}

impl Meter {
    /// Begins to count from nothing.
    pub fn reset(&self) {
        *self.count() = Taken::default();
    }

    /// The count since the last reset.
    pub fn taken(&self) -> Taken {
        self.count().clone()
    }

    fn count(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = operation(settings).to_owned();
        if reports_capacity(&operation) {
            let request = context.request_mut();
            let mut body = json(request.body()).ok_or("a request without a JSON body")?;
            body["ReturnConsumedCapacity"] = "TOTAL".into();
            if let Some(actions) = body["TransactItems"].as_array() {
                settings.interceptor_state().store_put(Actions(actions.len()));
            }
            let body = body.to_string();
            request.headers_mut().insert("content-length", body.len().to_string());
            *request.body_mut() = SdkBody::from(body);
        }
        self.count().requests.push(operation);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(response) = context.response().and_then(|response| json(response.body())) else {
            return Ok(());
        };
        let operation = operation(settings);
        let mut taken = self.count();
        match &response["ConsumedCapacity"] {
            Value::Null => {
                let actions = settings.load::<Actions>().map_or(0, |actions| actions.0);
                taken.write_units += failed_condition(&response, actions);
            }
            Value::Array(tables) => tables.iter().for_each(|table| taken.add(operation, table)),
            table => taken.add(operation, table),
        }
        Ok(())
    }
}

impl Taken {
    /// One table's share. Only transactions tell reads from writes; elsewhere the operation does.
    fn add(&mut self, operation: &str, table: &Value) {
        let units = |name: &str| table[name].as_f64();
        let (read, write) = (units("ReadCapacityUnits"), units("WriteCapacityUnits"));
        if read.is_some() || write.is_some() {
            self.read_units += read.unwrap_or_default();
            self.write_units += write.unwrap_or_default();
        } else if matches!(operation, "GetItem" | "BatchGetItem" | "TransactGetItems" | "Query" | "Scan") {
            self.read_units += units("CapacityUnits").unwrap_or_default();
        } else {
            self.write_units += units("CapacityUnits").unwrap_or_default();
        }
    }
}

/// What a refused condition costs in write units. No engine says it in the error, but AWS charges the write as if it
/// had been made ("Conditional writes" and "Transaction capacity" in the developer guide): one unit, two for each
/// action of a transaction. Right for items of up to 1 KB.
fn failed_condition(response: &Value, actions: usize) -> f64 {
    let kind = response["__type"].as_str().unwrap_or_default();
    if kind.ends_with("#ConditionalCheckFailedException") {
        1.0
    } else if kind.ends_with("#TransactionCanceledException") {
        u32::try_from(actions).map_or(0.0, |actions| 2.0 * f64::from(actions))
    } else {
        0.0
    }
}

fn operation(settings: &ConfigBag) -> &str {
    settings.load::<Metadata>().map_or("?", Metadata::name)
}

fn reports_capacity(operation: &str) -> bool {
    matches!(
        operation,
        "GetItem"
            | "PutItem"
            | "UpdateItem"
            | "DeleteItem"
            | "Query"
            | "Scan"
            | "BatchGetItem"
            | "BatchWriteItem"
            | "TransactGetItems"
            | "TransactWriteItems"
    )
}

fn json(body: &SdkBody) -> Option<Value> {
    serde_json::from_slice(body.bytes()?).ok()
}
