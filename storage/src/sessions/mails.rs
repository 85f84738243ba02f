use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, Update};
use chrono::{DateTime, TimeDelta, Utc};
use domain::UserId;

use super::Sessions;
use crate::error::Unavailable;
use crate::items::{Item, n, s};
use crate::log::key;

/// So many of the last mails' times are kept: those of a day.
const KEPT: usize = 10;
/// The clocks of two functions do not differ by more.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(1);
/// Times that old say nothing any more, so the item may go.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(25);

/// What is counted of the mails that are sent to those who have never shown that they read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tally {
    /// Mails that anybody can have sent, to a user or to an address that nobody has.
    Mails,
    /// Changes of the password of a user whose address nobody has shown to be theirs: each is told to that address. Apart
    /// from the mails that anybody can ask for, so that nobody else keeps the user from changing the password.
    Changes,
    /// Moves away from an address that nobody has shown to be theirs, whoever had it: it is told each time, and when it is
    /// registered again the other mails to it are counted anew.
    Moves,
}

impl Tally {
    /// The sort key of its count.
    const fn sort_key(self) -> &'static str {
        match self {
            Self::Mails => "mails",
            Self::Changes => "changes",
            Self::Moves => "moves",
        }
    }

    /// No more within any hour.
    const fn most_an_hour(self) -> usize {
        match self {
            Self::Mails | Self::Changes => 3,
            Self::Moves => 1,
        }
    }

    /// No more within any 24 hours; at most [`KEPT`].
    const fn most_a_day(self) -> usize {
        match self {
            Self::Mails | Self::Changes => KEPT,
            Self::Moves => 1,
        }
    }
}

impl Sessions {
    /// How long a user whose address nobody has shown to be theirs must wait before they change the password, as far as
    /// it was counted by now; nothing if they need not. Read consistently.
    pub async fn wait_before_change(
        &self,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<TimeDelta, Unavailable> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(user, Tally::Changes.sort_key())))
            .consistent_read(true)
            .send()
            .await?;
        Ok(found.item.map_or_else(TimeDelta::zero, |found| wait(&found, Tally::Changes, now)))
    }
}

/// How long until one more is let through, by a count as it was found; nothing if one is.
pub(crate) fn wait(found: &Item, tally: Tally, now: DateTime<Utc>) -> TimeDelta {
    let until = |most: usize, within: TimeDelta| {
        let sent = found.get(&format!("sent{most}"))?.as_n().ok()?.parse().ok()?;
        let sent = DateTime::from_timestamp_millis(sent).filter(|sent| *sent <= now + CLOCK_SKEW)?;
        sent.checked_add_signed(within).map(|until| until - now)
    };
    let waits =
        [until(tally.most_an_hour(), TimeDelta::hours(1)), until(tally.most_a_day(), TimeDelta::days(1))];
    waits.into_iter().flatten().fold(TimeDelta::zero(), TimeDelta::max)
}

/// Counts a mail, for whoever's item lies in this partition: a user's id, or the identifier of an address. One write for
/// the transaction of the event, whose condition fails where the bound is reached.
///
/// Exact in every hour and every 24 hours, wherever they begin: the item holds the times of the last ten mails, the
/// youngest first, and where three are let through within an hour and ten within a day, the third must be an hour ago and
/// the tenth a day. What is no time, or one in the future, was not made by counting, and nobody goes without mail because
/// of it.
pub(crate) fn one_more(
    table: &str,
    partition: &str,
    tally: Tally,
    now: DateTime<Utc>,
) -> Result<Update, Unavailable> {
    let mut moves = vec!["#sent1 = :now".to_owned(), "#expires = :expires".to_owned()];
    for number in 2..=KEPT {
        moves.push(format!("#sent{number} = if_not_exists(#sent{}, :never)", number - 1));
    }
    let long_ago = |most: usize, when: &str| {
        let sent = format!("#sent{most}");
        format!("(NOT attribute_type({sent}, :number) OR {sent} <= {when} OR {sent} > :soon)")
    };
    let condition = format!(
        "{} AND {}",
        long_ago(tally.most_an_hour(), ":hour_ago"),
        long_ago(tally.most_a_day(), ":day_ago")
    );
    let mut update = Update::builder()
        .table_name(table)
        .key("user", s(partition))
        .key("item", s(tally.sort_key()))
        .update_expression(format!("SET {}", moves.join(", ")))
        .condition_expression(condition)
        .expression_attribute_names("#expires", "expires")
        .expression_attribute_values(":now", n(now.timestamp_millis()))
        .expression_attribute_values(":expires", n((now + FORGOTTEN_AFTER).timestamp()))
        .expression_attribute_values(":never", n(0))
        .expression_attribute_values(":number", s("N"))
        .expression_attribute_values(":hour_ago", n((now - TimeDelta::hours(1)).timestamp_millis()))
        .expression_attribute_values(":day_ago", n((now - TimeDelta::days(1)).timestamp_millis()))
        .expression_attribute_values(":soon", n((now + CLOCK_SKEW).timestamp_millis()))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    for number in 1..=KEPT {
        update = update.expression_attribute_names(format!("#sent{number}"), format!("sent{number}"));
    }
    update.build().map_err(|error| Unavailable(Box::new(error)))
}
