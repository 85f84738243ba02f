use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::{Command, CommandId, Email, PresentedPassword, Rejection, SessionId, UserId};
use serde::Serialize;
use storage::{Counted, Enclosed, ExecuteError, Guessed, Intent, Loaded, Snapshot};
use utoipa::ToSchema;

use crate::http::{BodyProblems, Client, Fields, Problem, ProblemBody, internal};
use crate::passwords::HashError;
use crate::service::{Service, new_id};
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
}

/// Signs in with address and password.
///
/// An unknown address, a wrong password and an account that cannot sign in get the same answer, after the same work.
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
            ("sign_out" = (operation_id = "logout",
                parameters(("header.Authorization" = "Bearer {$response.body#/access_token}")),
                description = "The end of the session.")),
        )),
        (status = 401, description = "The address or the password is wrong.",
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
    client: Client,
    mut fields: Fields,
) -> Result<Json<SignedIn>, Problem> {
    let now = service.clock.now();
    let email = fields.required("email", Email::parse);
    let password = fields.required("password", PresentedPassword::parse);
    let (email, password) = fields.finish(email.zip(password))?;

    // Before the attempt is counted: one that is turned away is none.
    let _place = service.passwords.place().ok_or_else(Problem::overloaded)?;
    let mut candidate = Candidate::find(&service, email).await?;
    let attempt = candidate.count(&service, now).await?;
    if !candidate.satisfied_by(&service, &password).await? {
        return Err(candidate.refused());
    }
    let Some(mut loaded) = candidate.loaded.take() else { return Err(candidate.refused()) };

    let id = SessionId::new(new_id(now)?);
    let session = service.store.sessions.begin(candidate.user, id, client.agent.as_deref(), now)?;
    let mut verified = loaded.vault().map(|vault| vault.credential);
    let mut looked_again = false;
    let appended = loop {
        let Some(credential) = verified else { return Err(candidate.refused()) };
        let intent = Intent {
            command: Command::SignIn {
                email: candidate.email.clone(),
                credential,
                attempt,
                session: id,
                ends: session.ends,
            },
            id: CommandId::new(new_id(now)?),
            at: now,
            address: client.address.clone(),
            agent: client.agent.clone(),
            enclosed: Enclosed::Session(Box::new(session.clone())),
        };
        match service.store.execute(&mut loaded, &intent).await {
            Ok(appended) => break appended,
            // The password was changed while this one was checked, or the vault was older than the log: the log has
            // been read to its end now, and the vault with it. Look once more.
            Err(ExecuteError::Rejected(Rejection::CredentialMismatch)) if !looked_again => {
                looked_again = true;
                let current = loaded.vault().filter(|vault| vault.credential != credential);
                let Some(vault) = current else { return Err(candidate.refused()) };
                let phc = service.store.verifier(vault)?;
                if !candidate.opens(&service, &password, &phc).await? {
                    return Err(candidate.refused());
                }
                verified = Some(vault.credential);
            }
            Err(ExecuteError::Rejected(Rejection::CredentialMismatch | Rejection::NotRegistered)) => {
                return Err(candidate.refused());
            }
            Err(error) => return Err(error.into()),
        }
    };
    tracing::info!(user = %candidate.user, session = %id, "signed in");
    let access_token = service
        .tokens
        .issue(&AccessClaims {
            user: candidate.user,
            session: id,
            auth_time: now,
            issued_at: now,
            token: new_id(now)?,
        })
        .map_err(internal)?;
    Ok(Json(SignedIn {
        access_token,
        token_type: "Bearer",
        expires_in: LIFETIME_SECONDS,
        refresh_token: session.token,
        session_id: id.to_string(),
        user_id: candidate.user.to_string(),
        version: appended.snapshot.head.version.number(),
    }))
}

/// Whoever is to be signed in: a user, or the decoy that stands in for an unknown address so that both take the same
/// requests and the same hash.
struct Candidate {
    email: Email,
    user: UserId,
    guessed: Guessed,
    loaded: Option<Loaded>,
}

impl Candidate {
    async fn find(service: &Service, email: Email) -> Result<Self, Problem> {
        let identifiers = &service.store.identifiers;
        let identifier = identifiers.key.email(&email);
        let known = identifiers.find(&identifier).await?;
        let user = known.unwrap_or_else(|| identifiers.key.decoy(&identifier));
        let loaded = service.store.load(user).await?;
        if known.is_some() && loaded.is_none() {
            // Somebody has the address and no vault. If there is a log, this fails: nobody is told that a password is
            // wrong because it could not be looked at.
            service.store.log.advance(user, &mut Snapshot::default(), None).await?;
        }
        let guessed = match known {
            Some(user) => Guessed::User(user),
            None => Guessed::Unknown(identifier),
        };
        Ok(Self { email, user, guessed, loaded })
    }

    /// Counts this attempt, before it is evaluated; its number.
    ///
    /// The view may not know of the last success yet, and there may be another one meanwhile. So a refusal counts only
    /// once the log has been read to its end and has nothing new to say.
    async fn count(&mut self, service: &Service, now: DateTime<Utc>) -> Result<u64, Problem> {
        let mut base = self.last_success();
        loop {
            let wait = match service.store.guesses.count(&self.guessed, base, now).await? {
                Counted::Attempt(number) => return Ok(number),
                Counted::TooEarly { wait } => wait,
            };
            if let Some(loaded) = &mut self.loaded {
                service.store.freshen(loaded).await?;
            } else {
                service.store.log.advance(self.user, &mut Snapshot::default(), None).await?;
            }
            if self.last_success() == base {
                tracing::warn!(user = %self.user, "a sign-in was blocked");
                return Err(Problem::TooEarly(wait));
            }
            base = self.last_success();
        }
    }

    fn last_success(&self) -> u64 {
        let account = self.loaded.as_ref().and_then(|loaded| loaded.snapshot().user.account());
        account.map_or(0, |account| account.last_success)
    }

    async fn satisfied_by(&self, service: &Service, password: &PresentedPassword) -> Result<bool, Problem> {
        match self.loaded.as_ref().and_then(Loaded::vault) {
            Some(vault) => self.opens(service, password, &service.store.verifier(vault)?).await,
            None => self.opens(service, password, service.passwords.decoy()).await,
        }
    }

    /// Whether the password opens this verifier. One that asks for too much opens to nobody, and answers like any other:
    /// its owner cannot have set it.
    async fn opens(
        &self,
        service: &Service,
        password: &PresentedPassword,
        phc: &str,
    ) -> Result<bool, Problem> {
        match service.passwords.verify(password, phc).await {
            Err(error @ HashError::TooCostly(_)) => {
                tracing::error!(user = %self.user, %error, "a verifier was not computed");
                Ok(false)
            }
            answer => Ok(answer?),
        }
    }

    fn refused(&self) -> Problem {
        tracing::info!(user = %self.user, "a sign-in failed");
        Problem::SignInRefused
    }
}
