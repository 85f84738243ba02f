use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::{ETAG, HeaderName};
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use domain::{UserId, Version};
use serde::Serialize;
use storage::Snapshot;
use utoipa::ToSchema;

use crate::http::{Bearer, Problem, ProblemBody, SessionProblems, number};
use crate::service::Service;

/// The version of the log that an answer shows.
const VERSION: HeaderName = HeaderName::from_static("annals-version");

/// A user's profile.
#[derive(Serialize, ToSchema)]
pub(crate) struct Profile {
    /// The user.
    #[schema(format = Uuid)]
    user_id: String,
    /// The address the user signs in with.
    #[schema(format = "email")]
    email: String,
    /// Whether the user has shown that the address is theirs.
    email_verified: bool,
    /// What the user wants to be called.
    name: Option<String>,
    /// `active`.
    status: &'static str,
    /// When the user registered. RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// When the profile last changed. RFC 3339.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// The profile of whoever asks.
///
/// `min_version` asks for at least the version that an answer to a command named: where the read model is not there
/// yet, the log is read. Beyond the end of the log it means the latest.
#[utoipa::path(
    get, path = "/me", tag = "accounts", security(("bearer" = [])),
    params(("min_version" = Option<u64>, Query, format = "uint64", maximum = 18_446_744_073_709_551_615_u64,
        description = "The version to show at least.")),
    responses(
        (status = 200, description = "The profile.", body = Profile, headers(
            ("ETag" = String, description = "The version of the last commit that changed the profile."),
            ("Annals-Version" = u64, description = "The version of the log that this shows."),
        )),
        (status = 422, description = "`min_version` is not a number.",
            body = ProblemBody, content_type = "application/problem+json"),
        SessionProblems,
    ),
)]
pub(super) async fn me(
    State(service): State<Arc<Service>>,
    Bearer(bearer): Bearer,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let at_least = min_version(query.as_deref())?;
    let read = service.store.read_acting(bearer.user, bearer.session, at_least, service.clock.now()).await?;
    let Some(snapshot) = read else { return Err(Problem::BadToken) };
    shown(bearer.user, &snapshot)
}

/// The profile as an answer.
pub(super) fn shown(user: UserId, snapshot: &Snapshot) -> Result<Response, Problem> {
    let Some(account) = snapshot.user.account() else { return Err(Problem::BadToken) };
    let profile = Profile {
        user_id: user.to_string(),
        email: account.email.as_str().to_owned(),
        email_verified: account.email_verified,
        name: account.name.as_ref().map(|name| name.as_str().to_owned()),
        status: "active",
        created_at: account.created_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        updated_at: account.updated_at.to_rfc3339_opts(SecondsFormat::Millis, true),
    };
    let headers =
        [(ETAG, format!("\"{}\"", account.profile_version)), (VERSION, snapshot.head.version.to_string())];
    Ok((headers, Json(profile)).into_response())
}

/// The version to show at least.
fn min_version(query: Option<&str>) -> Result<Version, Problem> {
    let detail = "must be one version, as a decimal number";
    let asked = number(query, "min_version", 0..=u64::MAX, detail);
    let asked = asked.map_err(|invalid| Problem::Invalid(vec![invalid]))?;
    Ok(asked.map_or(Version::NONE, Version::new))
}
