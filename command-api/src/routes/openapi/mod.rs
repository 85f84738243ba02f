mod gateway;

use axum::Json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi, Server};

use crate::http::{Invalid, OauthError, ProblemBody};

/// The document's head; its paths come from the routes.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Annals", description = "Accounts: register, sign in, stay signed in, sign out."),
    components(schemas(ProblemBody, Invalid, OauthError))
)]
pub(super) struct Document;

/// The document with what only a running service knows.
pub(super) fn complete(mut document: OpenApi, issuer: &str) -> Json<OpenApi> {
    document.servers = Some(vec![Server::new(issuer)]);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let client = HttpBuilder::new().scheme(HttpAuthScheme::Basic).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    components.add_security_scheme("client", SecurityScheme::Http(client));
    gateway::answers(&mut document);
    Json(document)
}
