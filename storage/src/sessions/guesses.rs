use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Config;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{DeviceId, MOST_FAILURES, UserId};

use crate::error::{Broken, ReadError, Unavailable};
use crate::identifiers::Identifier;
use crate::items::{Item, n, number, s};
use crate::log::key;

/// The sort key of a count, with the device behind it where it is that of one.
const SORT_KEY: &str = "guesses";
/// So many consecutive failures cost nothing; from then on there is a wait.
const FREE: u64 = 5;
/// The wait after the first of the failures that cost; it doubles with each one more.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(1);
/// No wait is longer.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(15);
/// The number of waits from the first to the longest: 1 s, 2 s, 4 s, … 512 s, 900 s.
const WAITS: u32 = 11;
/// Far more than anybody can fail between two successes. A count further from the last success than this was not made by
/// counting.
const MOST: u64 = 1 << 32;
/// The clocks of two functions do not differ by more.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(1);
/// The counts of devices are forgotten after this, and their tokens are good for no longer.
pub(super) const DEVICE_FORGOTTEN_AFTER: TimeDelta = TimeDelta::days(365);
/// How often a count that was patched meanwhile is looked at again.
const TRIES: usize = 3;
/// The counts of addresses that nobody has are forgotten after this.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::days(90);

/// Whose guesses are counted.
#[derive(Debug, Clone)]
pub enum Guessed {
    /// A user's.
    User(UserId),
    /// A user's, by a device that they signed in with before.
    Device(UserId, DeviceId),
    /// Those of an address that no user has.
    Unknown(Identifier),
}

impl Guessed {
    /// The partition of the sessions table with what is counted of them.
    pub(crate) fn partition(&self) -> String {
        match self {
            Self::User(user) | Self::Device(user, _) => user.to_string(),
            Self::Unknown(identifier) => identifier.as_str().to_owned(),
        }
    }
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
    /// As many have failed as may: it was not counted, and is not to be evaluated, whenever it comes. From a device it may
    /// be counted at its user yet: the device is none any more.
    Exhausted {
        /// The number of the last attempt that was counted.
        attempts: u64,
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
    /// the last that succeeded, or [`MOST_FAILURES`] have failed since. Exact whatever is asked at once: the rule is the
    /// condition of the write.
    ///
    /// A count that lies before `base`, far beyond it or in the future was not made by counting. It starts again from
    /// `base`, so that nothing made up gets into the log with the next success.
    ///
    /// Sent once. A second try by the SDK could count one attempt twice.
    pub async fn count(
        &self,
        guessed: &Guessed,
        base: u64,
        now: DateTime<Utc>,
    ) -> Result<Counted, CountError> {
        self.count_up_to(MOST, guessed, base, now).await
    }

    /// As [`Guesses::count`], where `base` is the last success by a log that was read to its end since a count was found to
    /// be exhausted: no counting leads beyond what may fail, so what lies there starts again, too.
    pub async fn count_by_the_log(
        &self,
        guessed: &Guessed,
        base: u64,
        now: DateTime<Utc>,
    ) -> Result<Counted, CountError> {
        self.count_up_to(MOST_FAILURES, guessed, base, now).await
    }

    async fn count_up_to(
        &self,
        most: u64,
        guessed: &Guessed,
        base: u64,
        now: DateTime<Utc>,
    ) -> Result<Counted, CountError> {
        for _ in 0..TRIES {
            let refused = match self.add(guessed, base, now).await? {
                Added::As(number) => return Ok(Counted::Attempt(number)),
                Added::Refused(found) => found,
            };
            if let Some(attempts) = exhausted(&refused, base, most) {
                return Ok(Counted::Exhausted { attempts });
            }
            if let Some(wait) = wait_for(&refused, base, most, now) {
                return Ok(Counted::TooEarly { wait });
            }
            tracing::warn!("a count of guesses was not made by counting; it starts again");
            if let Some(number) = self.restart(guessed, base, now, &refused).await? {
                return Ok(Counted::Attempt(number));
            }
        }
        Err(Unavailable::because("the count of guesses keeps changing").into())
    }

    /// The number of the last attempt of a user that was counted, read consistently; `base`, the last that succeeded, if
    /// there is none. `None` if no counting leads there from `base`, which is old then, or the count was made up.
    pub async fn counted(&self, user: UserId, base: u64) -> Result<Option<u64>, ReadError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(user, SORT_KEY)))
            .consistent_read(true)
            .send()
            .await?;
        let Some(found) = answer.item else { return Ok(Some(base)) };
        let counted = base..=base.saturating_add(MOST_FAILURES);
        Ok(number(&found, "attempts").ok().filter(|attempts| counted.contains(attempts)))
    }

    /// Adds one, if the rule lets it.
    async fn add(&self, guessed: &Guessed, base: u64, now: DateTime<Utc>) -> Result<Added, CountError> {
        // A count that was lost starts again from the last success: from zero, all guesses up to it would be free.
        let mut request = self
            .update(guessed, now, "#attempts = if_not_exists(#attempts, :base) + :one")
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":base", n(base))
            .expression_attribute_values(":last_but_one", n(base.saturating_add(MOST_FAILURES - 1)))
            .expression_attribute_values(":free", n(base.saturating_add(FREE)))
            .expression_attribute_values(":soon", n((now + CLOCK_SKEW).timestamp_millis()));
        // So many attempts are let through at once, or that many if the last was long enough ago, …
        let mut allowed = vec!["#attempts < :free".to_owned()];
        for level in 0..WAITS {
            let failures = FREE + u64::from(level);
            let earlier = now - wait_after(failures);
            allowed.push(if level + 1 == WAITS {
                format!("#last <= :t{level}")
            } else {
                let most = base.saturating_add(failures);
                request = request.expression_attribute_values(format!(":n{level}"), n(most));
                format!("(#attempts <= :n{level} AND #last <= :t{level})")
            });
            request =
                request.expression_attribute_values(format!(":t{level}"), n(earlier.timestamp_millis()));
        }
        let allowed = allowed.join(" OR ");
        let condition = format!(
            "attribute_not_exists(#attempts) OR \
             (#attempts BETWEEN :base AND :last_but_one AND #last <= :soon AND ({allowed}))"
        );
        sent(request.condition_expression(condition)).await
    }

    /// Puts a count in order, unless it has changed since it was found; its number.
    async fn restart(
        &self,
        guessed: &Guessed,
        base: u64,
        now: DateTime<Utc>,
        found: &Item,
    ) -> Result<Option<u64>, CountError> {
        let mut request = self
            .update(guessed, now, "#attempts = :first")
            .expression_attribute_values(":first", n(base.saturating_add(1)));
        let mut unchanged = Vec::new();
        for (name, value) in [("attempts", ":attempts_found"), ("last", ":last_found")] {
            unchanged.push(match found.get(name) {
                Some(read) => {
                    request = request.expression_attribute_values(value, read.clone());
                    format!("#{name} = {value}")
                }
                None => format!("attribute_not_exists(#{name})"),
            });
        }
        match sent(request.condition_expression(unchanged.join(" AND "))).await? {
            Added::As(number) => Ok(Some(number)),
            Added::Refused(_) => Ok(None),
        }
    }

    fn update(
        &self,
        guessed: &Guessed,
        now: DateTime<Utc>,
        attempts: &'static str,
    ) -> UpdateItemFluentBuilder {
        let counts = || SORT_KEY.to_owned();
        let (item, kept) = match guessed {
            Guessed::User(_) => (counts(), None),
            Guessed::Device(_, device) => (format!("{SORT_KEY}-{device}"), Some(DEVICE_FORGOTTEN_AFTER)),
            Guessed::Unknown(_) => (counts(), Some(FORGOTTEN_AFTER)),
        };
        let expires = kept.map(|kept| (now + kept).timestamp());
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("user", s(guessed.partition()))
            .key("item", s(item))
            .expression_attribute_names("#attempts", "attempts")
            .expression_attribute_names("#last", "last")
            .expression_attribute_values(":now", n(now.timestamp_millis()))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match expires {
            None => request.update_expression(format!("SET #last = :now, {attempts}")),
            Some(expires) => request
                .update_expression(format!("SET #last = :now, #expires = :expires, {attempts}"))
                .expression_attribute_names("#expires", "expires")
                .expression_attribute_values(":expires", n(expires)),
        }
    }
}

/// What became of an update of a count.
enum Added {
    /// The count is this now.
    As(u64),
    /// The condition did not hold; the item that stood in the way.
    Refused(Item),
}

async fn sent(request: UpdateItemFluentBuilder) -> Result<Added, CountError> {
    let once = Config::builder().retry_config(RetryConfig::disabled());
    match request.customize().config_override(once).send().await {
        Ok(answer) => Ok(Added::As(number(&answer.attributes.unwrap_or_default(), "attempts")?)),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Added::Refused(failed.item().cloned().unwrap_or_default()))
            }
            _ => Err(CountError::Unavailable(error.into())),
        },
    }
}

/// The number of the last attempt that was counted, if as many have failed as may.
fn exhausted(found: &Item, base: u64, most: u64) -> Option<u64> {
    let attempts: u64 = number(found, "attempts").ok()?;
    let failures = attempts.checked_sub(base)?;
    (MOST_FAILURES..=most).contains(&failures).then_some(attempts)
}

/// How long a count that refused an attempt asks to wait; `None` if it was not made by counting.
fn wait_for(found: &Item, base: u64, most: u64, now: DateTime<Utc>) -> Option<TimeDelta> {
    let attempts: u64 = number(found, "attempts").ok()?;
    let last = DateTime::from_timestamp_millis(number(found, "last").ok()?)?;
    let failures = attempts.checked_sub(base).filter(|failures| *failures <= most)?;
    let wait = last.checked_add_signed(wait_after(failures))? - now;
    (last <= now + CLOCK_SKEW).then_some(wait)
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
