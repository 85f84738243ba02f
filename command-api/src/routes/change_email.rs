use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use domain::{Command, CommandId, Email};
use storage::{Enclosed, ExecuteError, Guessed, Intent, Loaded};
use utoipa::ToSchema;

use super::acting::acting;
use super::fresh::is_fresh;
use super::resend_verification::LIFETIME;
use crate::http::{Bearer, BodyProblems, Client, Fields, Problem, ProblemBody, SessionProblems};
use crate::service::{Service, new_id};

/// A change of address.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the schema of what is read field by field, so that one answer names every fault"
)]
pub(crate) struct ChangeEmail {
    /// The address as it is to be. Compared in lower case.
    #[schema(max_length = 254, format = "email", example = "augusta@example.com")]
    email: String,
}

/// Asks for another address for whoever asks: a mail goes there, and the address becomes theirs when its token comes back.
///
/// The session must come of a sign-in in the last five minutes. The token is good for 24 hours, once, and void when another
/// change is asked for or the password changes. The answer is the same whether somebody has that address or not. At most
/// three mails an hour and ten a day are sent to one address; beyond that nothing is sent, and the answer is the same.
// It is appended also where the address is taken: what is shown of the user's own log must not tell. Whoever has it gets
// the mail, and the token is refused in the end. The mail counts as one to them, or to nobody; and the news to the present
// address as one to the user, as long as that may be a stranger's.
#[utoipa::path(
    post, path = "/me/email", tag = "accounts", security(("bearer" = [])), request_body = ChangeEmail,
    responses(
        (status = 202, description = "A mail is on its way to the address, unless there were too many already, or it is \
            the user's."),
        BodyProblems,
        SessionProblems,
        (status = 401, description = "No access token, one that is not good, one whose session has ended, or one \
            whose sign-in is more than five minutes ago.",
            body = ProblemBody, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String,
                description = "With `insufficient_user_authentication` and `max_age` if the sign-in is too old."))),
    ),
)]
pub(super) async fn change_email(
    State(service): State<Arc<Service>>,
    Bearer(bearer): Bearer,
    client: Client,
    mut fields: Fields,
) -> Result<StatusCode, Problem> {
    let now = service.clock.now();
    let email = fields.required("email", Email::parse);
    let email = fields.finish(email)?;

    let (mut loaded, session) = acting(&service, &bearer, now).await?;
    is_fresh(&session, now)?;
    let unverified =
        |loaded: &Loaded| loaded.snapshot().user.account().is_none_or(|account| !account.email_verified);
    // An address that was shown to be theirs stays so. That it was not, an old view may say of one that was since.
    if unverified(&loaded) {
        service.store.freshen(&mut loaded).await?;
    }
    let unverified = unverified(&loaded);
    let identifiers = &service.store.identifiers;
    let identifier = identifiers.key.email(&email);
    let to = match identifiers.find(&identifier).await? {
        Some(owner) => Guessed::User(owner),
        None => Guessed::Unknown(identifier),
    };
    let intent = Intent {
        command: Command::RequestEmailChange { session: bearer.session, email, ends: now + LIFETIME },
        id: CommandId::new(new_id(now)?),
        at: now,
        address: client.address,
        agent: client.agent,
        enclosed: Enclosed::MailElsewhere { acting: bearer.session, to, unverified },
    };
    let user = bearer.user;
    match service.store.execute(&mut loaded, &intent).await {
        Ok(_) => tracing::info!(%user, "asked for another address"),
        Err(ExecuteError::TooManyMails(_)) => tracing::warn!(%user, "asked for another address too often"),
        Err(error) => return Err(error.into()),
    }
    Ok(StatusCode::ACCEPTED)
}
