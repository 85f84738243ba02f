//! Marks in the read model of users whose logs cannot be read.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use chrono::{DateTime, SecondsFormat, Utc};
use domain::{UserId, Version};

use crate::error::{Broken, Unavailable};
use crate::items::{Item, n, number, s, text};
use crate::views::{Put, ViewCursor, Views, user_of, view_key};

/// The sparse index of the parked.
const PARKED: &str = "parked";

/// The mark of a user whose log could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Since when; RFC 3339.
    pub since: String,
    /// The code of what is [`Broken`].
    pub reason: String,
}

impl Views {
    /// One page of the parked users, from the sparse index of their marks: eventually consistent.
    pub async fn parked(
        &self,
        from: Option<ViewCursor>,
    ) -> Result<(Vec<(UserId, Parked)>, Option<ViewCursor>), Unavailable> {
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            .index_name(PARKED)
            .set_exclusive_start_key(from.map(|ViewCursor(key)| key))
            .send()
            .await?;
        let items = answer.items.unwrap_or_default();
        let marked = items.iter().filter_map(|item| Some((user_of(item)?, mark(item)?))).collect();
        Ok((marked, answer.last_evaluated_key.map(ViewCursor)))
    }

    /// Marks a user whose log cannot be read, unless the view has moved on since it was read at version `seen`
    /// ([`Version::NONE`]: there was none), which is [`Put::Lost`]. The first mark's time stays.
    pub async fn park(
        &self,
        user: UserId,
        seen: Version,
        broken: &Broken,
        now: DateTime<Utc>,
    ) -> Result<Put, Unavailable> {
        let marked = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(view_key(user)))
            .update_expression(
                "SET #parked = if_not_exists(#parked, :now), #reason = :reason, \
                 #version = if_not_exists(#version, :seen), #fold = if_not_exists(#fold, :fold), \
                 #marks = if_not_exists(#marks, :none) + :one",
            )
            .condition_expression("attribute_not_exists(#version) OR #version = :seen")
            .expression_attribute_names("#parked", "parked")
            .expression_attribute_names("#reason", "parked_reason")
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#fold", "fold")
            .expression_attribute_names("#marks", "marks")
            .expression_attribute_values(":none", n(0))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":now", s(now.to_rfc3339_opts(SecondsFormat::Millis, true)))
            .expression_attribute_values(":reason", s(broken.code()))
            .expression_attribute_values(":seen", n(seen))
            .expression_attribute_values(":fold", n(self.fold()))
            .send()
            .await;
        match marked {
            Ok(_) => Ok(Put::Written),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(Put::Lost)
            }
            Err(error) => Err(error.into()),
        }
    }
}

pub(crate) fn mark(item: &Item) -> Option<Parked> {
    let reason = text(item, "parked_reason").unwrap_or_default().to_owned();
    Some(Parked { since: text(item, "parked").ok()?.to_owned(), reason })
}

/// How often the user of an item was parked; `None` if what the item says is no count that a mark leaves.
pub(crate) fn marks(item: &Item) -> Option<u64> {
    if item.contains_key("marks") { number(item, "marks").ok().filter(|marks| *marks > 0) } else { Some(0) }
}
