use std::sync::Arc;

use aws_lc_rs::rand;
use axum::Json;
use axum::extract::State;
use domain::{Command, CommandId, DeviceId, Email, PresentedPassword, Rejection, SessionId, UserId};
use serde::Serialize;
use storage::{Enclosed, ExecuteError, Intent, KnownDevice, Loaded, Vault};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::candidate::{Attempt, Candidate, verified_again};
use crate::http::{BodyProblems, Client, Fields, ForClient, Problem, ProblemBody, internal};
use crate::service::{Service, Verification, new_id};
use crate::tokens::{AccessClaims, LIFETIME_SECONDS};

/// A sign-in.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the schema of what is read field by field, so that one answer names every fault"
)]
pub(crate) struct Login {
    /// The address.
    #[schema(max_length = 254, format = "email", example = "ada@example.com")]
    email: String,
    /// The password.
    #[schema(max_length = 1024, format = Password, example = "correct horse battery")]
    password: String,
    /// The `device_token` of an earlier sign-in of this user on this device. Its attempts are counted apart, so that
    /// strangers who guess keep it out no longer than the password is disabled. One that is not good is overlooked.
    device_token: Option<String>,
}

/// A session began.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignedIn {
    /// A JWT for the `Authorization` header.
    access_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// How long the access token is good, in seconds.
    expires_in: i64,
    /// Exchanged for new tokens, once.
    refresh_token: String,
    /// The session.
    #[schema(format = Uuid)]
    session_id: String,
    /// The user.
    #[schema(format = Uuid)]
    user_id: String,
    /// The version of the user's log with this sign-in.
    version: u64,
    /// Presented with the next sign-in of this user on this device, instead of the one before. Good for a year.
    device_token: String,
}

/// Signs in with address and password.
///
/// An unknown address, a wrong password and an account that cannot sign in get the same answer, after the same work.
///
/// A client with a secret that signs somebody in shows it by Basic authentication: the tokens are issued to it, and only
/// it refreshes and revokes them, at `/oauth2/*`. Otherwise they are issued to `annals`, a public client.
#[utoipa::path(
    post, path = "/login", tag = "sessions", request_body = Login,
    responses(
        (status = 200, description = "Signed in.", body = SignedIn, links(
            ("profile" = (operation_id = "me",
                parameters(("header.Authorization" = "Bearer {$response.body#/access_token}"),
                    ("query.min_version" = "$response.body#/version")),
                description = "The profile, at least as of this sign-in.")),
            ("refresh" = (operation_id = "refresh",
                request_body = json!({"refresh_token": "$response.body#/refresh_token"}),
                description = "New tokens for the session.")),
            ("oauth_refresh" = (operation_id = "oauth_token",
                request_body = json!({"grant_type": "refresh_token",
                    "refresh_token": "$response.body#/refresh_token"}),
                description = "The same by OAuth.")),
            ("oauth_revoke" = (operation_id = "oauth_revoke",
                request_body = json!({"token": "$response.body#/refresh_token"}),
                description = "The end of the session by OAuth.")),
            ("oauth_introspect" = (operation_id = "oauth_introspect",
                request_body = json!({"token": "$response.body#/access_token"}),
                description = "What the access token is worth.")),
            ("sessions" = (operation_id = "sessions",
                parameters(("header.Authorization" = "Bearer {$response.body#/access_token}")),
                description = "This session and the user's others.")),
            ("history" = (operation_id = "events",
                parameters(("header.Authorization" = "Bearer {$response.body#/access_token}")),
                description = "What happened to the user so far.")),
            ("end" = (operation_id = "end_session",
                parameters(("path.session_id" = "$response.body#/session_id"),
                    ("header.Authorization" = "Bearer {$response.body#/access_token}")),
                description = "The end of the session, as one of the user's.")),
            ("sign_out" = (operation_id = "logout",
                parameters(("header.Authorization" = "Bearer {$response.body#/access_token}")),
                description = "The end of the session.")),
        )),
        (status = 401, description = "The address or the password is wrong, or a client that signs in is refused.",
            body = ProblemBody, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "How to sign in. [RFC 6750]"))),
        (status = 429, description = "Too many failed attempts.",
            body = ProblemBody, content_type = "application/problem+json",
            headers(("Retry-After" = u64, description = "Seconds until the next attempt is evaluated."))),
        BodyProblems,
    ),
)]
pub(super) async fn login(
    State(service): State<Arc<Service>>,
    ForClient(issued_to): ForClient,
    client: Client,
    mut fields: Fields,
) -> Result<Json<SignedIn>, Problem> {
    let now = service.clock.now();
    let email = fields.required("email", Email::parse);
    let password = fields.required("password", PresentedPassword::parse);
    let device_token = fields.optional("device_token", |text| Ok(Zeroizing::new(text.to_owned())));
    let (email, password) = fields.finish(email.zip(password))?;

    // Before the attempt is counted: one that is turned away is none.
    let _place = service.passwords.place().ok_or_else(Problem::overloaded)?;
    let mut candidate = Candidate::find(&service, &email).await?;
    candidate.recognise(&service, device_token.as_deref().map(String::as_str), now);
    let attempt = candidate.count(&service, now).await?;
    let known = candidate.device();
    let good = candidate.passes(&service, attempt, &password).await?;
    let user = candidate.user;
    if !good {
        if service.verification == Verification::Required {
            // As is done for whoever is right and unverified before they are refused.
            candidate.read_to_the_end(&service).await?;
        }
        candidate.failed(&service, &client, attempt, now).await?;
    }
    let (Some(mut loaded), Attempt::Counted(attempt)) = (candidate.loaded.filter(|_| good), attempt) else {
        return Err(refused(user));
    };

    let stronger = stronger(&service, &loaded, &password).await;
    let id = SessionId::new(new_id(now)?);
    let session = service.store.sessions.begin_for(&issued_to, user, id, client.agent.as_deref(), now)?;
    let mut verified = loaded.vault().map(|vault| vault.credential);
    let mut looked_again = false;
    let appended = loop {
        let Some(credential) = verified else { return Err(refused(user)) };
        let intent = Intent {
            command: Command::SignIn {
                email: email.clone(),
                credential,
                attempt,
                device: known.map(|device| device.id),
                session: id,
                ends: session.ends,
                verified_only: service.verification == Verification::Required,
            },
            id: CommandId::new(new_id(now)?),
            at: now,
            address: client.address.clone(),
            agent: client.agent.clone(),
            enclosed: match &stronger {
                Some((vault, phc)) if vault.credential == credential => Enclosed::SessionAndVerifier {
                    session: Box::new(session.clone()),
                    verifier: phc.clone(),
                    instead_of: Box::new(vault.clone()),
                },
                Some(_) | None => Enclosed::Session(Box::new(session.clone())),
            },
        };
        match service.store.execute(&mut loaded, &intent).await {
            Ok(appended) => break appended,
            // The password was changed while this one was checked, or the vault was older than the log: the log has
            // been read to its end now, and the vault with it. Look once more.
            Err(ExecuteError::Rejected(Rejection::CredentialMismatch)) if !looked_again => {
                looked_again = true;
                verified = verified_again(&service, &loaded, credential, &password).await?;
            }
            Err(ExecuteError::Rejected(
                Rejection::CredentialMismatch | Rejection::NotRegistered | Rejection::PasswordDisabled,
            )) => return Err(refused(user)),
            // An attempt that fails like any other, also as the last that may.
            Err(ExecuteError::Rejected(Rejection::EmailNotVerified)) => {
                candidate.loaded = Some(loaded);
                candidate.failed(&service, &client, Attempt::Counted(attempt), now).await?;
                return Err(refused(user));
            }
            Err(error) => return Err(error.into()),
        }
    };
    tracing::info!(%user, session = %id, "signed in");
    let access_token = service
        .tokens
        .issue_to(
            issued_to.as_str(),
            &AccessClaims { user, session: id, auth_time: now, issued_at: now, token: new_id(now)? },
        )
        .map_err(internal)?;
    let device = match known {
        Some(device) => KnownDevice { base: attempt, ..device },
        None => KnownDevice { id: DeviceId::new(new_id(now)?), base: 0 },
    };
    Ok(Json(SignedIn {
        access_token,
        token_type: "Bearer",
        expires_in: LIFETIME_SECONDS,
        refresh_token: session.token,
        session_id: id.to_string(),
        user_id: user.to_string(),
        version: appended.snapshot.head.version.number(),
        device_token: service.store.sessions.device_token(user, device, now)?,
    }))
}

/// The verifier of this password made anew, with the vault that holds the one it opened, if that one is weaker than
/// what is made today. Nobody is kept out because that does not work.
async fn stronger(
    service: &Service,
    loaded: &Loaded,
    password: &PresentedPassword,
) -> Option<(Vault, Zeroizing<String>)> {
    let vault = loaded.vault()?;
    let phc = service.store.verifier(vault).ok()?;
    let mut salt = [0; 16];
    rand::fill(&mut salt).ok()?;
    match service.passwords.rehash(password, &phc, salt).await {
        Ok(anew) => Some((vault.clone(), anew?)),
        Err(error) => {
            tracing::warn!(user = %loaded.user(), %error, "a weak verifier was not made anew");
            None
        }
    }
}

fn refused(user: UserId) -> Problem {
    tracing::info!(%user, "a sign-in failed");
    Problem::SignInRefused
}
