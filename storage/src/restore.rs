//! What a restore writes that nothing else does: identifiers and vaults past any command, and whole tables emptied.
//!
//! Only for an operator, while no command is taken. Each write carries the condition under which it is right, so one
//! that comes twice, or too late, changes nothing.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{ConditionCheck, Delete, TransactWriteItem};
use chrono::{DateTime, Utc};
use domain::{CommandId, Email, User, UserId, Version};

use crate::error::{ReadError, Unavailable};
use crate::identifiers::{Identifier, Identifiers};
use crate::items::{Item, batch_delete, s};
use crate::log::{EventLog, key, sort_key};
use crate::sessions::{Sessions, is_mail_claim};
use crate::vault::{SORT_KEY as VAULT, Vault};
use crate::views::{Put, Views};

/// Whether a table is emptied, or only looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clearing {
    /// Every item is deleted.
    Delete,
    /// The items are counted.
    Count,
}

/// What came of one page of a table that is being emptied.
#[derive(Debug, Clone)]
pub struct Cleared {
    /// The items that were there.
    pub items: u64,
    /// Where the next page starts; `None` after the last.
    pub next: Option<ClearedUpTo>,
}

/// A place in a table that is being emptied.
#[derive(Debug, Clone)]
pub struct ClearedUpTo(Item);

impl Views {
    /// Deletes, or counts, one page of the views. Whatever is in them can be made again from the log.
    pub async fn clear(&self, clearing: Clearing, from: Option<ClearedUpTo>) -> Result<Cleared, Unavailable> {
        clear(&self.client, &self.table, &["user"], |_| false, clearing, from).await
    }
}

impl Sessions {
    /// Deletes, or counts, one page of the sessions and the counts of guesses. Everybody has to sign in again, and
    /// failures count from the last success on. What says which mails have been sent stays: nobody is told a thing twice
    /// because of it.
    pub async fn clear(&self, clearing: Clearing, from: Option<ClearedUpTo>) -> Result<Cleared, Unavailable> {
        clear(&self.client, &self.table, &["user", "item"], is_mail_claim, clearing, from).await
    }
}

async fn clear(
    client: &Client,
    table: &str,
    key: &[&str],
    stays: fn(&Item) -> bool,
    clearing: Clearing,
    from: Option<ClearedUpTo>,
) -> Result<Cleared, Unavailable> {
    let mut request = client.scan().table_name(table).consistent_read(true);
    let mut names = Vec::new();
    for name in key {
        names.push(format!("#{name}"));
        request = request.expression_attribute_names(format!("#{name}"), *name);
    }
    let answer = request
        .projection_expression(names.join(", "))
        .set_exclusive_start_key(from.map(|ClearedUpTo(key)| key))
        .send()
        .await?;
    let mut keys = answer.items.unwrap_or_default();
    keys.retain(|key| !stays(key));
    let items = keys.len() as u64;
    if clearing == Clearing::Delete {
        batch_delete(client, table, keys).await?;
    }
    Ok(Cleared { items, next: answer.last_evaluated_key.map(ClearedUpTo) })
}

impl Identifiers {
    /// Makes an address lead to the user who has it by their log, with the id of the command that took it; on condition
    /// that it leads to nobody, or to `instead_of`.
    pub async fn lead_to(
        &self,
        email: &Email,
        (user, command): (UserId, CommandId),
        instead_of: Option<UserId>,
    ) -> Result<Put, Unavailable> {
        let request =
            self.client.put_item().table_name(&self.table).set_item(Some(self.item(email, user, command)));
        let request = match instead_of {
            None => request
                .condition_expression("attribute_not_exists(#identifier)")
                .expression_attribute_names("#identifier", "identifier"),
            Some(other) => request
                .condition_expression("#user = :other")
                .expression_attribute_names("#user", "user")
                .expression_attribute_values(":other", s(other.to_string())),
        };
        let refused = PutItemError::is_conditional_check_failed_exception;
        written(request.send().await, refused)
    }

    /// Sets an address free, on condition that it still leads to this user, who does not have it by their log.
    pub async fn set_free(&self, identifier: &Identifier, user: UserId) -> Result<Put, Unavailable> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("identifier", s(identifier.as_str()))
            .condition_expression("#user = :user")
            .expression_attribute_names("#user", "user")
            .expression_attribute_values(":user", s(user.to_string()));
        let refused = DeleteItemError::is_conditional_check_failed_exception;
        written(request.send().await, refused)
    }
}

impl EventLog {
    /// The command by which a user came by the address they have; `None` if their log does not say.
    pub async fn address_taken_by(&self, user: UserId) -> Result<Option<CommandId>, ReadError> {
        let address = |user: &User| user.account().and_then(|account| account.email.clone());
        let (mut state, mut taken_by) = (User::default(), None);
        self.history(user, |commit| {
            let before = address(&state);
            state = commit.fold(std::mem::take(&mut state));
            if address(&state) != before {
                taken_by = Some(commit.command);
            }
        })
        .await?;
        Ok(taken_by)
    }

    /// Whether there is no log at all, read consistently.
    pub async fn is_empty(&self) -> Result<bool, Unavailable> {
        let mut start = None;
        loop {
            let request = self.client.scan().table_name(&self.table).consistent_read(true).limit(1);
            let answer = request.set_exclusive_start_key(start).send().await?;
            match answer.last_evaluated_key {
                _ if answer.count > 0 => return Ok(false),
                Some(next) => start = Some(next),
                None => return Ok(true),
            }
        }
    }

    /// Whether a log has no second commit, read consistently. Only the first is written together with the vault: where
    /// there is a second and no vault, that was taken away, and may be found.
    pub async fn is_registration_at_most(&self, user: UserId) -> Result<bool, Unavailable> {
        Ok(self.stored_at(user, Version::NONE.next().next()).await?.is_none())
    }

    /// Puts a tombstone in place of the vault of half a registration, on condition that it is still missing and that
    /// there is no second commit. The first stays, and nobody will read it: the key to it is lost.
    pub async fn bury(&self, user: UserId, now: DateTime<Utc>) -> Result<Put, Unavailable> {
        let unbuilt = |error| Unavailable(Box::new(error));
        let tombstone = aws_sdk_dynamodb::types::Put::builder()
            .table_name(&self.table)
            .set_item(Some(Vault::tombstone(user, now)))
            .condition_expression("attribute_not_exists(#item)")
            .expression_attribute_names("#item", "item")
            .build()
            .map_err(unbuilt)?;
        let no_second = self.without_commit(user, Version::NONE.next().next())?;
        let request = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(tombstone).build())
            .transact_items(TransactWriteItem::builder().condition_check(no_second).build());
        written(request.send().await, is_refused)
    }

    /// Deletes the vault of a user whose log has not begun, on condition that it still has not: the two are written
    /// together, so a vault alone is half a registration.
    pub async fn delete_lone_vault(&self, user: UserId) -> Result<Put, Unavailable> {
        let unbuilt = |error| Unavailable(Box::new(error));
        let no_commit = self.without_commit(user, Version::NONE.next())?;
        let vault = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key(user, VAULT)))
            .build()
            .map_err(unbuilt)?;
        let request = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().condition_check(no_commit).build())
            .transact_items(TransactWriteItem::builder().delete(vault).build());
        written(request.send().await, is_refused)
    }

    /// The condition that a user has no such commit.
    fn without_commit(&self, user: UserId, version: Version) -> Result<ConditionCheck, Unavailable> {
        ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(key(user, &sort_key(version))))
            .condition_expression("attribute_not_exists(#item)")
            .expression_attribute_names("#item", "item")
            .build()
            .map_err(|error| Unavailable(Box::new(error)))
    }
}

/// Whether a condition of a transaction failed.
fn is_refused(error: &TransactWriteItemsError) -> bool {
    match error {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => cancelled
            .cancellation_reasons()
            .iter()
            .any(|reason| reason.code() == Some("ConditionalCheckFailed")),
        _ => false,
    }
}

/// What became of a write whose condition failing is no error.
fn written<T, E: std::error::Error + Send + Sync + 'static>(
    sent: Result<T, SdkError<E>>,
    refused: impl FnOnce(&E) -> bool,
) -> Result<Put, Unavailable> {
    match sent {
        Ok(_) => Ok(Put::Written),
        Err(error) if error.as_service_error().is_some_and(refused) => Ok(Put::Lost),
        Err(error) => Err(error.into()),
    }
}
