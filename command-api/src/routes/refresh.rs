use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::{Command, CommandId};
use serde::Serialize;
use storage::{ClientId, Enclosed, Intent, RefreshToken, Rotation, TokenError};
use telemetry::{Measure, measure};
use utoipa::ToSchema;

use crate::http::{BodyProblems, Client, Fields, Problem, ProblemBody, internal};
use crate::service::{Service, new_id};
use crate::tokens::{AccessClaims, LIFETIME_SECONDS};

/// A refresh.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the schema of what is read field by field, so that one answer names every fault"
)]
pub(crate) struct Refresh {
    /// The refresh token, as it was given.
    refresh_token: String,
}

/// New tokens for a session.
#[derive(Serialize, ToSchema)]
pub(crate) struct Refreshed {
    /// A JWT for the `Authorization` header.
    access_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// How long the access token is good, in seconds.
    expires_in: i64,
    /// Takes the place of the one presented.
    refresh_token: String,
    /// The session.
    #[schema(format = Uuid)]
    session_id: String,
    /// The user.
    #[schema(format = Uuid)]
    user_id: String,
}

/// Exchanges a refresh token for new tokens.
///
/// A spent token presented again within ten seconds by the same client gets the same successor. Later, or by another
/// client, it is taken for stolen, and the session ends.
#[utoipa::path(
    post, path = "/token/refresh", tag = "sessions", request_body = Refresh,
    responses(
        (status = 200, description = "New tokens.", body = Refreshed, links(
            ("profile" = (operation_id = "me",
                parameters(("header.Authorization" = "Bearer {$response.body#/access_token}")),
                description = "The profile.")),
            ("refresh" = (operation_id = "refresh",
                request_body = json!({"refresh_token": "$response.body#/refresh_token"}),
                description = "The next tokens for the session.")),
            ("sign_out" = (operation_id = "logout",
                parameters(("header.Authorization" = "Bearer {$response.body#/access_token}")),
                description = "The end of the session.")),
        )),
        BodyProblems,
        (status = 400, description = "The token is not good, or its session has ended; or the body is not JSON.",
            body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn refresh(
    State(service): State<Arc<Service>>,
    client: Client,
    mut fields: Fields,
) -> Result<Json<Refreshed>, Problem> {
    let presented = fields.required("refresh_token", |text| Ok(service.store.sessions.parse(text)));
    let presented = fields.finish(presented)?;
    Ok(Json(exchange(&service, &ClientId::own(), &presented, client).await?))
}

/// Exchanges a refresh token for new ones, if it is one and was issued to this client.
pub(super) async fn exchange(
    service: &Service,
    issued_to: &ClientId,
    presented: &Result<RefreshToken, TokenError>,
    client: Client,
) -> Result<Refreshed, Problem> {
    let now = service.clock.now();
    let presented = presented.as_ref().map_err(|reason| {
        tracing::info!(%reason, "a refresh token was refused");
        Problem::BadRefreshToken
    })?;
    if presented.client() != issued_to {
        tracing::warn!(user = %presented.user(), by = %issued_to, "a refresh token of another client was refused");
        return Err(Problem::BadRefreshToken);
    }
    let rotated = service.store.sessions.rotate(presented, client.agent.as_deref(), now).await?;
    let (refresh_token, session) = match rotated {
        Rotation::Next { token, session } => (token, session),
        Rotation::Reused => return Err(end(service, presented, client, now).await?),
        Rotation::Ended => return Err(Problem::BadRefreshToken),
    };
    let access_token = service
        .tokens
        .issue_to(
            issued_to.as_str(),
            &AccessClaims {
                user: presented.user(),
                session: session.id,
                auth_time: session.auth_time,
                issued_at: now,
                token: new_id(now)?,
            },
        )
        .map_err(internal)?;
    Ok(Refreshed {
        access_token,
        token_type: "Bearer",
        expires_in: LIFETIME_SECONDS,
        refresh_token,
        session_id: session.id.to_string(),
        user_id: presented.user().to_string(),
    })
}

/// Ends the session of a token of which somebody has a copy.
async fn end(
    service: &Service,
    presented: &RefreshToken,
    client: Client,
    now: DateTime<Utc>,
) -> Result<Problem, Problem> {
    let (user, session) = (presented.user(), presented.session());
    tracing::warn!(%user, %session, "a spent refresh token was presented again; the session ends");
    measure(Measure::RefreshTokenReused);
    if let Some(mut loaded) = service.store.load(user).await? {
        let intent = Intent {
            command: Command::EndReusedSession { session },
            id: CommandId::new(new_id(now)?),
            at: now,
            address: client.address,
            agent: client.agent,
            enclosed: Enclosed::Nothing,
        };
        service.store.execute(&mut loaded, &intent).await?;
    }
    Ok(Problem::BadRefreshToken)
}
