//! What a change of service keys needs of the tables: who still uses a key, and vaults under the current ones.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use chrono::{DateTime, Utc};

use crate::Store;
use crate::error::{Broken, ReadError, Unavailable};
use crate::items::{Item, PAGE, b, n, octets, s, text};
use crate::keys::KeyId;
use crate::log::{Segment, key};
use crate::retry::Backoff;
use crate::seal::key_of;
use crate::vault::{Anew, SORT_KEY, Vault};

/// How many values name each key.
pub type KeyUsers = BTreeMap<KeyId, u64>;

/// A place in a scan of vaults.
#[derive(Debug, Clone)]
pub struct VaultCursor(Item);

/// One page of the vaults of a segment.
#[derive(Debug)]
pub struct VaultPage {
    /// The vaults; what is left of erased users is none.
    pub vaults: Vec<Vault>,
    /// Items in the place of a vault that are none.
    pub malformed: u64,
    /// Where the next page starts; `None` after the last.
    pub next: Option<VaultCursor>,
}

/// What became of a vault that is to be under the current keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rewrapped {
    /// Its data key was wrapped anew.
    pub data_key: bool,
    /// Its verifier was sealed anew.
    pub verifier: bool,
}

impl Store {
    /// One page of the vaults in a segment of the log, read consistently.
    pub async fn vaults(
        &self,
        segment: Segment,
        from: Option<VaultCursor>,
    ) -> Result<VaultPage, Unavailable> {
        self.refresh_keys().await;
        let answer = self
            .client
            .scan()
            .table_name(&self.log.table)
            .consistent_read(true)
            .limit(PAGE)
            .segment(i32::try_from(segment.index).unwrap_or(i32::MAX))
            .total_segments(i32::try_from(segment.total).unwrap_or(i32::MAX))
            .filter_expression("#item = :vault")
            .expression_attribute_names("#item", "item")
            .expression_attribute_values(":vault", s(SORT_KEY))
            .set_exclusive_start_key(from.map(|VaultCursor(key)| key))
            .send()
            .await?;
        let (mut vaults, mut malformed) = (Vec::new(), 0);
        for item in answer.items.unwrap_or_default() {
            match Vault::from_item(&item) {
                Ok(vault) => vaults.push(vault),
                Err(Broken::Erased) => {}
                Err(_) => malformed += 1,
            }
        }
        Ok(VaultPage { vaults, malformed, next: answer.last_evaluated_key.map(VaultCursor) })
    }

    /// Puts a vault's data key and verifier under the current keys, each where it lies and on condition that it is as it
    /// was read: a password that is changed meanwhile stays changed, and is under the current key anyway. Twice does no
    /// harm, and nothing in the log changes.
    ///
    /// # Errors
    /// [`ReadError`]; a vault that does not open is left as it is.
    pub async fn rewrap(&self, vault: &Vault) -> Result<Rewrapped, ReadError> {
        let data_key = self.renew(vault, |vault| vault.wrapped_anew(&self.log.keys)).await?;
        let verifier = self.renew(vault, |vault| vault.sealed_anew(&self.verifiers)).await?;
        Ok(Rewrapped { data_key, verifier })
    }

    /// Writes one attribute of a vault anew; false if it was as it should be.
    async fn renew(
        &self,
        vault: &Vault,
        anew: impl Fn(&Vault) -> Result<Option<Anew>, ReadError>,
    ) -> Result<bool, ReadError> {
        let mut vault = vault.clone();
        let mut backoff = Backoff::within(self.no_new_try_after);
        while let Some(anew) = anew(&vault)? {
            let request = self
                .client
                .update_item()
                .table_name(&self.log.table)
                .set_key(Some(key(vault.user(), SORT_KEY)))
                .update_expression("SET #sealed = :anew")
                .condition_expression("#sealed = :read AND #credential = :credential")
                .expression_attribute_names("#sealed", anew.attribute)
                .expression_attribute_names("#credential", "credential")
                .expression_attribute_values(":anew", b(anew.value))
                .expression_attribute_values(":read", b(anew.read))
                .expression_attribute_values(":credential", s(vault.credential.to_string()))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            let Err(error) = request.send().await else { return Ok(true) };
            match error.as_service_error() {
                // Somebody else wrote it: as it is now it may need nothing.
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    match failed.item().map(Vault::from_item) {
                        Some(Ok(now)) => vault = now,
                        Some(Err(Broken::Erased)) | None => return Ok(false),
                        Some(Err(broken)) => return Err(broken.into()),
                    }
                }
                // It is in the transaction of a command.
                Some(UpdateItemError::TransactionConflictException(_)) => {}
                _ => return Err(error.into()),
            }
            if !backoff.wait().await {
                return Err(Unavailable::because("a vault keeps changing").into());
            }
        }
        Ok(false)
    }

    /// Which keys the rows of living sessions name, read consistently: the key of their current token, and the one that
    /// seals where they were begun.
    pub async fn keys_of_sessions(&self, now: DateTime<Utc>) -> Result<KeyUsers, Unavailable> {
        let mut users = KeyUsers::new();
        let mut from = None;
        loop {
            let answer = self
                .client
                .scan()
                .table_name(&self.sessions.table)
                .consistent_read(true)
                .limit(PAGE)
                .filter_expression("begins_with(#item, :session) AND #expires > :now")
                .expression_attribute_names("#item", "item")
                .expression_attribute_names("#expires", "expires")
                .expression_attribute_values(":session", s("session-"))
                .expression_attribute_values(":now", n(now.timestamp()))
                .set_exclusive_start_key(from)
                .send()
                .await?;
            for row in answer.items.unwrap_or_default() {
                let token = text(&row, "key").ok().and_then(KeyId::parse);
                let client =
                    octets(&row, "client").ok().and_then(key_of).filter(|id| Some(id) != token.as_ref());
                for id in token.into_iter().chain(client) {
                    *users.entry(id).or_default() += 1;
                }
            }
            from = answer.last_evaluated_key;
            if from.is_none() {
                return Ok(users);
            }
        }
    }

    /// Which keys the views name, read consistently.
    pub async fn keys_of_views(&self) -> Result<KeyUsers, Unavailable> {
        let mut users = KeyUsers::new();
        let mut from = None;
        loop {
            let answer = self
                .client
                .scan()
                .table_name(&self.views.table)
                .consistent_read(true)
                .limit(PAGE)
                .set_exclusive_start_key(from)
                .send()
                .await?;
            for view in answer.items.unwrap_or_default() {
                if let Some(id) = octets(&view, "sealed").ok().and_then(key_of) {
                    *users.entry(id).or_default() += 1;
                }
            }
            from = answer.last_evaluated_key;
            if from.is_none() {
                return Ok(users);
            }
        }
    }
}
