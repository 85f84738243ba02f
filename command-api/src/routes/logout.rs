use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use domain::{Command, CommandId};
use storage::{Enclosed, Intent};

use super::acting::acting;
use crate::http::{Bearer, Client, Problem, SessionProblems};
use crate::service::{Service, new_id};

/// Ends the session of the access token, at once and everywhere.
#[utoipa::path(
    post, path = "/logout", tag = "sessions", security(("bearer" = [])),
    responses((status = 204, description = "Signed out."), SessionProblems),
)]
pub(super) async fn logout(
    State(service): State<Arc<Service>>,
    Bearer(bearer): Bearer,
    client: Client,
) -> Result<StatusCode, Problem> {
    let now = service.clock.now();
    let (mut loaded, _) = acting(&service, &bearer, now).await?;
    let intent = Intent {
        command: Command::SignOut { session: bearer.session },
        id: CommandId::new(new_id(now)?),
        at: now,
        address: client.address,
        agent: client.agent,
        enclosed: Enclosed::ActingSession,
    };
    service.store.execute(&mut loaded, &intent).await?;
    tracing::info!(user = %bearer.user, session = %bearer.session, "signed out");
    Ok(StatusCode::NO_CONTENT)
}
