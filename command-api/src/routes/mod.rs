//! One file per route, with its body, its answer and what it may refuse.

mod acting;
mod candidate;
mod change_email;
mod change_password;
mod events;
mod forgot_password;
mod fresh;
mod login;
mod logout;
mod me;
mod oauth;
mod openapi;
mod patch_me;
mod refresh;
mod register;
mod register_unsaid;
mod resend_verification;
mod reset_password;
mod sessions;
mod verify_email;
mod well_known;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::{Problem, preflight, through_the_edge, wrap};
use crate::service::Service;

/// The router: the same on Lambda, in the local stack and in tests.
pub fn router(service: Arc<Service>) -> Router {
    let clock = service.clock.clone();
    let origin = service.origin.clone().map(Arc::new);
    let (routes, document) = OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(register::register))
        .routes(routes!(login::login))
        .routes(routes!(me::me, patch_me::patch_me))
        .routes(routes!(change_password::change_password))
        .routes(routes!(events::events))
        .routes(routes!(forgot_password::forgot_password))
        .routes(routes!(reset_password::reset_password))
        .routes(routes!(change_email::change_email))
        .routes(routes!(verify_email::verify_email))
        .routes(routes!(resend_verification::resend_verification))
        .routes(routes!(sessions::sessions, sessions::end_other_sessions))
        .routes(routes!(sessions::end_session))
        .routes(routes!(refresh::refresh))
        .routes(routes!(logout::logout))
        .routes(routes!(oauth::token))
        .routes(routes!(oauth::revoke))
        .routes(routes!(oauth::introspect))
        .routes(routes!(well_known::jwks))
        .routes(routes!(well_known::openid_configuration))
        .routes(routes!(well_known::oauth_authorization_server))
        .routes(routes!(well_known::health))
        .split_for_parts();
    let document = openapi::complete(document, &service.issuer);
    let routes = routes
        .route("/openapi.json", get(async move || document.clone()))
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(from_fn_with_state(Arc::clone(&service), with_the_keys_of_now))
        .with_state(service)
        .layer(from_fn(preflight));
    let routes = match origin {
        Some(secret) => {
            routes.layer(from_fn(move |request, next| through_the_edge(Arc::clone(&secret), request, next)))
        }
        None => routes,
    };
    wrap(routes, clock)
}

/// Has the service keys read again, if they are old, before the request is looked at. On Lambda nothing runs between
/// requests.
async fn with_the_keys_of_now(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    service.store.refresh_keys().await;
    next.run(request).await
}
