use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use chrono::SecondsFormat;
use domain::{DisplayName, SessionId, UserEvent, Version};
use serde::Serialize;
use storage::{Commit, Recorded};
use utoipa::ToSchema;

use super::acting::acting;
use crate::http::{Bearer, Problem, ProblemBody, SessionProblems, number};
use crate::service::Service;

/// So many commits a page, unless it is said.
const PAGE: u8 = 20;
/// No page has more.
const LONGEST_PAGE: u8 = 100;

/// A part of a user's history.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventList {
    /// What happened, the newest first.
    events: Vec<EventItem>,
    /// What `before` is to say for the page after this one; null if this is the last.
    #[schema(minimum = 2)]
    next: Option<u64>,
}

/// Something that happened to a user. These are public names, which stay as they are; how it is stored is another matter.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventItem {
    /// The version of the user's log with it. What happened together has the same.
    #[schema(minimum = 1)]
    version: u64,
    /// When. RFC 3339.
    #[schema(format = DateTime)]
    at: String,
    /// What.
    #[serde(rename = "type")]
    kind: Kind,
    /// The `User-Agent` that it was asked for with.
    client: Option<String>,
    /// The network address that it was asked for from.
    address: Option<String>,
    /// The session that it began or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    session_id: Option<String>,
    /// The other sessions that it ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ended_session_ids: Vec<String>,
    /// The address that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "email")]
    email: Option<String>,
    /// What the user is called from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// What happens to a user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// The user registered.
    Registered,
    /// A password began a session.
    SignedIn,
    /// The user is called otherwise, or by no name.
    NameChanged,
    /// The user took another password, and all other sessions ended.
    PasswordChanged,
    /// A session ended, by itself or by a client that revoked a token of it.
    SignedOut,
    /// A session was ended from another one.
    SessionEnded,
    /// All sessions but one were ended from that one.
    OtherSessionsEnded,
    /// A refresh token that had been spent came back: somebody had a copy. Its session ended.
    RefreshTokenReused,
}

/// The history of whoever asks, the newest first: sign-ins, and changes of credentials, name and sessions.
///
/// Read from the log itself: what was answered is in it. A page that holds something unreadable is refused with 500, and
/// nothing is left out of any.
#[utoipa::path(
    get, path = "/me/events", tag = "accounts", operation_id = "events", security(("bearer" = [])),
    params(
        ("before" = Option<u64>, Query, format = "uint64", minimum = 1,
            maximum = 18_446_744_073_709_551_615_u64, description = "Only what is of an earlier version than this."),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 100,
            description = "So many versions at most; 20 unless it is said."),
    ),
    responses(
        (status = 200, description = "A page of the history.", body = EventList, links(
            ("next" = (operation_id = "events", parameters(("query.before" = "$response.body#/next")),
                description = "What happened before that.")),
        )),
        (status = 422, description = "`before` or `limit` is not a number, or not one of those that are taken.",
            body = ProblemBody, content_type = "application/problem+json"),
        SessionProblems,
    ),
)]
pub(super) async fn events(
    State(service): State<Arc<Service>>,
    Bearer(bearer): Bearer,
    RawQuery(query): RawQuery,
) -> Result<Json<EventList>, Problem> {
    let before = number(query.as_deref(), "before", 1..=u64::MAX, "must be one version, as a decimal number");
    let limit = number(query.as_deref(), "limit", 1..=LONGEST_PAGE.into(), "must be a number from 1 to 100");
    let (before, limit) = match (before, limit) {
        (Ok(before), Ok(limit)) => (before.map(Version::new), limit),
        (before, limit) => {
            return Err(Problem::Invalid(before.err().into_iter().chain(limit.err()).collect()));
        }
    };
    let limit = limit.and_then(|limit| u8::try_from(limit).ok()).unwrap_or(PAGE);
    let (loaded, _) = acting(&service, &bearer, service.clock.now()).await?;
    let commits = service.store.look_back(&loaded, before, limit).await?;
    let oldest = commits.last().map(|commit| commit.version);
    Ok(Json(EventList {
        events: commits.iter().flat_map(items).collect(),
        next: oldest.filter(|oldest| *oldest > Version::NONE.next()).map(Version::number),
    }))
}

/// What a commit says, the last first.
fn items(commit: &Commit) -> impl Iterator<Item = EventItem> {
    commit.events.iter().rev().map(|recorded| item(commit, recorded))
}

fn item(commit: &Commit, recorded: &Recorded) -> EventItem {
    let ids = |sessions: &[SessionId]| sessions.iter().map(ToString::to_string).collect();
    let text = |name: &Option<DisplayName>| name.as_ref().map(|name| name.as_str().to_owned());
    let mut item = EventItem {
        version: commit.version.number(),
        at: commit.at.to_rfc3339_opts(SecondsFormat::Millis, true),
        kind: Kind::Registered,
        client: recorded.meta.agent.clone(),
        address: recorded.meta.address.clone(),
        session_id: None,
        ended_session_ids: Vec::new(),
        email: None,
        name: None,
    };
    match &recorded.event {
        UserEvent::UserRegistered { email, name, credential: _ } => {
            item.email = Some(email.as_str().to_owned());
            item.name = text(name);
        }
        UserEvent::UserSignedIn { session, ends: _, password: _, evicted, lapsed: _ } => {
            item.kind = Kind::SignedIn;
            item.session_id = Some(session.to_string());
            item.ended_session_ids = ids(evicted.as_slice());
        }
        UserEvent::UserRenamed { name } => {
            item.kind = Kind::NameChanged;
            item.name = text(name);
        }
        UserEvent::UserPasswordChanged { credential: _, password: _, ended } => {
            item.kind = Kind::PasswordChanged;
            item.ended_session_ids = ids(ended);
        }
        UserEvent::UserSignedOut { session } => {
            item.kind = Kind::SignedOut;
            item.session_id = Some(session.to_string());
        }
        UserEvent::UserEndedSession { session } => {
            item.kind = Kind::SessionEnded;
            item.session_id = Some(session.to_string());
        }
        UserEvent::UserEndedOtherSessions { ended } => {
            item.kind = Kind::OtherSessionsEnded;
            item.ended_session_ids = ids(ended);
        }
        UserEvent::RefreshTokenReused { session } => {
            item.kind = Kind::RefreshTokenReused;
            item.session_id = Some(session.to_string());
        }
    }
    item
}
