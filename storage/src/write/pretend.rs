//! What is written for an address that nobody has, so that nobody can tell it from one that somebody has by what is
//! asked of the tables: as many requests, of the same kinds, of the same cost.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use chrono::{DateTime, TimeDelta, Utc};

use super::effects::unbuilt;
use crate::Store;
use crate::error::Unavailable;
use crate::identifiers::Identifier;
use crate::items::{Item, b, n, s};
use crate::retry::Backoff;
use crate::sessions::mails::Tally;
use crate::sessions::{Guessed, mails};

/// The sort key of what stands for a commit. There is one at most for an address.
const SORT_KEY: &str = "decoy";
/// About as much as a commit seals, in octets.
const SEALED: usize = 300;
/// It is of no use, and soon gone.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(1);

/// What came of pretending to send a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pretended {
    /// It would have been sent, and is counted.
    Sent,
    /// Too many would have been sent already.
    TooManyMails,
}

impl Store {
    /// For an address that nobody has: the transaction that sends a mail to somebody ([`Store::execute`] with a command
    /// that has one sent), with the same count of mails and with an item that means nothing in place of the commit. For
    /// somebody who needs no mail, the same with their own count: what is asked for of an address shows elsewhere in
    /// whether there were too many, and so must count alike whoever has it.
    pub async fn pretend_mail(&self, whose: &Guessed, now: DateTime<Utc>) -> Result<Pretended, Unavailable> {
        let decoy = Put::builder()
            .table_name(&self.sessions.table)
            .set_item(Some(decoy(&whose.partition(), now)))
            .build()
            .map_err(unbuilt)?;
        let count = mails::one_more(&self.sessions.table, &whose.partition(), Tally::Mails, now)?;
        let items = vec![
            TransactWriteItem::builder().put(decoy).build(),
            TransactWriteItem::builder().update(count).build(),
        ];
        let mut backoff = Backoff::within(self.no_new_try_after);
        loop {
            let Err(error) = self.transact(items.clone()).await else { return Ok(Pretended::Sent) };
            if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
                error.as_service_error()
                && cancelled
                    .cancellation_reasons()
                    .iter()
                    .any(|reason| reason.code() == Some("ConditionalCheckFailed"))
            {
                return Ok(Pretended::TooManyMails);
            }
            if !backoff.wait().await {
                return Err(error.into());
            }
        }
    }

    /// For an address that nobody has: the lone write of a commit that somebody's user would get.
    pub async fn pretend_commit(&self, unknown: &Identifier, now: DateTime<Utc>) -> Result<(), Unavailable> {
        self.client
            .put_item()
            .table_name(&self.sessions.table)
            .set_item(Some(decoy(unknown.as_str(), now)))
            .send()
            .await?;
        Ok(())
    }
}

pub(super) fn decoy(partition: &str, now: DateTime<Utc>) -> Item {
    Item::from([
        ("user".to_owned(), s(partition)),
        ("item".to_owned(), s(SORT_KEY)),
        ("sealed".to_owned(), b([0; SEALED])),
        ("expires".to_owned(), n((now + FORGOTTEN_AFTER).timestamp())),
    ])
}
