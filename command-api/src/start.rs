use aws_config::BehaviorVersion;
use storage::keys::KeysError;
use storage::{Lifetimes, Store};

use crate::passwords::{HashError, HasherError, PasswordHasher};
use crate::tokens::SigningError;
use crate::{Clock, Config, Service};

/// Why the function does not start with its settings.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The service keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Passwords cannot be hashed like this.
    #[error(transparent)]
    Hasher(#[from] HasherError),
    /// The memory of password hashes cannot be touched.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// Tokens cannot be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

impl Config {
    /// The service of these settings, reached with the region and credentials of the environment. What the first
    /// request would wait for is paid here: the connection to the database, and the memory of a hash.
    pub async fn start(self) -> Result<Service, StartError> {
        let clock = Clock::system();
        let aws = aws_config::load_defaults(BehaviorVersion::latest()).await;
        let keys = self
            .keys
            .source(&aws)
            .open({
                let clock = clock.clone();
                move || clock.now()
            })
            .await?;
        // One request at a time comes to a function, and so one hash.
        let passwords = PasswordHasher::new(self.argon2, keys.pepper.clone(), 1)?;
        let store = Store::new(&storage::client(&aws), &self.tables, &keys, Lifetimes::default());
        let (warm, ()) = tokio::join!(passwords.warm(), store.warm());
        warm?;
        let service = Service::new(store, passwords, &keys, self.issuer, clock)?;
        Ok(Service { origin: self.origin, ..service })
    }
}
