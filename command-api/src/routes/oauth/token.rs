use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::PRAGMA;
use utoipa::ToSchema;

use super::super::refresh::{Refreshed, exchange};
use crate::http::{Client, Credentials, Form, OauthProblem, OauthProblems};
use crate::service::Service;

/// A refresh. [RFC 6749, section 6]
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what is read parameter by parameter")]
pub(crate) struct TokenRequest {
    /// Always `refresh_token`.
    #[schema(pattern = "^refresh_token$", example = "refresh_token")]
    grant_type: String,
    /// The refresh token, as it was given.
    #[schema(min_length = 1)]
    refresh_token: String,
    /// The client, if it shows no secret or shows it here.
    #[schema(max_length = 32, example = "annals")]
    client_id: Option<String>,
    /// The client's secret, unless it is in the header.
    client_secret: Option<String>,
}

/// Exchanges a refresh token for new tokens, as `/token/refresh` does.
///
/// A client that has a secret shows it by Basic authentication or in the form, and may refresh only what was issued to
/// it. Who names no client, or `annals`, may refresh what was issued without one.
#[utoipa::path(
    post, path = "/oauth2/token", tag = "oauth", operation_id = "oauth_token", security((), ("client" = [])),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "New tokens.", body = Refreshed, links(
            ("profile" = (operation_id = "me",
                parameters(("header.Authorization" = "Bearer {$response.body#/access_token}")),
                description = "The profile.")),
            ("refresh" = (operation_id = "oauth_token",
                request_body = json!({"grant_type": "refresh_token",
                    "refresh_token": "$response.body#/refresh_token"}),
                description = "The next tokens for the session.")),
            ("revoke" = (operation_id = "oauth_revoke",
                request_body = json!({"token": "$response.body#/refresh_token"}),
                description = "The end of the session.")),
        )),
        OauthProblems,
    ),
)]
pub(in super::super) async fn token(
    State(service): State<Arc<Service>>,
    credentials: Credentials,
    client: Client,
    mut form: Form,
) -> Result<([(HeaderName, &'static str); 1], Json<Refreshed>), OauthProblem> {
    let caller = credentials.authenticate(&service.clients, &mut form)?;
    let grant = form.take("grant_type").ok_or(OauthProblem::Missing("grant_type is required"))?;
    if *grant != "refresh_token" {
        return Err(OauthProblem::UnsupportedGrantType);
    }
    if !caller.may.refresh {
        return Err(OauthProblem::UnauthorizedClient);
    }
    let presented = form.take("refresh_token").ok_or(OauthProblem::Missing("refresh_token is required"))?;
    if form.take("scope").is_some() {
        return Err(OauthProblem::InvalidScope);
    }
    let presented = service.store.sessions.parse(&presented);
    let refreshed = exchange(&service, &caller.id, &presented, client).await?;
    // Said in both ways, as RFC 6749, section 5.1, has it.
    Ok(([(PRAGMA, "no-cache")], Json(refreshed)))
}
