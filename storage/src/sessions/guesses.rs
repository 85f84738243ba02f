use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Config;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use chrono::{DateTime, TimeDelta, Utc};
use domain::UserId;

use crate::error::{Broken, Unavailable};
use crate::identifiers::Identifier;
use crate::items::{n, number, s};

/// So many consecutive failures cost nothing; from then on there is a wait.
const FREE: u64 = 5;
/// The wait after the first of the failures that cost; it doubles with each one more.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(1);
/// No wait is longer.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(15);
/// The number of waits from the first to the longest: 1 s, 2 s, 4 s, … 512 s, 900 s.
const WAITS: u32 = 11;
/// The counts of addresses that nobody has are forgotten after this.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::days(90);

/// Whose guesses are counted.
#[derive(Debug, Clone)]
pub enum Guessed {
    /// A user's.
    User(UserId),
    /// Those of an address that no user has.
    Unknown(Identifier),
}

/// The counts of attempts to sign in.
#[derive(Debug, Clone)]
pub struct Guesses {
    client: Client,
    table: String,
}

/// What came of counting an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It is counted, with this number, and may be evaluated.
    Attempt(u64),
    /// It came too early and was not counted.
    TooEarly {
        /// How long until the next may come.
        wait: TimeDelta,
    },
}

/// Why an attempt could not be counted.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// Perhaps it was counted: the answer is not known, and asking again could count it twice.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The count cannot be read.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// How long to wait after so many consecutive failures. [ASVS 5.0, 6.3.1]
fn wait_after(failures: u64) -> TimeDelta {
    let Some(costly) = failures.checked_sub(FREE) else { return TimeDelta::zero() };
    let doubled = u32::try_from(costly).ok().and_then(|costly| 1_i32.checked_shl(costly));
    match doubled {
        Some(factor) if costly < u64::from(WAITS) => (FIRST_WAIT * factor).min(LONGEST_WAIT),
        _ => LONGEST_WAIT,
    }
}

impl Guesses {
    /// The counts, which lie in the sessions table.
    pub const fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Counts an attempt before it is evaluated, unless it comes too early after the failures since attempt `base`,
    /// the last that succeeded. Exact whatever is asked at once: the rule is the condition of the write.
    ///
    /// Sent once. A second try by the SDK could count one attempt twice.
    pub async fn count(
        &self,
        guessed: &Guessed,
        base: u64,
        now: DateTime<Utc>,
    ) -> Result<Counted, CountError> {
        let (partition, expires) = match guessed {
            Guessed::User(user) => (user.to_string(), None),
            Guessed::Unknown(identifier) => {
                (identifier.as_str().to_owned(), Some((now + FORGOTTEN_AFTER).timestamp()))
            }
        };
        let mut request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("user", s(partition))
            .key("item", s("guesses"))
            .expression_attribute_names("#attempts", "attempts")
            .expression_attribute_names("#last", "last")
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":base", n(base))
            .expression_attribute_values(":now", n(now.timestamp_millis()))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        // A count that was lost starts again from the last success: from zero, all guesses up to it would be free.
        let mut update = "SET #last = :now, #attempts = if_not_exists(#attempts, :base) + :one".to_owned();
        if let Some(expires) = expires {
            update.push_str(", #expires = :expires");
            request = request
                .expression_attribute_names("#expires", "expires")
                .expression_attribute_values(":expires", n(expires));
        }
        // So many attempts are let through at once, or that many if the last was long enough ago, …
        let mut allowed = vec!["attribute_not_exists(#attempts) OR #attempts < :free".to_owned()];
        request = request.expression_attribute_values(":free", n(base + FREE));
        for level in 0..WAITS {
            let failures = FREE + u64::from(level);
            let earlier = now - wait_after(failures);
            allowed.push(if level + 1 == WAITS {
                format!("#last <= :t{level}")
            } else {
                request = request.expression_attribute_values(format!(":n{level}"), n(base + failures));
                format!("(#attempts <= :n{level} AND #last <= :t{level})")
            });
            request =
                request.expression_attribute_values(format!(":t{level}"), n(earlier.timestamp_millis()));
        }
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let counted = request
            .update_expression(update)
            .condition_expression(allowed.join(" OR "))
            .customize()
            .config_override(once)
            .send()
            .await;
        match counted {
            Ok(answer) => Ok(Counted::Attempt(number(&answer.attributes.unwrap_or_default(), "attempts")?)),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    let found = failed.item().cloned().unwrap_or_default();
                    let (attempts, last): (u64, i64) = (number(&found, "attempts")?, number(&found, "last")?);
                    let next = TimeDelta::milliseconds(last) + wait_after(attempts.saturating_sub(base));
                    Ok(Counted::TooEarly { wait: next - TimeDelta::milliseconds(now.timestamp_millis()) })
                }
                _ => Err(CountError::Unavailable(error.into())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::wait_after;

    #[test]
    fn the_wait_doubles_from_one_second_after_the_fifth_failure_to_fifteen_minutes() {
        let seconds: Vec<i64> = (4..18).map(|failures| wait_after(failures).num_seconds()).collect();
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
        assert_eq!(wait_after(u64::MAX), TimeDelta::minutes(15));
    }
}
