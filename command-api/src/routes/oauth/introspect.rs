use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Known, known};
use crate::http::{Credentials, Form, OauthProblem, OauthProblems, Problem};
use crate::service::Service;

/// A question about a token. [RFC 7662, section 2.1]
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what is read parameter by parameter")]
pub(crate) struct IntrospectRequest {
    /// A refresh token or an access token.
    #[schema(min_length = 1)]
    token: String,
    /// `refresh_token` or `access_token`; not needed.
    token_type_hint: Option<String>,
    /// The client, if it shows its secret here.
    #[schema(max_length = 32, example = "gateway")]
    client_id: Option<String>,
    /// The client's secret, unless it is in the header.
    client_secret: Option<String>,
}

/// What a token is worth. One that is worth nothing tells nothing else. [RFC 7662, section 2.2]
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct Introspection {
    /// Whether the token is good now: ours, not expired, not spent, and its session alive.
    active: bool,
    /// `Bearer`, for an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// The client that it was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    sub: Option<String>,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    sid: Option<String>,
    /// Who issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    /// For whom it is; of an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    /// Its own id; of an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    /// When it expires, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    /// When it was made, in seconds since 1970; of an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    /// When the user signed in, in seconds since 1970. Refreshing does not renew it.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
}

/// What a token is worth, now.
///
/// Only clients with a secret may ask, if they may introspect. The session is read consistently: a sign-out shows in the
/// very next answer.
#[utoipa::path(
    post, path = "/oauth2/introspect", tag = "oauth", operation_id = "oauth_introspect",
    security(("client" = [])),
    request_body(content = IntrospectRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "What it is worth.", body = Introspection), OauthProblems),
)]
pub(in super::super) async fn introspect(
    State(service): State<Arc<Service>>,
    credentials: Credentials,
    mut form: Form,
) -> Result<Json<Introspection>, OauthProblem> {
    let caller = credentials.authenticate(&service.clients, &mut form)?;
    if caller.id.is_own() {
        // It shows nothing, and so has not shown that it may ask. [RFC 7662, section 2.1]
        return Err(OauthProblem::InvalidClient);
    }
    let token = form.take("token").ok_or(OauthProblem::Missing("token is required"))?;
    if !caller.may.introspect {
        return Err(OauthProblem::UnauthorizedClient);
    }
    Ok(Json(worth(&service, &token).await?))
}

async fn worth(service: &Service, text: &str) -> Result<Introspection, Problem> {
    let now = service.clock.now();
    let sessions = &service.store.sessions;
    let worth = match known(service, text) {
        Some(Known::Refresh(token)) if sessions.goes_on_with(&token, now).await? => Introspection {
            active: true,
            client_id: Some(token.client().to_string()),
            sub: Some(token.user().to_string()),
            sid: Some(token.session().to_string()),
            iss: Some(service.issuer.clone()),
            exp: Some(token.good_until().timestamp()),
            auth_time: Some(token.signed_in_at().timestamp()),
            ..Introspection::default()
        },
        Some(Known::Access(said)) if sessions.lives(said.bearer.user, said.bearer.session, now).await? => {
            Introspection {
                active: true,
                token_type: Some("Bearer"),
                client_id: Some(said.client),
                sub: Some(said.bearer.user.to_string()),
                sid: Some(said.bearer.session.to_string()),
                iss: Some(service.issuer.clone()),
                aud: Some(service.issuer.clone()),
                jti: Some(said.id),
                exp: Some(said.bearer.expires.timestamp()),
                iat: Some(said.issued_at.timestamp()),
                auth_time: Some(said.bearer.auth_time.timestamp()),
            }
        }
        Some(Known::Refresh(_) | Known::Access(_)) | None => Introspection::default(),
    };
    Ok(worth)
}
