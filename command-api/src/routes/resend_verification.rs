use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use chrono::TimeDelta;
use domain::{Command, CommandId, Email, Rejection};
use storage::{Enclosed, ExecuteError, Intent, Loaded, Pretended};
use utoipa::ToSchema;

use super::candidate::Candidate;
use crate::http::{BodyProblems, Client, Fields, Problem};
use crate::service::{Service, new_id};

/// How long a token by which an address is verified is good.
pub(super) const LIFETIME: TimeDelta = TimeDelta::hours(24);

/// A request for another mail with which an address can be verified.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the schema of what is read field by field, so that one answer names every fault"
)]
pub(crate) struct ResendVerification {
    /// The address.
    #[schema(max_length = 254, format = "email", example = "ada@example.com")]
    email: String,
}

/// Has a mail sent with which an address can be verified.
///
/// The answer is the same whether anybody has the address or not, and whether it is verified. The mail's token is good for
/// 24 hours. At most three mails an hour and ten a day are sent to one address; beyond that nothing is sent, and the answer
/// is the same.
// Whoever is verified gets no mail, and it counts as one to them nevertheless. A change of address shows to whoever asks
// for it whether there were too many mails to the other one, and so must not show who has that.
#[utoipa::path(
    post, path = "/email/verify/resend", tag = "accounts", request_body = ResendVerification,
    responses(
        (status = 202, description = "If somebody has the address and has not verified it, a mail is on its way to it, \
            unless there were too many already."),
        BodyProblems,
    ),
)]
pub(super) async fn resend_verification(
    State(service): State<Arc<Service>>,
    client: Client,
    mut fields: Fields,
) -> Result<StatusCode, Problem> {
    let now = service.clock.now();
    let email = fields.required("email", Email::parse);
    let email = fields.finish(email)?;

    let mut candidate = Candidate::find(&service, &email).await?;
    candidate.read_to_the_end(&service).await?;
    let user = candidate.user;
    let Some(mut loaded) = candidate.loaded.filter(is_unverified) else {
        // Word for word what is logged for somebody: who reads the log could otherwise tell.
        match service.store.pretend_mail(&candidate.guessed, now).await? {
            Pretended::Sent => tracing::info!(%user, "asked for a verification"),
            Pretended::TooManyMails => tracing::warn!(%user, "asked for a verification too often"),
        }
        return Ok(StatusCode::ACCEPTED);
    };
    let intent = Intent {
        command: Command::RequestEmailVerification { email, ends: now + LIFETIME },
        id: CommandId::new(new_id(now)?),
        at: now,
        address: client.address,
        agent: client.agent,
        enclosed: Enclosed::Nothing,
    };
    match service.store.execute(&mut loaded, &intent).await {
        // The address was let go of meanwhile.
        Ok(_) | Err(ExecuteError::Rejected(Rejection::CredentialMismatch | Rejection::NotRegistered)) => {
            tracing::info!(%user, "asked for a verification");
        }
        Err(ExecuteError::TooManyMails(_)) => tracing::warn!(%user, "asked for a verification too often"),
        Err(error) => return Err(error.into()),
    }
    Ok(StatusCode::ACCEPTED)
}

fn is_unverified(loaded: &Loaded) -> bool {
    loaded.snapshot().user.account().is_some_and(|account| !account.email_verified)
}
