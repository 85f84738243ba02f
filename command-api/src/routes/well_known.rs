use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::service::Service;

/// How long others may keep what is public here, in seconds at most 15 minutes: a new signing key is published two
/// hours before it is used.
const PUBLIC: &str = "public, max-age=900";

/// A secret by Basic authentication. [RFC 7591, section 2]
const BASIC: &str = "client_secret_basic";
/// A secret in the form.
const POST: &str = "client_secret_post";
/// No secret: a public client.
const NONE: &str = "none";

/// What clients find out by themselves. [RFC 8414, section 2]
#[derive(Serialize, ToSchema)]
pub(crate) struct Metadata {
    /// The `iss` of every token.
    issuer: String,
    /// Where the public keys are.
    jwks_uri: String,
    /// None: there is no authorization endpoint.
    response_types_supported: [&'static str; 0],
    /// A session is continued by its refresh token.
    grant_types_supported: [&'static str; 1],
    /// Where a session is continued.
    token_endpoint: String,
    /// How a client shows there who it is.
    token_endpoint_auth_methods_supported: [&'static str; 3],
    /// Where a token is revoked.
    revocation_endpoint: String,
    /// How a client shows there who it is.
    revocation_endpoint_auth_methods_supported: [&'static str; 3],
    /// Where one asks what a token is worth.
    introspection_endpoint: String,
    /// How a client shows there who it is.
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    /// Every client sees the same user id.
    subject_types_supported: [&'static str; 1],
    /// How tokens are signed.
    id_token_signing_alg_values_supported: [&'static str; 1],
}

/// Whether the service answers. Asks nothing of the database.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: &'static str,
}

/// The public keys of access tokens, as a JWK Set (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "discovery",
    responses((status = 200, description = "The keys.", body = serde_json::Value)))]
pub(super) async fn jwks(State(service): State<Arc<Service>>) -> Response {
    ([(CACHE_CONTROL, PUBLIC)], Json(service.tokens.jwks(service.clock.now()))).into_response()
}

/// Authorization server metadata (RFC 8414).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "discovery",
    responses((status = 200, description = "The metadata.", body = Metadata)))]
pub(super) async fn oauth_authorization_server(State(service): State<Arc<Service>>) -> Response {
    metadata(&service)
}

/// The same, for clients that look here.
#[utoipa::path(get, path = "/.well-known/openid-configuration", tag = "discovery",
    responses((status = 200, description = "The metadata.", body = Metadata)))]
pub(super) async fn openid_configuration(State(service): State<Arc<Service>>) -> Response {
    metadata(&service)
}

/// Whether the service answers.
#[utoipa::path(get, path = "/health", tag = "discovery",
    responses((status = 200, description = "It does.", body = Health)))]
pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

fn metadata(service: &Service) -> Response {
    let issuer = service.issuer.clone();
    let metadata = Metadata {
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        token_endpoint: format!("{issuer}/oauth2/token"),
        token_endpoint_auth_methods_supported: [BASIC, POST, NONE],
        revocation_endpoint: format!("{issuer}/oauth2/revoke"),
        revocation_endpoint_auth_methods_supported: [BASIC, POST, NONE],
        introspection_endpoint: format!("{issuer}/oauth2/introspect"),
        introspection_endpoint_auth_methods_supported: [BASIC, POST],
        issuer,
        response_types_supported: [],
        grant_types_supported: ["refresh_token"],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: ["ES256"],
    };
    ([(CACHE_CONTROL, PUBLIC)], Json(metadata)).into_response()
}
