use std::any::Any;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, HeaderName, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument as _;

use super::Problem;
use crate::clock::Clock;
use crate::service::new_id;

/// The header with the id of a request, by which its log lines are found.
const REQUEST_ID: HeaderName = HeaderName::from_static("annals-request-id");

/// Puts around the routes what every answer needs: an id, a log line, headers, and an answer even if it panics.
pub(crate) fn wrap(routes: Router, clock: Clock) -> Router {
    let header = SetResponseHeaderLayer::if_not_present;
    routes
        .layer(CatchPanicLayer::custom(panicked))
        .layer(header(CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .layer(header(
            STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=63072000; includeSubDomains"),
        ))
        .layer(middleware::from_fn(move |request, next| observed(clock.clone(), request, next)))
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn panicked(_: Box<dyn Any + Send>) -> Response {
    // The panic hook has logged where and why.
    Problem::Internal.into_response()
}

/// Gives the request an id and logs how it went: never what is in it.
async fn observed(clock: Clock, request: Request, next: Next) -> Response {
    let id = new_id(clock.now()).map(|id| id.to_string()).unwrap_or_default();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_owned();
    let span = tracing::info_span!("request", %id);
    let started = Instant::now();
    async move {
        let mut response = next.run(request).await;
        let microseconds = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let status = response.status().as_u16();
        tracing::info!(%method, route, status, microseconds, "answered");
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }
    .instrument(span)
    .await
}
