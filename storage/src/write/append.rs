use aws_sdk_dynamodb::config::Config;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use chrono::TimeDelta;
use domain::CommandId;

use super::effects::{Companion, Kind, put_new};
use crate::Store;
use crate::client::TRANSACTION_TIMEOUT;
use crate::error::{ReadError, Unavailable};
use crate::items::{Item, octets};
use crate::log::{StoredCommit, is_of};
use crate::retry::Backoff;
use crate::sessions::mails::{self, Tally};

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The commit is in the log, with everything that belongs to it.
    Appended,
    /// The command took effect in an earlier request, with a commit that is not this one, octet for octet: other
    /// keys, times and ids were made for it.
    AppendedBefore,
    /// Another commit has taken its place in the log.
    Conflict,
    /// The address belongs to somebody.
    Taken,
    /// The session in which the command was given has ended.
    SessionEnded,
    /// Too many mails have been sent already to somebody who never showed that they read them; so long until the next.
    TooManyMails(TimeDelta),
    /// Something else it rested on has changed.
    Stale,
}

/// What one try of a write came to.
enum Try {
    Final(Outcome),
    /// Nothing happened, and nothing stands in the way: the same again.
    Again(Unavailable),
    /// Perhaps it happened.
    Unknown(Unavailable),
    Failed(Unavailable),
}

impl Store {
    /// Appends a commit and its companions: all of it or nothing, and at most once. An unknown outcome is settled
    /// before anything else: what lies in the commit's place tells.
    pub(super) async fn append(
        &self,
        command: CommandId,
        commit: &StoredCommit,
        companions: &[Companion],
        backoff: &mut Backoff,
    ) -> Result<Outcome, ReadError> {
        loop {
            let tried = if companions.is_empty() {
                self.put_alone(command, commit).await?
            } else {
                self.put_together(command, commit, companions).await?
            };
            let error = match tried {
                Try::Final(outcome) => return Ok(outcome),
                Try::Failed(error) => return Err(error.into()),
                Try::Again(error) => error,
                Try::Unknown(error) => match self.log.stored_at(commit.user, commit.version).await? {
                    Some(found) => return Ok(in_the_way(&found, command, commit)),
                    // Not yet, perhaps never. The same request again does no harm: if the first one arrives
                    // meanwhile, this one finds our own commit in its way.
                    None => error,
                },
            };
            if !backoff.wait().await {
                return Err(error.into());
            }
        }
    }

    async fn put_alone(&self, command: CommandId, commit: &StoredCommit) -> Result<Try, Unavailable> {
        let sent = self
            .client
            .put_item()
            .table_name(&self.log.table)
            .set_item(Some(commit.clone().into_item()))
            .condition_expression("attribute_not_exists(#item)")
            .expression_attribute_names("#item", "item")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = sent else { return Ok(Try::Final(Outcome::Appended)) };
        Ok(match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => Try::Final(
                failed.item().map_or(Outcome::Conflict, |found| in_the_way(found, command, commit)),
            ),
            Some(
                PutItemError::TransactionConflictException(_)
                | PutItemError::ProvisionedThroughputExceededException(_)
                | PutItemError::RequestLimitExceeded(_)
                | PutItemError::ThrottlingException(_),
            ) => Try::Again(error.into()),
            Some(PutItemError::InternalServerError(_)) => Try::Unknown(error.into()),
            _ => unanswered(error),
        })
    }

    async fn put_together(
        &self,
        command: CommandId,
        commit: &StoredCommit,
        companions: &[Companion],
    ) -> Result<Try, Unavailable> {
        let put = put_new(&self.log.table, "item", commit.clone().into_item())?;
        let first = TransactWriteItem::builder().put(put).build();
        let items = std::iter::once(first).chain(companions.iter().map(|companion| companion.item.clone()));
        let sent = self.transact(items.collect()).await;
        let Err(error) = sent else { return Ok(Try::Final(Outcome::Appended)) };
        Ok(match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                let reasons = cancelled.cancellation_reasons();
                match read(reasons, command, commit, companions) {
                    Some(outcome) => Try::Final(outcome),
                    None if reasons.iter().all(passes) => Try::Again(error.into()),
                    None => Try::Failed(error.into()),
                }
            }
            Some(
                TransactWriteItemsError::ProvisionedThroughputExceededException(_)
                | TransactWriteItemsError::RequestLimitExceeded(_)
                | TransactWriteItemsError::ThrottlingException(_),
            ) => Try::Again(error.into()),
            Some(
                TransactWriteItemsError::InternalServerError(_)
                | TransactWriteItemsError::TransactionInProgressException(_),
            ) => Try::Unknown(error.into()),
            _ => unanswered(error),
        })
    }

    /// Sends a transaction, with the time it may take.
    pub(super) async fn transact(
        &self,
        items: Vec<TransactWriteItem>,
    ) -> Result<(), SdkError<TransactWriteItemsError>> {
        let patient = TimeoutConfig::builder()
            .operation_timeout(TRANSACTION_TIMEOUT)
            .operation_attempt_timeout(TRANSACTION_TIMEOUT)
            .build();
        self.client
            .transact_write_items()
            .set_transact_items(Some(items))
            .customize()
            .config_override(Config::builder().timeout_config(patient))
            .send()
            .await
            .map(|_| ())
    }
}

/// Reads why a transaction was cancelled, in the order that matters: our own traces first, then the bound on mails that
/// anybody can ask for, which no other place in the log changes, then the commit, then the address, then the session, then
/// all else, and last the bounds on what the user does: only of the user as they are now they say something. `None` if
/// nothing stands in the way but others who are writing right now.
fn read(
    reasons: &[CancellationReason],
    command: CommandId,
    commit: &StoredCommit,
    companions: &[Companion],
) -> Option<Outcome> {
    let failed = |reason: &CancellationReason| reason.code() == Some("ConditionalCheckFailed");
    let (first, others) = reasons.split_first()?;
    if failed(first) {
        let in_its_place = first.item().map_or(Outcome::Conflict, |found| in_the_way(found, command, commit));
        if in_its_place != Outcome::Conflict {
            return Some(in_its_place);
        }
    }
    if others.iter().any(|reason| reason.item().is_some_and(|item| is_of(item, command))) {
        return Some(Outcome::AppendedBefore);
    }
    let mut too_many = None;
    for (reason, companion) in others.iter().zip(companions).filter(|(reason, _)| failed(reason)) {
        if let Kind::Mails { tally, now } = companion.kind {
            let wait = reason.item().map_or_else(TimeDelta::zero, |found| mails::wait(found, tally, now));
            too_many = too_many.or(Some((tally, Outcome::TooManyMails(wait))));
        }
    }
    if let Some((Tally::Mails, too_many)) = too_many {
        return Some(too_many);
    }
    if failed(first) {
        return Some(Outcome::Conflict);
    }
    let mut stale = None;
    for (_, companion) in others.iter().zip(companions).filter(|(reason, _)| failed(reason)) {
        match companion.kind {
            Kind::Identifier => return Some(Outcome::Taken),
            Kind::ActingSession => stale = Some(Outcome::SessionEnded),
            Kind::Other => stale = stale.or(Some(Outcome::Stale)),
            Kind::Mails { .. } => {}
        }
    }
    stale.or(too_many.map(|(_, too_many)| too_many))
}

/// What an item in the commit's place says.
fn in_the_way(found: &Item, command: CommandId, commit: &StoredCommit) -> Outcome {
    if !is_of(found, command) {
        Outcome::Conflict
    } else if octets(found, "sealed").is_ok_and(|sealed| sealed == commit.sealed) {
        Outcome::Appended
    } else {
        Outcome::AppendedBefore
    }
}

/// Whether a reason will be gone with those who are writing right now, or with the rush. `None` is the code of an
/// action that nothing stood in the way of.
fn passes(reason: &CancellationReason) -> bool {
    matches!(
        reason.code(),
        None | Some("None" | "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
    )
}

/// An error that says nothing of the outcome, unless the request was never sent or was refused.
fn unanswered<E: std::error::Error + Send + Sync + 'static>(error: SdkError<E>) -> Try {
    match &error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            Try::Unknown(error.into())
        }
        // A 5xx without a code that we know, or an answer cut off behind its status line.
        SdkError::ServiceError(answer) if !answer.raw().status().is_client_error() => {
            Try::Unknown(error.into())
        }
        _ => Try::Failed(error.into()),
    }
}
