use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use chrono::{DateTime, SecondsFormat, Utc};
use domain::{Command, CommandId, SessionId, Version};
use serde::Serialize;
use storage::{Enclosed, Intent, ListedSession};
use utoipa::ToSchema;

use super::acting::acting;
use super::fresh::is_fresh;
use crate::http::{Bearer, Client, Problem, ProblemBody, SessionProblems};
use crate::service::{Service, new_id};
use crate::tokens::Verified;

/// The sessions of a user.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionList {
    /// Those that are alive, the oldest first.
    sessions: Vec<SessionItem>,
}

/// A session.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionItem {
    /// The session.
    #[schema(format = Uuid)]
    session_id: String,
    /// Whether it is the one that asks.
    current: bool,
    /// The `User-Agent` that signed in, as far as it was kept.
    client: Option<String>,
    /// The network address it signed in from.
    address: Option<String>,
    /// When it began. RFC 3339.
    #[schema(format = DateTime)]
    signed_in_at: String,
    /// When it was last refreshed; null if never. RFC 3339.
    #[schema(format = DateTime)]
    refreshed_at: Option<String>,
    /// When it ends unless it is refreshed. RFC 3339.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// The sessions of whoever asks.
#[utoipa::path(
    get, path = "/me/sessions", tag = "sessions", security(("bearer" = [])),
    responses(
        (status = 200, description = "The sessions that are alive.", body = SessionList, links(
            ("end" = (operation_id = "end_session",
                parameters(("path.session_id" = "$response.body#/sessions/0/session_id")),
                description = "The end of the oldest session; of any other in the same way.")),
        )),
        SessionProblems,
    ),
)]
pub(super) async fn sessions(
    State(service): State<Arc<Service>>,
    Bearer(bearer): Bearer,
) -> Result<Json<SessionList>, Problem> {
    let now = service.clock.now();
    // To the end of the log: one who looks for a stranger's session is not shown a view from before it began.
    let read = service.store.read_acting(bearer.user, bearer.session, Version::MAX, now).await?;
    let snapshot = read.ok_or(Problem::BadToken)?;
    let account = snapshot.user.account().ok_or(Problem::BadToken)?;
    let known: Vec<SessionId> = account.sessions.iter().map(|live| live.id).collect();
    let alive = service.store.sessions.alive(bearer.user, &known, now).await?;
    Ok(Json(SessionList { sessions: alive.into_iter().map(|session| item(session, &bearer)).collect() }))
}

/// Ends all other sessions of whoever asks.
///
/// Needs a sign-in of the last five minutes.
#[utoipa::path(
    delete, path = "/me/sessions", tag = "sessions", security(("bearer" = [])),
    responses(
        (status = 204, description = "There is no other session."),
        SessionProblems,
        (status = 401, description = "No access token, one that is not good, one whose session has ended, or one \
            whose sign-in is more than five minutes ago.",
            body = ProblemBody, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String,
                description = "With `insufficient_user_authentication` and `max_age` if the sign-in is too old."))),
    ),
)]
pub(super) async fn end_other_sessions(
    State(service): State<Arc<Service>>,
    Bearer(bearer): Bearer,
    client: Client,
) -> Result<StatusCode, Problem> {
    let now = service.clock.now();
    let (mut loaded, session) = acting(&service, &bearer, now).await?;
    is_fresh(&session, now)?;
    let command = Command::EndOtherSessions { acting: bearer.session };
    let enclosed = Enclosed::LastingSession(bearer.session);
    service.store.execute(&mut loaded, &intent(command, enclosed, client, now)?).await?;
    tracing::info!(user = %bearer.user, session = %bearer.session, "ended all other sessions");
    Ok(StatusCode::NO_CONTENT)
}

/// Ends one session of whoever asks.
///
/// Another than the one that asks needs a sign-in of the last five minutes.
#[utoipa::path(
    delete, path = "/me/sessions/{session_id}", tag = "sessions", security(("bearer" = [])),
    params(("session_id" = String, Path, format = Uuid, description = "The session to end.")),
    responses(
        (status = 204, description = "The session has ended."),
        SessionProblems,
        (status = 401, description = "No access token, one that is not good, one whose session has ended, or one \
            whose sign-in is more than five minutes ago.",
            body = ProblemBody, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String,
                description = "With `insufficient_user_authentication` and `max_age` if the sign-in is too old."))),
        (status = 404, description = "None of the user's sessions that are alive.",
            body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn end_session(
    State(service): State<Arc<Service>>,
    Bearer(bearer): Bearer,
    id: Result<Path<String>, PathRejection>,
    client: Client,
) -> Result<StatusCode, Problem> {
    let now = service.clock.now();
    let (mut loaded, session) = acting(&service, &bearer, now).await?;
    // What is no text, or no id, is none of theirs.
    let ended: Option<SessionId> = id.ok().and_then(|Path(id)| id.parse().ok());
    let ended = ended.ok_or(Problem::NotFound)?;
    let intent = if ended == bearer.session {
        intent(Command::SignOut { session: ended }, Enclosed::ActingSession, client, now)?
    } else {
        is_fresh(&session, now)?;
        if service.store.sessions.alive(bearer.user, &[ended], now).await?.is_empty() {
            return Err(Problem::NotFound);
        }
        let command = Command::EndSession { acting: bearer.session, session: ended };
        intent(command, Enclosed::LastingSession(bearer.session), client, now)?
    };
    let appended = service.store.execute(&mut loaded, &intent).await?;
    if appended.version.is_none() && ended != bearer.session {
        return Err(Problem::NotFound);
    }
    tracing::info!(user = %bearer.user, session = %ended, by = %bearer.session, "ended a session");
    Ok(StatusCode::NO_CONTENT)
}

fn intent(
    command: Command,
    enclosed: Enclosed,
    client: Client,
    now: DateTime<Utc>,
) -> Result<Intent, Problem> {
    let id = CommandId::new(new_id(now)?);
    Ok(Intent { command, id, at: now, address: client.address, agent: client.agent, enclosed })
}

fn item(listed: ListedSession, bearer: &Verified) -> SessionItem {
    let millis = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let seconds = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    SessionItem {
        session_id: listed.session.id.to_string(),
        current: listed.session.id == bearer.session,
        client: listed.agent,
        address: listed.address,
        signed_in_at: seconds(listed.session.auth_time),
        refreshed_at: listed.refreshed.map(millis),
        expires_at: seconds(listed.expires),
    }
}
