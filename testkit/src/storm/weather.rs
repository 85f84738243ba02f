use crate::random::Random;

/// One way in which something goes wrong between a client and DynamoDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mishap {
    /// `ThrottlingException`.
    Throttled,
    /// `ProvisionedThroughputExceededException`.
    OverCapacity,
    /// Somebody else is writing an item: a transaction is cancelled for it (or for `ThrottlingError`), a lone write is
    /// answered `TransactionConflictException`.
    Conflict,
    /// 500 `InternalServerError`, and nothing happened.
    ErrorBefore,
    /// 500 `InternalServerError`, and the write took effect.
    ErrorAfter,
    /// The request is lost: nothing happens, and no answer comes.
    LostBefore,
    /// The write takes effect, and no answer comes.
    LostAfter,
    /// No answer comes, and the write takes effect later, perhaps after all its retries.
    Late,
    /// `BatchGetItem` leaves some keys unprocessed, or all.
    Unprocessed,
    /// An eventually consistent read is answered with what was there before.
    Stale,
}

/// How often each mishap befalls a request that it can befall.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather([f64; Mishap::ALL.len()]);

impl Mishap {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Throttled,
        Self::OverCapacity,
        Self::Conflict,
        Self::ErrorBefore,
        Self::ErrorAfter,
        Self::LostBefore,
        Self::LostAfter,
        Self::Late,
        Self::Unprocessed,
        Self::Stale,
    ];

    /// Those that are decided upon when the request is sent.
    pub(super) const BEFORE_THE_ANSWER: [Self; 9] = {
        let [before @ .., _stale] = Self::ALL;
        before
    };

    /// Whether it makes sense for this operation. No table is created in bad weather.
    pub(super) fn befalls(self, operation: &str) -> bool {
        let writes = ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"].contains(&operation);
        let reads = ["GetItem", "BatchGetItem", "Query", "Scan"].contains(&operation);
        match self {
            Self::Throttled | Self::OverCapacity | Self::ErrorBefore | Self::LostBefore => writes || reads,
            Self::Conflict | Self::ErrorAfter | Self::LostAfter | Self::Late => writes,
            Self::Unprocessed => operation == "BatchGetItem",
            Self::Stale => reads,
        }
    }
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Self = Self([0.0; Mishap::ALL.len()]);

    /// Weather in which only this goes wrong.
    #[must_use]
    pub fn only(mishap: Mishap, probability: f64) -> Self {
        let mut weather = Self::CALM;
        weather.0[mishap as usize] = probability;
        weather
    }

    /// Weather of some day: from light winds to one request in three gone wrong, and some mishaps much more frequent
    /// than others.
    #[must_use]
    pub fn of(random: &mut Random) -> Self {
        let strength = *random.pick(&[0.005, 0.02, 0.04, 0.08]).expect("there are some");
        let mut weather = Self::CALM;
        for probability in &mut weather.0 {
            *probability = strength * random.pick(&[0.0, 0.3, 1.0, 3.0]).expect("there are some");
        }
        // Staleness is no failure, and keeps nobody from going on.
        weather.0[Mishap::Stale as usize] = *random.pick(&[0.0, 0.1, 0.3, 0.6]).expect("there are some");
        weather
    }

    /// How often this goes wrong.
    pub const fn of_mishap(&self, mishap: Mishap) -> f64 {
        self.0[mishap as usize]
    }
}
