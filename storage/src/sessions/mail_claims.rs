use std::time::Duration;

use aws_lc_rs::rand;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{UserId, Version};

use crate::error::Unavailable;
use crate::items::{Item, n, number, s, text};
use crate::log::key;
use crate::retry::Backoff;

/// The prefix of a claim's sort key.
const PREFIX: &str = "mail-";
/// It is remembered for so long what was sent: longer than the stream holds a record.
const REMEMBERED: TimeDelta = TimeDelta::days(3);
/// The clocks of two functions do not differ by more.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(1);

/// What says which commits' mails are being sent or have been: an item `mail-…` for each in the sessions table.
///
/// A commit may call for several mails, in an order that follows from it; how many have gone out is counted.
#[derive(Debug, Clone)]
pub struct MailClaims {
    client: Client,
    table: String,
}

/// The right to send the mails of a commit, until the lease ends.
#[derive(Debug, Clone)]
pub struct MailClaim {
    user: UserId,
    version: Version,
    /// Random: nobody else's claim looks like it.
    id: String,
    /// So many of the commit's mails have been sent already.
    pub sent: usize,
}

/// What came of claiming a commit's mails.
#[derive(Debug, Clone)]
pub enum Claimed {
    /// Nobody else sends them for now.
    Ours(MailClaim),
    /// Somebody is sending them, or was when they broke down a moment ago: ask again later.
    Held,
    /// All of them have been sent.
    Done,
}

impl MailClaims {
    /// The claims, which lie in the sessions table.
    pub const fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Claims the mails of a commit for the time of a lease, unless somebody else holds them or they have been sent.
    /// Exact whatever is asked at once: the rule is the condition of the write. A lost answer does no harm: a claim
    /// that is met again is known by its id.
    ///
    /// A lease that ends later than any could was not made by claiming, and binds nobody.
    pub async fn claim(
        &self,
        user: UserId,
        version: Version,
        lease: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<Claimed, Unavailable> {
        let mut octets = [0_u8; 16];
        rand::fill(&mut octets)?;
        let id = format!("{:032x}", u128::from_be_bytes(octets));
        let claimed = self
            .update(user, version)
            .update_expression(
                "SET #claim = :claim, #until = :until, #expires = :expires, #sent = if_not_exists(#sent, :none)",
            )
            .condition_expression("attribute_not_exists(#done) AND NOT (#until BETWEEN :now AND :latest)")
            .expression_attribute_names("#until", "until")
            .expression_attribute_names("#expires", "expires")
            .expression_attribute_names("#sent", "sent")
            .expression_attribute_names("#done", "done")
            .expression_attribute_values(":claim", s(&id))
            .expression_attribute_values(":until", n((now + lease).timestamp_millis()))
            .expression_attribute_values(":expires", n((now + REMEMBERED).timestamp()))
            .expression_attribute_values(":none", n(0))
            .expression_attribute_values(":now", n(now.timestamp_millis() + 1))
            .expression_attribute_values(":latest", n((now + lease + CLOCK_SKEW).timestamp_millis()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        // A count that was not made by counting is none: better a mail too many than none.
        let ours = |item: &Item| {
            Claimed::Ours(MailClaim {
                user,
                version,
                id: id.clone(),
                sent: number(item, "sent").unwrap_or(0),
            })
        };
        match claimed {
            Ok(answer) => Ok(ours(&answer.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => Ok(match failed.item() {
                    Some(found) if text(found, "claim") == Ok(id.as_str()) => ours(found),
                    Some(found) if found.contains_key("done") => Claimed::Done,
                    _ => Claimed::Held,
                }),
                _ => Err(error.into()),
            },
        }
    }

    /// Notes that one more mail of the commit has been sent, or need not be; `all`, if it was the last. Otherwise the
    /// lease begins anew. Tries again for as long as `patience` lasts: what is sent and not noted is sent again.
    ///
    /// False if somebody else has taken the claim over meanwhile.
    ///
    /// # Errors
    /// [`Unavailable`] when it could not be noted in that time.
    pub async fn note(
        &self,
        claim: &mut MailClaim,
        all: bool,
        lease: TimeDelta,
        patience: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool, Unavailable> {
        let sent = claim.sent + 1;
        let change =
            if all { "SET #sent = :sent, #done = :done" } else { "SET #sent = :sent, #until = :until" };
        let mut backoff = Backoff::within(patience);
        loop {
            let request = self.held(claim).update_expression(change);
            let request = request
                .expression_attribute_names("#sent", "sent")
                .expression_attribute_values(":sent", n(sent));
            let request = if all {
                request
                    .expression_attribute_names("#done", "done")
                    .expression_attribute_values(":done", AttributeValue::Bool(true))
            } else {
                request
                    .expression_attribute_names("#until", "until")
                    .expression_attribute_values(":until", n((now + lease).timestamp_millis()))
            };
            match request.send().await {
                Ok(_) => {
                    claim.sent = sent;
                    return Ok(true);
                }
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
                {
                    return Ok(false);
                }
                Err(error) if !backoff.wait().await => return Err(error.into()),
                Err(_) => {}
            }
        }
    }

    /// Gives a claim up, so that whoever comes next need not wait for the end of the lease.
    pub async fn release(&self, claim: &MailClaim) -> Result<(), Unavailable> {
        let request = self.held(claim).update_expression("SET #until = :none");
        let released = request
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":none", n(0))
            .send()
            .await;
        match released {
            Ok(_) => Ok(()),
            // Somebody else has it already.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// An update on condition that the claim is still held.
    fn held(&self, claim: &MailClaim) -> UpdateItemFluentBuilder {
        self.update(claim.user, claim.version)
            .condition_expression("#claim = :claim")
            .expression_attribute_values(":claim", s(&claim.id))
    }

    fn update(&self, user: UserId, version: Version) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(user, &format!("{PREFIX}{:010}", version.number()))))
            .expression_attribute_names("#claim", "claim")
    }
}

/// Whether an item of the sessions table is a claim.
pub(crate) fn is_mail_claim(item: &Item) -> bool {
    text(item, "item").is_ok_and(|sort_key| sort_key.starts_with(PREFIX))
}
