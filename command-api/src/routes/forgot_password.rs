use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use chrono::TimeDelta;
use domain::{Command, CommandId, Email, Rejection};
use storage::{Enclosed, ExecuteError, Guessed, Intent, Pretended};
use utoipa::ToSchema;

use super::candidate::Candidate;
use crate::http::{BodyProblems, Client, Fields, Problem};
use crate::service::{Service, new_id};

/// How long the token in the mail is good. [ASVS 5.0, 6.5.5]
const LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// A request for a mail with which a password can be reset.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the schema of what is read field by field, so that one answer names every fault"
)]
pub(crate) struct ForgotPassword {
    /// The address.
    #[schema(max_length = 254, format = "email", example = "ada@example.com")]
    email: String,
}

/// Has a mail sent with which the password can be reset.
///
/// The answer is the same whether anybody has the address or not. The mail's token is good for ten minutes, once. At most
/// three mails an hour and ten a day are sent to one address; beyond that nothing is sent, and the answer is the same.
// As much is asked of the tables for an address that nobody has, and as much written. The log is read to its end also
// where the view may know all of it: otherwise two requests in a row would tell who has a log that a view can lag behind.
#[utoipa::path(
    post, path = "/password/forgot", tag = "accounts", request_body = ForgotPassword,
    responses(
        (status = 202, description = "If somebody has the address, a mail is on its way to it, unless there were too \
            many already."),
        BodyProblems,
    ),
)]
pub(super) async fn forgot_password(
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
    let Some(mut loaded) = candidate.loaded else {
        let unknown = service.store.identifiers.key.email(&email);
        let pretended = service.store.pretend_mail(&Guessed::Unknown(unknown), now).await?;
        // Word for word what is logged for somebody: who reads the log could otherwise tell.
        match pretended {
            Pretended::Sent => tracing::info!(%user, "asked for a reset"),
            Pretended::TooManyMails => tracing::warn!(%user, "asked for a reset too often"),
        }
        return Ok(StatusCode::ACCEPTED);
    };
    let intent = Intent {
        command: Command::RequestPasswordReset { email, ends: now + LIFETIME },
        id: CommandId::new(new_id(now)?),
        at: now,
        address: client.address,
        agent: client.agent,
        enclosed: Enclosed::Nothing,
    };
    match service.store.execute(&mut loaded, &intent).await {
        Ok(_) => tracing::info!(%user, "asked for a reset"),
        Err(ExecuteError::TooManyMails(_)) => tracing::warn!(%user, "asked for a reset too often"),
        // The address was let go of meanwhile.
        Err(ExecuteError::Rejected(Rejection::CredentialMismatch | Rejection::NotRegistered)) => {
            tracing::info!(%user, "asked for a reset");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(StatusCode::ACCEPTED)
}
