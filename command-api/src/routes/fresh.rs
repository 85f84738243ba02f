use chrono::{DateTime, TimeDelta, Utc};
use storage::Session;

use crate::http::Problem;

/// For so long after a sign-in its session may change what protects the account. The challenge of
/// [`Problem::SignInTooOld`] names it, too.
const FRESH_FOR: TimeDelta = TimeDelta::minutes(5);

/// Refuses a session whose sign-in is too long ago. Refreshing does not renew it. [RFC 9470]
pub(super) fn is_fresh(session: &Session, now: DateTime<Utc>) -> Result<(), Problem> {
    // In whole seconds, as the session has it: from its beginning to the end of the last second.
    let age = now.timestamp().saturating_sub(session.auth_time.timestamp());
    if age <= FRESH_FOR.num_seconds() { Ok(()) } else { Err(Problem::SignInTooOld) }
}
