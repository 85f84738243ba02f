use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;
use axum::response::Response;
use domain::{Command, CommandId, DisplayName, Version};
use storage::{Enclosed, Intent};
use utoipa::ToSchema;

use super::acting::acting;
use super::me::{Profile, shown};
use crate::http::{Bearer, BodyProblems, Client, Fields, Problem, ProblemBody, SessionProblems};
use crate::service::{Service, new_id};

/// What is to be changed. What is left out stays; null takes away. [RFC 7396]
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the schema of what is read field by field, so that one answer names every fault"
)]
pub(crate) struct ProfilePatch {
    /// What the user wants to be called: at most 200 characters, not counting white space around them.
    #[schema(
        min_length = 1,
        example = "Ada Lovelace",
        pattern = r"^\s*[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]{0,198}[^\s\x00-\x1f\x7f-\x9f])?\s*$"
    )]
    name: Option<String>,
}

/// Changes the profile of whoever asks.
///
/// With `If-Match`, only if the profile is still the one with that `ETag`. Whoever asks for what is so already has it,
/// whatever `If-Match` says, so that a change whose answer was lost can be asked for again. [RFC 9110, section 13.1.1]
#[utoipa::path(
    patch, path = "/me", tag = "accounts", security(("bearer" = [])),
    request_body(content(
        (ProfilePatch = "application/merge-patch+json"),
        (ProfilePatch = "application/json"),
    )),
    params(("If-Match" = Option<String>, Header,
        description = "`*`, or the `ETag` of the profile that is to be changed, or several with commas between.")),
    responses(
        (status = 200, description = "The profile as it is now.", body = Profile, headers(
            ("ETag" = String, description = "The version of the last commit that changed the profile."),
            ("Annals-Version" = u64, description = "The version of the log that this shows."),
        )),
        (status = 412, description = "The profile has changed since.", body = ProblemBody,
            content_type = "application/problem+json"),
        BodyProblems,
        SessionProblems,
    ),
)]
pub(super) async fn patch_me(
    State(service): State<Arc<Service>>,
    Bearer(bearer): Bearer,
    client: Client,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let now = service.clock.now();
    let name = fields.patched("name", DisplayName::parse);
    let replacing = if_match(&headers).unwrap_or_else(|fault| {
        fields.refuse("If-Match", fault);
        None
    });
    fields.finish(Some(()))?;

    let (mut loaded, _) = acting(&service, &bearer, now).await?;
    let Some(name) = name else {
        // Nothing is asked for; the view may be old, and so is not the answer.
        service.store.freshen(&mut loaded).await?;
        return shown(bearer.user, loaded.snapshot());
    };
    let intent = Intent {
        command: Command::Rename { session: bearer.session, name, replacing },
        id: CommandId::new(new_id(now)?),
        at: now,
        address: client.address,
        agent: client.agent,
        enclosed: Enclosed::Nothing,
    };
    let appended = service.store.execute(&mut loaded, &intent).await?;
    if appended.version.is_some() {
        tracing::info!(user = %bearer.user, "renamed");
    }
    shown(bearer.user, &appended.snapshot)
}

/// The versions of the profile that `If-Match` lets be changed; `None` if any may. What is a tag and no version of
/// ours matches nothing, as do weak tags.
fn if_match(headers: &HeaderMap) -> Result<Option<Vec<Version>>, &'static str> {
    let mut versions = None;
    for value in headers.get_all(IF_MATCH) {
        let value = value.to_str().map_err(|_| "must have only visible ASCII characters")?;
        if value.trim() == "*" {
            continue;
        }
        let versions = versions.get_or_insert_with(Vec::new);
        for tag in value.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            let strong = tag.strip_prefix("W/").unwrap_or(tag);
            let opaque = strong.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            let opaque =
                opaque.filter(|tag| !tag.contains('"')).ok_or("must be `*` or entity tags in quotes")?;
            let canonical = opaque.parse().ok().filter(|number: &u64| number.to_string() == opaque);
            versions.extend(canonical.filter(|_| strong == tag).map(Version::new));
        }
    }
    Ok(versions)
}
