//! Identifiers: the consistent index from an address to its user, and the proof that it has only one.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{CommandId, Email, UserId};
use uuid::{Builder, Uuid};

use crate::error::{Broken, ReadError, Unavailable};
use crate::items::{Item, PAGE, Wanted, batch_get, s, text};
use crate::keys::Secret;
use crate::seal::{Mac, mac};

/// The version of the identifier key, written before every identifier. The key cannot rotate: every identifier
/// would have to be found and made anew, in one moment.
const KEY_VERSION: &str = "1";

/// What turns addresses into identifiers.
#[derive(Debug, Clone)]
pub struct IdentifierKey {
    deployment: String,
    secret: Secret,
}

/// A keyed hash of an address: the same for the same address, and telling nothing about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identifier(String);

impl Identifier {
    /// The key of the table.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl IdentifierKey {
    /// The key of this deployment.
    pub const fn new(deployment: String, secret: Secret) -> Self {
        Self { deployment, secret }
    }

    /// The identifier of an address.
    pub fn email(&self, email: &Email) -> Identifier {
        let Mac(octets) = self.mac("identifier", &[b"email", email.as_str().as_bytes()]);
        Identifier(format!("{KEY_VERSION}.{}", URL_SAFE_NO_PAD.encode(octets)))
    }

    /// The id of a registration that carries an idempotency key: the same whenever it is retried.
    pub fn registration(&self, email: &Email, name: Option<&str>, idempotency_key: &str) -> CommandId {
        let name = name.map(|name| [b"=", name.as_bytes()].concat()).unwrap_or_default();
        let parts: &[&[u8]] = &[email.as_str().as_bytes(), &name, idempotency_key.as_bytes()];
        CommandId::new(uuid_of(self.mac("registration", parts)))
    }

    /// The user that a registration with an idempotency key makes.
    pub fn registered_user(&self, command: CommandId) -> UserId {
        UserId::new(uuid_of(self.mac("registered user", &[command.as_bytes()])))
    }

    /// A user who does not exist, always the same for an unknown address: what is asked of the tables for them
    /// cannot be told from what is asked for a known one.
    pub fn decoy(&self, unknown: &Identifier) -> UserId {
        UserId::new(uuid_of(self.mac("decoy", &[unknown.0.as_bytes()])))
    }

    fn mac(&self, label: &str, parts: &[&[u8]]) -> Mac {
        let deployment: &[&[u8]] = &[self.deployment.as_bytes()];
        mac(&self.secret, label, &[deployment, parts].concat())
    }
}

/// The first 128 bits of a keyed hash as a UUID of version 8 (RFC 9562, section 5.8).
fn uuid_of(Mac(octets): Mac) -> Uuid {
    let mut bits = [0_u8; 16];
    bits.copy_from_slice(&octets[..16]);
    Builder::from_custom_bytes(bits).into_uuid()
}

/// The identifiers table.
#[derive(Debug, Clone)]
pub struct Identifiers {
    pub(crate) client: Client,
    pub(crate) table: String,
    /// The key of its identifiers.
    pub key: IdentifierKey,
}

/// One page of the identifiers table: identifiers and their users.
pub struct IdentifierPage {
    /// Identifiers and the users they point to.
    pub entries: Vec<(Identifier, UserId)>,
    /// Items that name no user.
    pub malformed: u64,
    /// Where the next page starts; `None` after the last.
    pub next: Option<IdentifierCursor>,
}

/// A place in the identifiers table.
#[derive(Debug, Clone)]
pub struct IdentifierCursor(Item);

impl Identifiers {
    /// The table with its key.
    pub const fn new(client: Client, table: String, key: IdentifierKey) -> Self {
        Self { client, table, key }
    }

    /// The user whose identifier this is, read consistently.
    pub async fn find(&self, identifier: &Identifier) -> Result<Option<UserId>, ReadError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("identifier", s(identifier.as_str()))
            .consistent_read(true)
            .send()
            .await?;
        Ok(answer.item.as_ref().map(owner).transpose()?)
    }

    /// The users of several identifiers, read consistently; those that point to nobody are left out.
    pub async fn find_all(
        &self,
        identifiers: &[Identifier],
    ) -> Result<HashMap<Identifier, UserId>, Unavailable> {
        let keys = identifiers
            .iter()
            .collect::<HashSet<_>>()
            .into_iter()
            .map(|identifier| Item::from([("identifier".to_owned(), s(identifier.as_str()))]))
            .collect();
        let wanted = Wanted { table: &self.table, keys, consistent: true };
        let mut found = batch_get(&self.client, vec![wanted]).await?;
        let items = found.remove(&self.table).unwrap_or_default();
        Ok(items.iter().filter_map(|item| entry(item).ok()).collect())
    }

    /// One page of the whole table.
    pub async fn page(&self, from: Option<IdentifierCursor>) -> Result<IdentifierPage, Unavailable> {
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .limit(PAGE)
            .set_exclusive_start_key(from.map(|IdentifierCursor(key)| key))
            .send()
            .await?;
        let (mut entries, mut malformed) = (Vec::new(), 0);
        for item in answer.items.unwrap_or_default() {
            match entry(&item) {
                Ok(entry) => entries.push(entry),
                Err(_) => malformed += 1,
            }
        }
        Ok(IdentifierPage { entries, malformed, next: answer.last_evaluated_key.map(IdentifierCursor) })
    }

    pub(crate) fn item(&self, email: &Email, user: UserId, command: CommandId) -> Item {
        Item::from([
            ("identifier".to_owned(), AttributeValue::S(self.key.email(email).0)),
            ("user".to_owned(), s(user.to_string())),
            ("command".to_owned(), s(command.to_string())),
        ])
    }
}

fn entry(item: &Item) -> Result<(Identifier, UserId), Broken> {
    Ok((Identifier(text(item, "identifier")?.to_owned()), owner(item)?))
}

fn owner(item: &Item) -> Result<UserId, Broken> {
    text(item, "user")?.parse().map_err(|_| Broken::Attribute("user"))
}
