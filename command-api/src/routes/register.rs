use std::sync::Arc;

use aws_lc_rs::rand;
use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::{Command, CommandId, CredentialId, DisplayName, Email, NewPassword, Rejection, UserId, Version};
use serde::Serialize;
use storage::{Enclosed, ExecuteError, Intent, Loaded};
use utoipa::ToSchema;

use super::register_unsaid::register_unsaid;
use crate::http::{BodyProblems, Client, Fields, Problem, ProblemBody};
use crate::passwords::{KnownWords, judge};
use crate::service::{Service, Verification, new_id};

/// The header by which a client says that two requests are one. [draft-ietf-httpapi-idempotency-key-header]
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest idempotency key, in characters.
const MAX_KEY: usize = 255;

/// A registration.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the schema of what is read field by field, so that one answer names every fault"
)]
pub(crate) struct Register {
    /// The address to sign in with. Compared in lower case.
    #[schema(max_length = 254, format = "email", example = "ada@example.com")]
    email: String,
    /// At least 15 characters, of any kind, and not easy to guess.
    #[schema(min_length = 15, max_length = 1024, format = Password, example = "correct horse battery")]
    password: String,
    /// What the user wants to be called: at most 200 characters, not counting white space around them.
    #[schema(
        min_length = 1,
        example = "Ada",
        pattern = r"^\s*[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]{0,198}[^\s\x00-\x1f\x7f-\x9f])?\s*$"
    )]
    name: Option<String>,
}

/// A user was registered.
#[derive(Serialize, ToSchema)]
pub(crate) struct Registered {
    /// The user, for ever.
    #[schema(format = Uuid)]
    user_id: String,
    /// The version of the user's log.
    version: u64,
}

/// Registers a user.
///
/// With an `Idempotency-Key`, the same registration can be sent again whenever its answer was lost: it makes one
/// user and gets one answer. The password of the first request stands, whatever another one carries: the same key with
/// another password gets the first answer and sets nothing.
///
/// Where addresses have to be verified before anybody signs in, the answer does not tell whether the address was free. An
/// address that was not verified within 24 hours goes to whoever registers it next.
#[utoipa::path(
    post, path = "/register", tag = "accounts", request_body = Register,
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255,
        pattern = "^[-!-+.-~]([- -+.-~]*[-!-+.-~])?$",
        description = "Any text of visible ASCII characters without a comma, the same for every try. The password of \
            the first try stands: another try with another password gets the first answer and sets nothing.")),
    responses(
        (status = 201, description = "Registered.", body = Registered,
            headers(("Location" = String, description = "The profile, for whoever signs in as this user.")),
            links(("sign_in" = (operation_id = "login",
                request_body = json!({"email": "$request.body#/email", "password": "$request.body#/password"}),
                description = "The address and the password are good for a sign-in at once.")),
                 ("forget" = (operation_id = "forgot_password",
                    request_body = json!({"email": "$request.body#/email"}),
                    description = "A mail to the address, with which the password can be reset.")))),
        (status = 202, description = "Where addresses have to be verified, always this: if the address is free, a mail is \
            on its way to it, with which it can be verified; if not, whoever has it is told."),
        (status = 409, description = "The address is taken.", body = ProblemBody,
            content_type = "application/problem+json"),
        BodyProblems,
    ),
)]
pub(super) async fn register(
    State(service): State<Arc<Service>>,
    client: Client,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let now = service.clock.now();
    let email = fields.required("email", Email::parse);
    let password = fields.required("password", NewPassword::parse);
    let name = fields.optional("name", DisplayName::parse);
    let key = idempotency_key(&headers).unwrap_or_else(|fault| {
        fields.refuse("Idempotency-Key", fault);
        None
    });
    if let Some(password) = &password {
        let known = KnownWords { email: email.as_ref(), name: name.as_ref(), issuer: &service.issuer };
        judge(password, &known).unwrap_or_else(|guessable| fields.refuse("password", guessable));
    }
    let (email, password) = fields.finish(email.zip(password))?;

    let identifiers = &service.store.identifiers.key;
    let (id, user) = match &key {
        Some(key) => {
            let id = identifiers.registration(&email, name.as_ref().map(DisplayName::as_str), key);
            (id, identifiers.registered_user(id))
        }
        None => (CommandId::new(new_id(now)?), UserId::new(new_id(now)?)),
    };
    let _place = service.passwords.place().ok_or_else(Problem::overloaded)?;
    let mut salt = [0; 16];
    rand::fill(&mut salt)?;
    let verifier = service.passwords.hash(&password, salt).await?;
    let intent = Intent {
        command: Command::Register {
            email: email.clone(),
            name,
            credential: CredentialId::new(new_id(now)?),
        },
        id,
        at: now,
        address: client.address,
        agent: client.agent,
        enclosed: Enclosed::Verifier(verifier),
    };
    if service.verification == Verification::Required {
        return Ok(register_unsaid(&service, user, &email, &intent).await?.into_response());
    }
    match service.store.execute(&mut Loaded::unborn(user)?, &intent).await {
        Ok(_) => {
            tracing::info!(%user, "registered");
            let registered = Registered { user_id: user.to_string(), version: Version::NONE.next().number() };
            Ok((StatusCode::CREATED, [(LOCATION, "/me")], Json(registered)).into_response())
        }
        Err(ExecuteError::Rejected(Rejection::AlreadyRegistered)) => Err(Problem::AddressTaken),
        Err(error) => Err(error.into()),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // A tab is no visible character; the type of headers takes it for one.
    let text = value.to_str().ok().filter(|text| !text.contains('\t'));
    let text = text.ok_or("must have only visible ASCII characters")?;
    match text.len() {
        _ if values.next().is_some() => Err("stands there more than once"),
        0 => Err("must not be empty"),
        // API Gateway makes one header of several, with commas between.
        _ if text.contains(',') => Err("must not have a comma"),
        1..=MAX_KEY => Ok(Some(text.to_owned())),
        _ => Err("must have at most 255 characters"),
    }
}
