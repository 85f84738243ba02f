use std::convert::Infallible;
use std::time::Instant;

use command_api::Clock;
use command_api::tokens::{PublicTokens, TokenError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use telemetry::{Measure, measure};

/// A simple response. [API Gateway developer guide, "Control access to HTTP APIs with AWS Lambda authorizers"]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    is_authorized: bool,
}

/// A request to be judged, payload format 2.0, as far as it is of use.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    /// The values by which the gateway keeps the verdict: the `Authorization` header alone. Nothing else may therefore
    /// make a difference.
    identity_source: Option<Vec<String>>,
    /// The route as the gateway knows it, such as `GET /me`.
    route_key: Option<String>,
    request_context: Context,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Context {
    request_id: Option<String>,
}

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    /// What came is no request to be judged.
    #[error("not an authorizer's event, payload format 2.0")]
    NotARequest,
    /// It brings no bearer token, or more than one.
    #[error("no bearer token")]
    NoToken,
    /// It is no token of ours.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Lets through what we have signed, also before and after its time: of that the function behind says more than the
/// gateway's bare 403. Whatever else comes is turned away, and no event is left without a verdict.
pub(crate) async fn verdict(
    tokens: &PublicTokens,
    clock: &Clock,
    event: Value,
    invocation: String,
) -> Result<Verdict, Infallible> {
    let started = Instant::now();
    tokens.refresh_keys().await;
    let event = Event::deserialize(event);
    let judged = match &event {
        Ok(event) => judge(tokens, clock, event),
        Err(_) => Err(Refusal::NotARequest),
    };
    if judged.is_err() {
        measure(Measure::Refusal);
    }
    let event = event.unwrap_or_default();
    tracing::info!(
        lambda_request_id = invocation,
        gateway_request_id = event.request_context.request_id,
        route = event.route_key,
        authorized = judged.is_ok(),
        reason = judged.err().map(tracing::field::display),
        latency_ms = started.elapsed().as_secs_f64() * 1_000.0,
        "judged"
    );
    Ok(Verdict { is_authorized: judged.is_ok() })
}

fn judge(tokens: &PublicTokens, clock: &Clock, event: &Event) -> Result<(), Refusal> {
    let Some([authorization]) = event.identity_source.as_deref() else { return Err(Refusal::NoToken) };
    let (scheme, token) = authorization.split_once(' ').ok_or(Refusal::NoToken)?;
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(Refusal::NoToken);
    }
    match tokens.verify(token, clock.now()) {
        Ok(_) | Err(TokenError::Expired | TokenError::NotYetValid) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
