use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use domain::{Command, CommandId, SessionId, UserId};
use storage::{Enclosed, Intent};
use utoipa::ToSchema;

use super::{Known, known};
use crate::http::{Client, Credentials, Form, OauthProblem, OauthProblems, Problem};
use crate::service::{Service, new_id};

/// A revocation. [RFC 7009, section 2.1]
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what is read parameter by parameter")]
pub(crate) struct RevokeRequest {
    /// A refresh token or an access token.
    #[schema(min_length = 1)]
    token: String,
    /// `refresh_token` or `access_token`; not needed.
    token_type_hint: Option<String>,
    /// The client, if it shows no secret or shows it here.
    #[schema(max_length = 32, example = "annals")]
    client_id: Option<String>,
    /// The client's secret, unless it is in the header.
    client_secret: Option<String>,
}

/// Revokes a token, and with it its session and every other token of that.
///
/// An access token is as good as its session: to revoke one is to end it. A token that is none, or whose session has
/// ended, is revoked already. One that was issued to another client is not revoked.
#[utoipa::path(
    post, path = "/oauth2/revoke", tag = "oauth", operation_id = "oauth_revoke", security((), ("client" = [])),
    request_body(content = RevokeRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The token is good for nothing."), OauthProblems),
)]
pub(in super::super) async fn revoke(
    State(service): State<Arc<Service>>,
    credentials: Credentials,
    client: Client,
    mut form: Form,
) -> Result<StatusCode, OauthProblem> {
    let caller = credentials.authenticate(&service.clients, &mut form)?;
    let token = form.take("token").ok_or(OauthProblem::Missing("token is required"))?;
    if !caller.may.revoke {
        return Err(OauthProblem::UnauthorizedClient);
    }
    let (user, session, is_theirs) = match known(&service, &token) {
        None => return Ok(StatusCode::OK),
        Some(Known::Refresh(token)) => (token.user(), token.session(), *token.client() == caller.id),
        Some(Known::Access(said)) => {
            (said.bearer.user, said.bearer.session, said.client == caller.id.as_str())
        }
    };
    if !is_theirs {
        return Err(OauthProblem::InvalidGrant);
    }
    end(&service, user, session, client).await?;
    Ok(StatusCode::OK)
}

/// Ends a session, alive or not: a token of it that has been spent is no sign of theft here, but of an answer that its
/// client never got.
async fn end(service: &Service, user: UserId, session: SessionId, client: Client) -> Result<(), Problem> {
    let Some(mut loaded) = service.store.load(user).await? else { return Ok(()) };
    let now = service.clock.now();
    let intent = Intent {
        command: Command::SignOut { session },
        id: CommandId::new(new_id(now)?),
        at: now,
        address: client.address,
        agent: client.agent,
        enclosed: Enclosed::Nothing,
    };
    service.store.execute(&mut loaded, &intent).await?;
    tracing::info!(%user, %session, "a token was revoked, and its session ended");
    Ok(())
}
