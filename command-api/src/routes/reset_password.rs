use std::sync::Arc;

use aws_lc_rs::rand;
use axum::extract::State;
use axum::http::StatusCode;
use domain::{Command, CommandId, CredentialId, Email, NewPassword, Rejection, Version};
use storage::one_time::{Bound, OneTimePurpose, OneTimeToken};
use storage::{Enclosed, ExecuteError, Intent, Loaded};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::change_password::may_be_set;
use crate::http::{BodyProblems, Client, Fields, Problem, ProblemBody};
use crate::service::{Service, new_id};

/// A reset of a password.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the schema of what is read field by field, so that one answer names every fault"
)]
pub(crate) struct ResetPassword {
    /// The token from the mail.
    #[schema(
        example = "0a1b2c3d.reset.AZMAAAAAcACAAABQAAAAAQAAaypmQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    )]
    token: String,
    /// The password as it is to be: at least 15 characters, of any kind, and not easy to guess.
    #[schema(min_length = 15, max_length = 1024, format = Password, example = "staple of another horse")]
    new_password: String,
}

/// Sets another password by the token from a mail, and ends all sessions.
///
/// It signs nobody in. It shows that the address is the user's, and lets them in again after too many failed attempts. The
/// token is good for ten minutes and once, and void as soon as the password or the address changes; a new password that is
/// refused does not spend it. Whoever got 503 or no answer, tries again and is told that the token is not good may find
/// that the first try was carried out: then the new password is good.
// The token is looked at before the new password is hashed, and it is bound to the credential: what takes effect voids it.
#[utoipa::path(
    post, path = "/password/reset", tag = "accounts", request_body = ResetPassword,
    responses(
        (status = 204, description = "The password is set, and all sessions are ended."),
        BodyProblems,
        (status = 400, description = "The body is not JSON; or the token is none of ours or for something else, past \
            its end, spent, or void since the password or the address changed.",
            body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn reset_password(
    State(service): State<Arc<Service>>,
    client: Client,
    mut fields: Fields,
) -> Result<StatusCode, Problem> {
    let now = service.clock.now();
    let token = fields.required("token", |text| Ok(Zeroizing::new(text.to_owned())));
    let new = fields.required("new_password", NewPassword::parse);
    let (token, new) = fields.finish(token.zip(new))?;

    let token = service.store.one_time.parse(&token, OneTimePurpose::PasswordReset).map_err(|reason| {
        tracing::info!(%reason, "a one-time token was refused");
        Problem::BadOneTimeToken
    })?;
    let user = token.user();
    if token.has_ended(now) {
        return Err(not_good(&token, "past its end"));
    }
    let _place = service.passwords.place().ok_or_else(Problem::overloaded)?;
    let loaded = service.store.load(user).await?;
    let mut loaded = loaded.ok_or_else(|| not_good(&token, "of nobody"))?;
    let (email, since, replacing) = bound(&service, &mut loaded, &token).await?;
    may_be_set(&service, &mut loaded, &new).await?;

    let mut salt = [0; 16];
    rand::fill(&mut salt)?;
    let verifier = service.passwords.hash(&new, salt).await?;
    let base = base(&service, &mut loaded).await?;
    let intent = Intent {
        command: Command::ResetPassword {
            email,
            since,
            replacing,
            credential: CredentialId::new(new_id(now)?),
            base,
        },
        id: CommandId::new(new_id(now)?),
        at: now,
        address: client.address,
        agent: client.agent,
        enclosed: Enclosed::Verifier(verifier),
    };
    match service.store.execute(&mut loaded, &intent).await {
        Ok(_) => {
            tracing::info!(%user, "password reset");
            Ok(StatusCode::NO_CONTENT)
        }
        Err(ExecuteError::Rejected(Rejection::CredentialMismatch | Rejection::NotRegistered)) => {
            Err(not_good(&token, "spent or void"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The last attempt that was counted, which the reset makes the last that counts. What was made up does not get into the
/// log.
async fn base(service: &Service, loaded: &mut Loaded) -> Result<u64, Problem> {
    let last_success =
        |loaded: &Loaded| loaded.snapshot().user.account().map_or(0, |account| account.last_success);
    let known = last_success(loaded);
    if let Some(base) = service.store.guesses.counted(loaded.user(), known).await? {
        return Ok(base);
    }
    service.store.freshen(loaded).await?;
    let known = last_success(loaded);
    Ok(service.store.guesses.counted(loaded.user(), known).await?.unwrap_or(known))
}

/// The address, since when it is theirs, and the credential that the token was made for, if they are the user's. A view may
/// not know it yet, or not any more: who is refused was looked at in their log.
async fn bound(
    service: &Service,
    loaded: &mut Loaded,
    token: &OneTimeToken,
) -> Result<(Email, Option<Version>, CredentialId), Problem> {
    let bound = |loaded: &Loaded| {
        let account = loaded.snapshot().user.account()?;
        let (email, credential) = (account.email.as_ref()?, account.credential);
        let since = account.email_since;
        let binds = service.store.one_time.binds(token, &Bound::PasswordReset { email, credential, since });
        binds.then(|| (email.clone(), since, credential))
    };
    if let Some(bound) = bound(loaded) {
        return Ok(bound);
    }
    service.store.freshen(loaded).await?;
    bound(loaded).ok_or_else(|| not_good(token, "spent or void"))
}

fn not_good(token: &OneTimeToken, reason: &'static str) -> Problem {
    tracing::info!(user = %token.user(), reason, "a one-time token was refused");
    Problem::BadOneTimeToken
}
