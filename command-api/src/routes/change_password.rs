use std::sync::Arc;

use aws_lc_rs::rand;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Command, CommandId, CredentialId, NewPassword, PresentedPassword, Rejection, VerifiedPassword};
use storage::{Enclosed, ExecuteError, Intent, Loaded};
use utoipa::ToSchema;

use super::acting::acting;
use super::candidate::{Attempt, Candidate, verified_again};
use super::fresh::is_fresh;
use crate::http::{Bearer, BodyProblems, Client, Fields, Invalid, Problem, ProblemBody, SessionProblems};
use crate::passwords::{KnownWords, judge};
use crate::service::{Service, new_id};

/// A change of password.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the schema of what is read field by field, so that one answer names every fault"
)]
pub(crate) struct ChangePassword {
    /// The password as it is.
    #[schema(max_length = 1024, format = Password, example = "correct horse battery")]
    current_password: String,
    /// The password as it is to be: at least 15 characters, of any kind, and not easy to guess.
    #[schema(min_length = 15, max_length = 1024, format = Password, example = "staple of another horse")]
    new_password: String,
}

/// Changes the password of whoever asks, and ends all their other sessions.
///
/// The session must come of a sign-in in the last five minutes. A wrong current password is named like any other field
/// that is not acceptable, and counts as a failed attempt to sign in: too many get 429 here as there. Whoever got 503,
/// tries again and is told that the current password is wrong may find that the first try was carried out. After 100
/// failed attempts the current password is disabled, and not looked at here either, until it is reset by mail.
///
/// Each change is told to the user by mail. As long as nobody has shown that the address is theirs, that may be a stranger,
/// and there are at most three changes an hour and ten a day: beyond that there is 429, of the type
/// `urn:annals:problem:too-many-mails`, until the address is verified or some time has passed.
// A wrong current password is a field to be mended, hence 422: with 401 clients would throw good tokens away, and with
// 403 say that something is forbidden. The new password may be the current one. No rule is against it, the other
// sessions end, and nothing is learnt that the current password did not tell.
//
// Whoever has changed it too often is told so before the current password is looked at: it costs no hash, counts as no guess,
// and says nothing of the password. Of many at once some get as far as the transaction, which is what counts, and exactly.
#[utoipa::path(
    post, path = "/me/password", tag = "accounts", security(("bearer" = [])), request_body = ChangePassword,
    responses(
        (status = 204, description = "The password is changed, and all other sessions are ended."),
        BodyProblems,
        SessionProblems,
        (status = 401, description = "No access token, one that is not good, one whose session has ended, or one \
            whose sign-in is more than five minutes ago.",
            body = ProblemBody, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String,
                description = "With `insufficient_user_authentication` and `max_age` if the sign-in is too old."))),
        (status = 429, description = "Too many failed attempts; or too many changes while nobody has shown that the \
            address is theirs.",
            body = ProblemBody, content_type = "application/problem+json",
            headers(("Retry-After" = u64, description = "Seconds until the next attempt is evaluated."))),
    ),
)]
pub(super) async fn change_password(
    State(service): State<Arc<Service>>,
    Bearer(bearer): Bearer,
    client: Client,
    mut fields: Fields,
) -> Result<StatusCode, Problem> {
    let now = service.clock.now();
    let current = fields.required("current_password", PresentedPassword::parse);
    let new = fields.required("new_password", NewPassword::parse);
    let (current, new) = fields.finish(current.zip(new))?;

    // Before the attempt is counted: one that is turned away is none.
    let _place = service.passwords.place().ok_or_else(Problem::overloaded)?;
    let (mut loaded, session) = acting(&service, &bearer, now).await?;
    is_fresh(&session, now)?;
    may_be_set(&service, &mut loaded, &new).await?;
    may_be_told(&service, &mut loaded, now).await?;
    let mut candidate = Candidate::signed_in(loaded);
    let attempt = candidate.count(&service, now).await?;
    let good = candidate.passes(&service, attempt, &current).await?;
    if !good {
        let disabled = candidate.is_disabled();
        candidate.failed(&service, &client, attempt, now).await?;
        let looked_at = matches!(attempt, Attempt::Counted(_)) && !disabled;
        return Err(if looked_at { wrong(bearer.user) } else { self::disabled(bearer.user) });
    }
    let (Some(mut loaded), Attempt::Counted(attempt)) = (candidate.loaded, attempt) else {
        return Err(wrong(bearer.user));
    };

    let mut salt = [0; 16];
    rand::fill(&mut salt)?;
    let phc = service.passwords.hash(&new, salt).await?;
    let id = CommandId::new(new_id(now)?);
    let replacement = CredentialId::new(new_id(now)?);
    let mut verified = loaded.vault().map(|vault| vault.credential);
    let mut looked_again = false;
    loop {
        let Some(credential) = verified else { return Err(wrong(bearer.user)) };
        let intent = Intent {
            command: Command::ChangePassword {
                session: bearer.session,
                verified: VerifiedPassword { credential, attempt, device: None },
                credential: replacement,
            },
            id,
            at: now,
            address: client.address.clone(),
            agent: client.agent.clone(),
            enclosed: Enclosed::NewVerifier { verifier: phc.clone(), acting: bearer.session },
        };
        match service.store.execute(&mut loaded, &intent).await {
            Ok(_) => break,
            // Somebody else changed it while this one was checked. As in a sign-in, look once more.
            Err(ExecuteError::Rejected(Rejection::CredentialMismatch)) if !looked_again => {
                looked_again = true;
                verified = verified_again(&service, &loaded, credential, &current).await?;
            }
            Err(ExecuteError::Rejected(Rejection::CredentialMismatch)) => return Err(wrong(bearer.user)),
            Err(ExecuteError::Rejected(Rejection::PasswordDisabled)) => return Err(disabled(bearer.user)),
            Err(error) => return Err(error.into()),
        }
    }
    tracing::info!(user = %bearer.user, session = %bearer.session, "password changed");
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses a password that is easy to guess. What the user is called a view may not know yet, or no longer: who is
/// refused was looked at in their log.
pub(super) async fn may_be_set(
    service: &Service,
    loaded: &mut Loaded,
    new: &NewPassword,
) -> Result<(), Problem> {
    let judged = |loaded: &Loaded| {
        let account = loaded.snapshot().user.account();
        let email = account.and_then(|account| account.email.as_ref());
        let name = account.and_then(|account| account.name.as_ref());
        judge(new, &KnownWords { email, name, issuer: &service.issuer })
    };
    if loaded.snapshot().user.account().is_some() && judged(loaded).is_ok() {
        return Ok(());
    }
    service.store.freshen(loaded).await?;
    judged(loaded).map_err(|guessable| {
        let detail = guessable.to_string();
        Problem::Invalid(vec![Invalid { field: "new_password".to_owned(), detail }])
    })
}

/// Refuses a change that would be one too many to be told to an address that nobody has shown to be the user's. That they
/// have not, an old view may say of one who has since: who is refused was looked at in their log.
async fn may_be_told(service: &Service, loaded: &mut Loaded, now: DateTime<Utc>) -> Result<(), Problem> {
    let unverified =
        |loaded: &Loaded| loaded.snapshot().user.account().is_some_and(|account| !account.email_verified);
    if !unverified(loaded) {
        return Ok(());
    }
    let user = loaded.user();
    let wait = service.store.sessions.wait_before_change(user, now).await?;
    if wait <= TimeDelta::zero() {
        return Ok(());
    }
    service.store.freshen(loaded).await?;
    if !unverified(loaded) {
        return Ok(());
    }
    tracing::warn!(%user, "changed the password too often for an address that is not verified");
    Err(Problem::TooManyMails(wait))
}

/// Nobody is told more than the mail says that goes out when a password is disabled: they act in a session.
fn disabled(user: domain::UserId) -> Problem {
    tracing::info!(%user, "a change of password failed: the current one is disabled");
    let detail = "is disabled after too many failed attempts, until it is reset by mail".to_owned();
    Problem::Invalid(vec![Invalid { field: "current_password".to_owned(), detail }])
}

fn wrong(user: domain::UserId) -> Problem {
    tracing::info!(%user, "a change of password failed: the current one is wrong");
    let detail = "is not the current password".to_owned();
    Problem::Invalid(vec![Invalid { field: "current_password".to_owned(), detail }])
}
