use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use domain::{Command, CommandId, CredentialId, Email, SessionId, UserId};
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{Enclosed, Intent, Lifetimes, Loaded, Store};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::process::Data;

/// Users who are put into the tables of a running server with its own keys, past its routes.
pub(crate) struct Population {
    pub(crate) store: Store,
    ids: AtomicU64,
}

fn now() -> DateTime<Utc> {
    std::time::SystemTime::now().into()
}

impl Population {
    pub(crate) fn of(data: &Data) -> Self {
        let keys = ServiceKeys::open(&data.path().join("service-keys.json")).unwrap();
        let tables = Tables::prefixed("annals");
        let store = Store::new(&data.tables(), &tables, &keys, Lifetimes::default());
        Self { store, ids: AtomicU64::new(1) }
    }

    fn id(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.ids.fetch_add(1, Ordering::Relaxed)) << 64 | 9)
    }

    /// Registers users and signs each in so that their logs are of 200 KB each: a page of a scan holds five.
    pub(crate) async fn with_long_logs(&self, how_many: usize) -> Vec<UserId> {
        let mut users = Vec::new();
        for _ in 0..how_many {
            let user = UserId::new(self.id());
            let email = Email::parse(&format!("{user}@example.com")).unwrap();
            let credential = CredentialId::new(self.id());
            let mut loaded = Loaded::unborn(user).unwrap();
            let command = Command::Register { email: email.clone(), name: None, credential };
            let verifier = Enclosed::Verifier(Zeroizing::new("$argon2id$".to_owned()));
            self.execute(&mut loaded, command, verifier, None).await;
            let session = SessionId::new(self.id());
            let begun = self.store.sessions.begin(user, session, None, now()).unwrap();
            let command = Command::SignIn {
                email,
                credential,
                attempt: 1,
                device: None,
                session,
                ends: begun.ends,
                verified_only: false,
            };
            let agent = Some("x".repeat(200_000));
            self.execute(&mut loaded, command, Enclosed::Session(Box::new(begun)), agent).await;
            users.push(user);
        }
        users
    }

    async fn execute(
        &self,
        loaded: &mut Loaded,
        command: Command,
        enclosed: Enclosed,
        agent: Option<String>,
    ) {
        let id = CommandId::new(self.id());
        let intent = Intent { command, id, at: now(), address: None, agent, enclosed };
        self.store.execute(loaded, &intent).await.unwrap();
    }
}
