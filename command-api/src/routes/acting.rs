use chrono::{DateTime, Utc};
use storage::{Loaded, Session};

use crate::http::Problem;
use crate::service::Service;
use crate::tokens::Verified;

/// Whoever bears the token, loaded to decide about, with the session they act in, in one request.
///
/// # Errors
/// [`Problem::BadToken`] if the session has ended.
pub(super) async fn acting(
    service: &Service,
    bearer: &Verified,
    now: DateTime<Utc>,
) -> Result<(Loaded, Session), Problem> {
    match service.store.load_acting(bearer.user, Some((bearer.session, now))).await? {
        Some((loaded, Some(session))) => Ok((loaded, session)),
        Some((_, None)) | None => Err(Problem::BadToken),
    }
}
