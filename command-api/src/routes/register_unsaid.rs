use axum::http::StatusCode;
use domain::{Command, CommandId, Email, Rejection, UserId};
use storage::{Enclosed, ExecuteError, Intent, Loaded};

use super::candidate::Candidate;
use crate::http::Problem;
use crate::service::{Service, new_id};

/// How often it is looked again to whom an address leads that keeps changing hands.
const TRIES: usize = 4;

/// Registers a user where addresses have to be verified: nobody is told whether the address is taken. Whoever has it is
/// told by mail, or yields it if they have not verified it in time.
///
/// In every case the tables are asked for the same things: the address, the view and the vault of whoever has it or of
/// nobody, the end of their log, and one transaction of four items; of one more and the sessions' rows where the address
/// is yielded. The mail counts as one to whoever gets it, also if they have just been registered: a change of address
/// shows to whoever asks for it whether there were too many, and so would show who had the address before.
pub(super) async fn register_unsaid(
    service: &Service,
    user: UserId,
    email: &Email,
    intent: &Intent,
) -> Result<StatusCode, Problem> {
    for _ in 0..TRIES {
        let mut candidate = Candidate::find(service, email).await?;
        candidate.read_to_the_end(service).await?;
        // One's own user has it where an earlier try with the same key succeeded: that is settled by the commit.
        let another = candidate.loaded.filter(|owner| owner.user() != user);
        let (whose, done) = match another {
            None => {
                let mut unsaid = intent.clone();
                if let Enclosed::Verifier(verifier) = &intent.enclosed {
                    unsaid.enclosed = Enclosed::VerifierUnsaid(verifier.clone());
                }
                (user, service.store.execute(&mut Loaded::unborn(user)?, &unsaid).await.map(|_| ()))
            }
            Some(mut owner) => {
                let whose = owner.user();
                (whose, taken(service, user, &mut owner, email, intent).await?)
            }
        };
        match done {
            Ok(())
            | Err(ExecuteError::TooManyMails(_) | ExecuteError::Rejected(Rejection::AlreadyRegistered)) => {
                tracing::info!(user = %whose, "asked to be registered");
                return Ok(StatusCode::ACCEPTED);
            }
            // The address has changed hands since it was looked up.
            Err(ExecuteError::Taken | ExecuteError::Rejected(Rejection::CredentialMismatch)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    tracing::warn!("an address keeps changing hands");
    Err(Problem::Unavailable)
}

/// The address is somebody's: they yield it, or are told.
async fn taken(
    service: &Service,
    user: UserId,
    owner: &mut Loaded,
    email: &Email,
    intent: &Intent,
) -> Result<Result<(), ExecuteError>, Problem> {
    let mut yielded = intent.clone();
    if let Enclosed::Verifier(verifier) = &intent.enclosed {
        let by = owner.user();
        yielded.enclosed = Enclosed::VerifierAndYielded { verifier: verifier.clone(), by };
    }
    let registered = service.store.register_instead(&mut Loaded::unborn(user)?, owner, &yielded).await;
    if !matches!(registered, Err(ExecuteError::Rejected(Rejection::AddressKept))) {
        return Ok(registered.map(|_| ()));
    }
    let told = Intent {
        command: Command::NoteRegistration { email: email.clone() },
        id: CommandId::new(new_id(intent.at)?),
        enclosed: Enclosed::Nothing,
        ..intent.clone()
    };
    Ok(service.store.execute(owner, &told).await.map(|_| ()))
}
