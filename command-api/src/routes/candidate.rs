use chrono::{DateTime, Utc};
use domain::{Command, CommandId, CredentialId, Email, MOST_FAILURES, PresentedPassword, UserId};
use storage::{Counted, Enclosed, Guessed, Intent, KnownDevice, Loaded, Snapshot};

use crate::http::{Client, Problem};
use crate::passwords::HashError;
use crate::service::{Service, new_id};

/// Whoever presents a password: a user, or the decoy that stands in for an unknown address so that both take the same
/// requests and the same hash.
pub(super) struct Candidate {
    pub user: UserId,
    pub loaded: Option<Loaded>,
    /// Whose guesses are counted, and whose mails.
    pub guessed: Guessed,
    device: Option<KnownDevice>,
}

/// What the count of guesses says of an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attempt {
    /// It is counted, with this number, and the password may be looked at.
    Counted(u64),
    /// As many have failed as may, up to the one of this number: no password is right until it is reset.
    Exhausted(u64),
}

impl Candidate {
    /// The user with this address, or the decoy.
    pub(super) async fn find(service: &Service, email: &Email) -> Result<Self, Problem> {
        let identifiers = &service.store.identifiers;
        let identifier = identifiers.key.email(email);
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
        Ok(Self { user, loaded, guessed, device: None })
    }

    /// A user who is known by their session.
    pub(super) const fn signed_in(loaded: Loaded) -> Self {
        let user = loaded.user();
        Self { user, loaded: Some(loaded), guessed: Guessed::User(user), device: None }
    }

    /// Counts the attempts of a device apart, if it presents a token by which it is known: what strangers guess does not
    /// keep it out. Any other token is none, and nothing tells.
    pub(super) fn recognise(&mut self, service: &Service, token: Option<&str>, now: DateTime<Utc>) {
        let sessions = &service.store.sessions;
        let known = token.and_then(|token| sessions.known_device(token, self.user, now));
        if let Some(known) = known {
            self.guessed = Guessed::Device(self.user, known.id);
            self.device = Some(known);
        }
    }

    /// The device at which this attempt is counted, if it is known.
    pub(super) const fn device(&self) -> Option<KnownDevice> {
        self.device
    }

    /// Counts this attempt, before it is evaluated. One count for every route that looks at a password.
    ///
    /// The view may not know of the last success yet, and there may be another one meanwhile. So a refusal counts only
    /// once the log has been read to its end and has nothing new to say.
    ///
    /// A device that has failed as often as it may is none any more: from then on its attempts are those of anybody.
    pub(super) async fn count(&mut self, service: &Service, now: DateTime<Utc>) -> Result<Attempt, Problem> {
        let guesses = &service.store.guesses;
        let mut base = self.base();
        let mut by_the_log = false;
        loop {
            let counted = if by_the_log {
                guesses.count_by_the_log(&self.guessed, base, now).await?
            } else {
                guesses.count(&self.guessed, base, now).await?
            };
            let refused = match counted {
                Counted::Attempt(number) => return Ok(Attempt::Counted(number)),
                Counted::Exhausted { .. } if self.device.is_some() => {
                    tracing::warn!(user = %self.user, "a device failed too often and counts as unknown");
                    self.device = None;
                    self.guessed = Guessed::User(self.user);
                    base = self.base();
                    continue;
                }
                refused => refused,
            };
            self.read_to_the_end(service).await?;
            match refused {
                _ if self.base() != base => base = self.base(),
                Counted::Attempt(number) => return Ok(Attempt::Counted(number)),
                // More than may fail: by the log as it is now, that was made up, and starts again.
                Counted::Exhausted { attempts } if attempts - base > MOST_FAILURES && !by_the_log => {
                    by_the_log = true;
                }
                Counted::Exhausted { attempts } => return Ok(Attempt::Exhausted(attempts)),
                Counted::TooEarly { wait } => {
                    tracing::warn!(user = %self.user, "a password was not looked at: too early");
                    return Err(Problem::TooEarly(wait));
                }
            }
        }
    }

    /// Reads the log to its end, or looks for one where there is none.
    pub(super) async fn read_to_the_end(&mut self, service: &Service) -> Result<(), Problem> {
        match &mut self.loaded {
            Some(loaded) => service.store.freshen(loaded).await?,
            None => {
                service.store.log.advance(self.user, &mut Snapshot::default(), None).await?;
            }
        }
        Ok(())
    }

    /// Whether the password is that of the user, as far as the count lets it be looked at. It takes a hash also where
    /// none is.
    ///
    /// That it is disabled may be old news where this attempt was counted, as one at a device is: the log tells.
    pub(super) async fn passes(
        &mut self,
        service: &Service,
        attempt: Attempt,
        password: &PresentedPassword,
    ) -> Result<bool, Problem> {
        if matches!(attempt, Attempt::Counted(_)) && self.is_disabled() {
            self.read_to_the_end(service).await?;
        }
        match attempt {
            Attempt::Counted(_) if !self.is_disabled() => self.satisfied_by(service, password).await,
            Attempt::Counted(_) | Attempt::Exhausted(_) => {
                opens(service, self.user, password, &service.passwords.decoy()?).await?;
                Ok(false)
            }
        }
    }

    /// Disables the password, if this attempt, which has failed, was the last that may; the event is appended once. Where
    /// a process died between the count and the event, the next attempt makes up for it. For an address that nobody has,
    /// the same is asked of the tables. What failed in the count of a device disables nothing.
    pub(super) async fn failed(
        &mut self,
        service: &Service,
        client: &Client,
        attempt: Attempt,
        now: DateTime<Utc>,
    ) -> Result<(), Problem> {
        let attempt = match attempt {
            Attempt::Counted(_) if self.device.is_some() => return Ok(()),
            Attempt::Counted(number) if number.saturating_sub(self.base()) < MOST_FAILURES => {
                return Ok(());
            }
            Attempt::Counted(number) => {
                self.read_to_the_end(service).await?;
                if let (None, Guessed::Unknown(identifier)) = (&self.loaded, &self.guessed) {
                    service.store.pretend_commit(identifier, now).await?;
                }
                number
            }
            Attempt::Exhausted(number) => number,
        };
        let Some(loaded) = &mut self.loaded else { return Ok(()) };
        let intent = Intent {
            command: Command::DisablePassword { attempt },
            id: CommandId::new(new_id(now)?),
            at: now,
            address: client.address.clone(),
            agent: client.agent.clone(),
            enclosed: Enclosed::Nothing,
        };
        if service.store.execute(loaded, &intent).await?.version.is_some() {
            tracing::warn!(user = %self.user, "too many attempts failed: the password is disabled");
        }
        Ok(())
    }

    /// Whether no password of the user is right until it is reset, as far as is known.
    pub(super) fn is_disabled(&self) -> bool {
        let account = self.loaded.as_ref().and_then(|loaded| loaded.snapshot().user.account());
        account.is_some_and(|account| account.password_disabled)
    }

    /// The last attempt that succeeded, in the count that this one goes into.
    fn base(&self) -> u64 {
        if let Some(device) = self.device {
            return device.base;
        }
        let account = self.loaded.as_ref().and_then(|loaded| loaded.snapshot().user.account());
        account.map_or(0, |account| account.last_success)
    }

    /// Whether this is the password, by the vault as it was loaded.
    async fn satisfied_by(&self, service: &Service, password: &PresentedPassword) -> Result<bool, Problem> {
        match self.loaded.as_ref().and_then(Loaded::vault) {
            Some(vault) => opens(service, self.user, password, &service.store.verifier(vault)?).await,
            None => opens(service, self.user, password, &service.passwords.decoy()?).await,
        }
    }
}

/// The verifier that a password opens in the vault as it is now, after the one that it was checked against turned out
/// not to be the user's. `None` if there is no other, or the password is wrong.
pub(super) async fn verified_again(
    service: &Service,
    now: &Loaded,
    before: CredentialId,
    password: &PresentedPassword,
) -> Result<Option<CredentialId>, Problem> {
    let Some(vault) = now.vault().filter(|vault| vault.credential != before) else { return Ok(None) };
    let phc = service.store.verifier(vault)?;
    let good = opens(service, now.user(), password, &phc).await?;
    Ok(good.then_some(vault.credential))
}

/// Whether the password opens this verifier. One that asks for too much opens to nobody, and answers like any other:
/// its owner cannot have set it.
async fn opens(
    service: &Service,
    user: UserId,
    password: &PresentedPassword,
    phc: &str,
) -> Result<bool, Problem> {
    match service.passwords.verify(password, phc).await {
        Err(error @ HashError::TooCostly(_)) => {
            tracing::error!(%user, %error, "a verifier was not computed");
            Ok(false)
        }
        answer => Ok(answer?),
    }
}
