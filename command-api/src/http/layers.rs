use std::any::Any;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{CACHE_CONTROL, HeaderName, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use storage::usage_of;
use telemetry::{Measure, measure};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument as _;

use super::{Problem, body};
use crate::clock::Clock;
use crate::service::new_id;

/// The header with the id of a request, by which its log lines are found.
const REQUEST_ID: HeaderName = HeaderName::from_static("annals-request-id");

/// What a request is called by those it came through, as they say it; put into the request's extensions.
#[derive(Debug, Clone, Default)]
pub struct RequestIds {
    /// By the gateway.
    pub gateway: Option<String>,
    /// By Lambda.
    pub lambda: Option<String>,
}

/// Puts around the routes what every answer needs: an id, a log line, headers, and an answer even if it panics.
pub(crate) fn wrap(routes: Router, clock: Clock) -> Router {
    let header = SetResponseHeaderLayer::if_not_present;
    routes
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(body::receive))
        .layer(header(CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .layer(header(
            STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=63072000; includeSubDomains"),
        ))
        .layer(middleware::from_fn(move |request, next| observed(clock.clone(), request, next)))
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    // The panic hook has logged where and why.
    Problem::Internal.into_response()
}

/// Gives the request an id, logs how it went and what it took, and counts it: never what is in it.
async fn observed(clock: Clock, request: Request, next: Next) -> Response {
    let id = new_id(clock.now()).map(|id| id.to_string()).unwrap_or_default();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_owned();
    let ids = request.extensions().get::<RequestIds>().cloned().unwrap_or_default();
    let span = tracing::info_span!("request", %id);
    let started = Instant::now();
    async move {
        let (mut response, usage) = usage_of(next.run(request)).await;
        let latency_ms = started.elapsed().as_secs_f64() * 1_000.0;
        let status = response.status();
        tracing::info!(
            request_id = id,
            gateway_request_id = ids.gateway,
            lambda_request_id = ids.lambda,
            %method,
            route,
            status = status.as_u16(),
            latency_ms,
            dynamodb_requests = usage.requests,
            read_units = usage.read_units,
            write_units = usage.write_units,
            "answered"
        );
        if status.is_client_error() {
            measure(Measure::Refusal);
        } else if status.is_success() && ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&method) {
            measure(Measure::Command(format!("{method} {route}")));
        }
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }
    .instrument(span)
    .await
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::wrap;
    use crate::clock::Clock;

    async fn panicking() -> &'static str {
        panic!("a secret cause")
    }

    #[tokio::test]
    async fn a_panic_is_answered_as_a_problem_without_its_cause() {
        let routes = Router::new().route("/", get(panicking));
        let request = Request::get("/").body(Body::empty()).unwrap();
        let response = wrap(routes, Clock::system()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        let header = |name| response.headers()[name].to_str().unwrap();
        assert_eq!(header("content-type"), "application/problem+json");
        assert_eq!((header("cache-control"), header("x-content-type-options")), ("no-store", "nosniff"));
        assert_eq!(header("annals-request-id").len(), 36);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({"type": "urn:annals:problem:internal", "title": "Something went wrong", "status": 500})
        );
    }
}
