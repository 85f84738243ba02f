use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use domain::{Account, Command, CommandId, Rejection};
use storage::one_time::{Bound, OneTimeError, OneTimePurpose, OneTimeToken};
use storage::{Enclosed, ExecuteError, Intent, Loaded};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::http::{BodyProblems, Client, Fields, Problem, ProblemBody};
use crate::service::{Service, new_id};

/// A token from a mail.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the schema of what is read field by field, so that one answer names every fault"
)]
pub(crate) struct VerifyEmail {
    /// The token from the mail: that of a verification, or of a change of address.
    #[schema(
        example = "0a1b2c3d.verify.AZMAAAAAcACAAABQAAAAAQAAaypmQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    )]
    token: String,
}

/// Takes it as shown that an address is the user's, by the token that was mailed there.
///
/// With the token of a change of address, that address becomes the user's: they sign in with it from then on, and with the
/// one before no more. Sessions go on. No session is needed, as the mail may be read on another device. A token does what
/// it is for once; whoever opens the link again is told the same and changes nothing, as long as the token would be good.
///
/// The address before is told. As long as nobody has shown that it was theirs, it can be left once a day: beyond that there is
/// 429, and the token can be brought again later.
// The token has been to the mailbox and came back: who brings it may hear that the address is somebody else's by now.
#[utoipa::path(
    post, path = "/email/verify", tag = "accounts", request_body = VerifyEmail,
    responses(
        (status = 204, description = "The address is verified, and the user's."),
        BodyProblems,
        (status = 400, description = "The body is not JSON; or the token is none of ours or for something else, past \
            its end, or void since the password or the address changed or another change was asked for.",
            body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Somebody else has the address by now.", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = 429, description = "Somebody left the address before within the last day, and nobody has shown that it \
            is theirs.",
            body = ProblemBody, content_type = "application/problem+json",
            headers(("Retry-After" = u64, description = "Seconds until it can be left."))),
    ),
)]
pub(super) async fn verify_email(
    State(service): State<Arc<Service>>,
    client: Client,
    mut fields: Fields,
) -> Result<StatusCode, Problem> {
    let now = service.clock.now();
    let token = fields.required("token", |text| Ok(Zeroizing::new(text.to_owned())));
    let token = fields.finish(token)?;

    let token = parse(&service, &token).map_err(|reason| {
        tracing::info!(%reason, "a one-time token was refused");
        Problem::BadOneTimeToken
    })?;
    let user = token.user();
    if token.has_ended(now) {
        return Err(not_good(&token, "past its end"));
    }
    let loaded = service.store.load(user).await?;
    let mut loaded = loaded.ok_or_else(|| not_good(&token, "of nobody"))?;
    let intent = Intent {
        command: meant(&service, &mut loaded, &token).await?,
        id: CommandId::new(new_id(now)?),
        at: now,
        address: client.address,
        agent: client.agent,
        enclosed: Enclosed::Nothing,
    };
    match service.store.execute(&mut loaded, &intent).await {
        Ok(appended) => {
            if appended.version.is_some() {
                tracing::info!(%user, command = intent.command.name(), "an address was verified");
            }
            Ok(StatusCode::NO_CONTENT)
        }
        Err(ExecuteError::Rejected(Rejection::CredentialMismatch | Rejection::NotRegistered)) => {
            Err(not_good(&token, "void"))
        }
        Err(error) => Err(error.into()),
    }
}

/// A token of either purpose.
fn parse(service: &Service, text: &str) -> Result<OneTimeToken, OneTimeError> {
    match service.store.one_time.parse(text, OneTimePurpose::EmailVerification) {
        Err(OneTimeError::OtherPurpose) => service.store.one_time.parse(text, OneTimePurpose::EmailChange),
        parsed => parsed,
    }
}

/// What the token was made for, if that is still so. A view may not know it yet, or not any more: who is refused was
/// looked at in their log.
async fn meant(service: &Service, loaded: &mut Loaded, token: &OneTimeToken) -> Result<Command, Problem> {
    let meant = |loaded: &Loaded| command(service, loaded.snapshot().user.account()?, token);
    if let Some(command) = meant(loaded) {
        return Ok(command);
    }
    service.store.freshen(loaded).await?;
    meant(loaded).ok_or_else(|| not_good(token, "void"))
}

fn command(service: &Service, account: &Account, token: &OneTimeToken) -> Option<Command> {
    let credential = account.credential;
    let binds = |bound: &Bound<'_>| service.store.one_time.binds(token, bound);
    if let Some(email) = &account.email
        && binds(&Bound::EmailVerification { email, credential })
    {
        return Some(Command::VerifyEmail { email: email.clone(), credential });
    }
    let change = account.email_change.as_ref().filter(|change| token.ends_at(change.ends))?;
    let bound = Bound::EmailChange { from: &change.from, to: &change.to, credential };
    binds(&bound).then(|| Command::ConfirmEmailChange { change: change.clone(), credential })
}

fn not_good(token: &OneTimeToken, reason: &'static str) -> Problem {
    tracing::info!(user = %token.user(), reason, "a one-time token was refused");
    Problem::BadOneTimeToken
}
