use axum::extract::Request;
use axum::http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// Answers what a browser asks before it calls from a page of another origin. It goes on only after a success, and if
/// the answer says that this origin may: that is the gateway's word, which adds it, and never ours.
/// [Fetch standard, "CORS-preflight fetch"]
pub(crate) async fn preflight(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let asks = headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if asks && request.method() == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    next.run(request).await
}
