//! Counts what a client sends, and what it costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::config::interceptors::{
    BeforeTransmitInterceptorContextMut, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_types::body::SdkBody;

/// What DynamoDB is asked for besides, so that it says what a request cost.
const ASKED: &str = "{\"ReturnConsumedCapacity\":\"TOTAL\",";
/// Under this name the engine says it.
const UNITS: &str = "\"CapacityUnits\":";
/// The token that the SDK gives every transaction.
const TOKEN: &str = "\"ClientRequestToken\":";
/// Units are counted in halves of halves.
const STEPS: f64 = 4.0;

/// Requests and units so far. Clones share the count.
///
/// It looks at the text alone, so that it costs both sides next to nothing. It also takes the token off every
/// transaction: the local engine keeps each for ten minutes and looks through all of them at the next, which DynamoDB
/// does not do, and which would slow down whoever uses transactions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    units: AtomicU64,
}

impl Counter {
    pub(crate) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Read and write units together.
    pub(crate) fn units(&self) -> f64 {
        self.0.units.load(Ordering::Relaxed) as f64 / STEPS
    }
}

impl Intercept for Counter {
    fn name(&self) -> &'static str {
        "Counter"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let body = request.body().bytes().ok_or("a request without a body")?;
        let body = std::str::from_utf8(body)?;
        let mut asked = String::with_capacity(ASKED.len() + body.len());
        asked.push_str(ASKED);
        asked.push_str(body.get(1..).unwrap_or_default());
        if let Some(begins) = asked.rfind(TOKEN) {
            // The name, the colon, and a text in quotes; the comma that goes with it may stand on either side.
            let value = begins + TOKEN.len() + 1;
            let ends = value + asked[value..].find('"').ok_or("a token without an end")? + 1;
            let (begins, ends) =
                if asked[ends..].starts_with(',') { (begins, ends + 1) } else { (begins - 1, ends) };
            asked.replace_range(begins..ends, "");
        }
        request.headers_mut().insert("content-length", asked.len().to_string());
        *request.body_mut() = SdkBody::from(asked);
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(body) = context.response().and_then(|response| response.body().bytes()) else {
            return Ok(());
        };
        // Behind the items, or before them: what it says of a table is within the first or the last octets.
        let edge = body.len().min(1_024);
        let (head, tail) = (&body[..edge], &body[(body.len() - edge).max(edge)..]);
        let units: f64 = [head, tail]
            .iter()
            .filter_map(|part| std::str::from_utf8(part).ok())
            .map(|text| text.split(UNITS).skip(1).filter_map(number).sum::<f64>())
            .sum();
        self.0.units.fetch_add((units * STEPS) as u64, Ordering::Relaxed);
        Ok(())
    }
}

fn number(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    text.get(..end)?.parse().ok()
}
