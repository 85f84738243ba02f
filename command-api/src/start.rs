use chrono::{DateTime, Utc};
use storage::keys::KeysError;
use storage::{Lifetimes, Store};

use crate::passwords::{Buffers, HashError, HasherError, PasswordHasher};
use crate::tokens::{PublicTokens, SigningError};
use crate::{AuthorizerConfig, Clients, ClientsError, ClientsFrom, Clock, Config, Service};

/// Why the function does not start with its settings.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The service keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The parameter with the OAuth clients cannot be read.
    #[error("ANNALS_CLIENTS: there is no parameter {0}, or it cannot be read")]
    NoClients(String, #[source] storage::Unavailable),
    /// The list of OAuth clients in this parameter is refused.
    #[error("ANNALS_CLIENTS: what the parameter {0} holds is refused")]
    Clients(String, #[source] ClientsError),
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
    /// request would wait for is paid here, all of it at once: the keys, the connection to the database, and the memory of
    /// a hash.
    pub async fn start(self) -> Result<Service, StartError> {
        let clock = Clock::system();
        // Each by its name: a setting that nothing here makes use of does not compile.
        let Self { tables, keys, issuer, argon2, origin, verification, clients } = self;
        let aws = storage::environment().await;
        let client = storage::client(&aws);
        // One request at a time comes to a function, and so one hash.
        let buffers = Buffers::new(argon2, 1)?;
        let keys = keys.source(&aws).open(reading(&clock));
        let (keys, (), warmed) = tokio::join!(keys, storage::warm(&client, &tables.views), buffers.warm());
        let keys = keys?;
        warmed?;
        let passwords = PasswordHasher::of(buffers, keys.pepper.clone())?;
        let clients = match clients {
            ClientsFrom::Setting(clients) => clients,
            ClientsFrom::Parameter(name) => match storage::parameter(&aws, &name).await {
                Ok(text) => Clients::parse(&text).map_err(|error| StartError::Clients(name, error))?,
                Err(error) => return Err(StartError::NoClients(name, error)),
            },
        };
        let store = Store::new(&client, &tables, &keys, Lifetimes::default());
        let service = Service::new(store, passwords, &keys, issuer, clock)?;
        Ok(Service { origin, clients, verification, ..service })
    }
}

impl AuthorizerConfig {
    /// What verifies tokens with public keys alone, and the clock to do it by.
    pub async fn start(self) -> Result<(PublicTokens, Clock), StartError> {
        let clock = Clock::system();
        let aws = storage::environment().await;
        let keys = self.keys.source(&aws).open_public(reading(&clock)).await?;
        Ok((PublicTokens::new(keys, self.issuer.clone(), self.issuer)?, clock))
    }
}

fn reading(clock: &Clock) -> impl Fn() -> DateTime<Utc> + Send + Sync + 'static {
    let clock = clock.clone();
    move || clock.now()
}
