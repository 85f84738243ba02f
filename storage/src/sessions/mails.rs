use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, Update};
use chrono::{DateTime, TimeDelta, Utc};

use crate::error::Unavailable;
use crate::items::{n, s};

/// The sort key of the mails that strangers have had sent to one address.
const SORT_KEY: &str = "mails";
/// So many of the last mails' times are kept: those of a day.
const KEPT: usize = MOST_A_DAY;
/// No more mails within any hour.
const MOST_AN_HOUR: usize = 3;
/// No more mails within any 24 hours.
const MOST_A_DAY: usize = 10;
/// The clocks of two functions do not differ by more.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(1);
/// Times that old say nothing any more, so the item may go.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(25);

/// Counts a mail that a stranger can cause, for whoever's item lies in this partition: a user's id, or the identifier
/// of an address that nobody has. One write for the transaction of the event, whose condition fails where the bound is
/// reached.
///
/// Exact in every hour and every 24 hours, wherever they begin: the item holds the times of the last ten mails, the
/// youngest first, and the third must be an hour ago and the tenth a day. What is no time, or one in the future, was not
/// made by counting, and nobody goes without mail because of it.
pub(crate) fn one_more(table: &str, partition: &str, now: DateTime<Utc>) -> Result<Update, Unavailable> {
    let mut moves = vec!["#sent1 = :now".to_owned(), "#expires = :expires".to_owned()];
    for number in 2..=KEPT {
        moves.push(format!("#sent{number} = if_not_exists(#sent{}, :never)", number - 1));
    }
    let long_ago = |most: usize, when: &str| {
        let sent = format!("#sent{most}");
        format!("(NOT attribute_type({sent}, :number) OR {sent} <= {when} OR {sent} > :soon)")
    };
    let condition =
        format!("{} AND {}", long_ago(MOST_AN_HOUR, ":hour_ago"), long_ago(MOST_A_DAY, ":day_ago"));
    let mut update = Update::builder()
        .table_name(table)
        .key("user", s(partition))
        .key("item", s(SORT_KEY))
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
