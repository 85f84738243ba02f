use std::fmt;
use std::str::FromStr;

/// What a hash costs. Written as `m=19456,t=2,p=1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashParams {
    /// Memory, in KiB: at least 8 for each of `parallelism`.
    pub memory_kib: u32,
    /// Passes over the memory: at least 1.
    pub iterations: u32,
    /// Lanes of the memory: 1 to 16,777,215. They are computed one after another; a hash takes one thread.
    pub parallelism: u32,
}

/// Why parameters of a hash were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// The text has another form.
    #[error("the cost of a hash is written m=KIB,t=PASSES,p=LANES in whole numbers, such as m=19456,t=2,p=1")]
    Form,
    /// There are fewer than 8 KiB for each lane.
    #[error("the memory of a hash (m) is at least 8 KiB for each of its lanes (p)")]
    Memory,
    /// There is no pass.
    #[error("a hash passes over its memory (t) at least once")]
    Iterations,
    /// There is no lane, or there are too many.
    #[error("a hash has 1 to {} lanes (p)", argon2::Params::MAX_P_COST)]
    Parallelism,
}

impl HashParams {
    /// The least that protects a password, and the default. [OWASP Password Storage Cheat Sheet, Argon2id]
    pub const MINIMUM: Self = Self { memory_kib: 19_456, iterations: 2, parallelism: 1 };

    /// The most memory, passes and lanes that a hash may cost, each for itself: 1 GiB, 64 and 16. A constant, so that
    /// a lower configured cost locks out nobody whose verifier was made at a higher one.
    const MAXIMUM: Self = Self { memory_kib: 1_048_576, iterations: 64, parallelism: 16 };
    /// The most work of a hash: 4 GiB passed over once, a hundred times that of [`Self::MINIMUM`] and some seconds.
    const MAX_WORK: u64 = 4 * 1_048_576;

    /// Whether a hash costs more than one may: more than 1 GiB of memory, 64 passes or 16 lanes, or more than 4 GiB
    /// of memory times passes. No such hash is ever computed.
    pub const fn is_above_maximum(&self) -> bool {
        self.memory_kib > Self::MAXIMUM.memory_kib
            || self.iterations > Self::MAXIMUM.iterations
            || self.parallelism > Self::MAXIMUM.parallelism
            || self.work() > Self::MAX_WORK
    }

    /// The work of a hash, to which its time is proportional: memory times passes, in KiB.
    pub(super) const fn work(&self) -> u64 {
        self.memory_kib as u64 * self.iterations as u64
    }

    /// What to hash after a hash of cost `spent`, so that both together are as much work as one of this cost, within
    /// the least that can be hashed; nothing if that was as much work already. Needs no more memory than this cost.
    pub(super) fn beyond(self, spent: Self) -> Option<Self> {
        let missing = self.work().checked_sub(spent.work()).filter(|missing| *missing > 0)?;
        let memory = u32::try_from(missing / u64::from(self.iterations)).unwrap_or(self.memory_kib);
        let least = self.parallelism.saturating_mul(argon2::Params::MIN_M_COST);
        Some(Self { memory_kib: memory.max(least), ..self })
    }

    /// Whether a hash costs less than [`Self::MINIMUM`], in memory or in passes.
    pub const fn is_below_minimum(&self) -> bool {
        self.memory_kib < Self::MINIMUM.memory_kib || self.iterations < Self::MINIMUM.iterations
    }

    /// The same for the algorithm, if it can be had.
    pub(super) fn checked(self) -> Result<argon2::Params, ParamsError> {
        argon2::Params::new(self.memory_kib, self.iterations, self.parallelism, None).map_err(|error| {
            match error {
                argon2::Error::TimeTooSmall => ParamsError::Iterations,
                argon2::Error::ThreadsTooFew | argon2::Error::ThreadsTooMany => ParamsError::Parallelism,
                _ => ParamsError::Memory,
            }
        })
    }
}

impl Default for HashParams {
    fn default() -> Self {
        Self::MINIMUM
    }
}

impl fmt::Display for HashParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={},t={},p={}", self.memory_kib, self.iterations, self.parallelism)
    }
}

impl FromStr for HashParams {
    type Err = ParamsError;

    fn from_str(text: &str) -> Result<Self, ParamsError> {
        let mut parts = text.split(',');
        let mut number = |prefix| {
            let digits = parts.next()?.strip_prefix(prefix)?;
            // The standard parser would take a sign, too.
            if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
        };
        let (Some(memory_kib), Some(iterations), Some(parallelism), None) =
            (number("m="), number("t="), number("p="), parts.next())
        else {
            return Err(ParamsError::Form);
        };
        let params = Self { memory_kib, iterations, parallelism };
        params.checked()?;
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::{HashParams, ParamsError};

    #[test]
    fn the_default_is_the_minimum_of_owasp() {
        assert_eq!(HashParams::default().to_string(), "m=19456,t=2,p=1");
        assert!(!HashParams::default().is_below_minimum());
    }

    #[test]
    fn parameters_read_as_they_are_written() {
        for text in ["m=19456,t=2,p=1", "m=8,t=1,p=1", "m=65536,t=3,p=4"] {
            assert_eq!(text.parse::<HashParams>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn parameters_of_another_form_are_refused() {
        for text in [
            "",
            "m=19456",
            "m=19456,t=2",
            "t=2,m=19456,p=1",
            "m=19456,t=2,p=1,",
            "m=19456,t=2,p=1,x=1",
            "m=19456, t=2, p=1",
            "m=+19456,t=2,p=1",
            "m=-1,t=2,p=1",
            "m=,t=2,p=1",
            "m=4294967296,t=2,p=1",
            "m=19MiB,t=2,p=1",
        ] {
            assert_eq!(text.parse::<HashParams>(), Err(ParamsError::Form), "{text:?}");
        }
    }

    #[test]
    fn parameters_the_algorithm_does_not_know_are_refused_by_name() {
        for (text, error) in [
            ("m=7,t=1,p=1", ParamsError::Memory),
            ("m=15,t=1,p=2", ParamsError::Memory),
            ("m=8,t=0,p=1", ParamsError::Iterations),
            ("m=8,t=1,p=0", ParamsError::Parallelism),
            ("m=4294967295,t=1,p=16777216", ParamsError::Parallelism),
        ] {
            assert_eq!(text.parse::<HashParams>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_most_that_a_hash_may_cost_is_bounded_in_each_part_and_in_the_product() {
        for (text, above) in [
            ("m=1048576,t=4,p=16", false),
            ("m=65536,t=64,p=1", false),
            ("m=1048577,t=1,p=1", true),
            ("m=8,t=65,p=1", true),
            ("m=136,t=1,p=17", true),
            ("m=1048576,t=5,p=1", true),
            ("m=65537,t=64,p=1", true),
            ("m=4294967295,t=4294967295,p=1", true),
        ] {
            assert_eq!(text.parse::<HashParams>().unwrap().is_above_maximum(), above, "{text}");
        }
    }

    #[test]
    fn what_is_missing_of_a_cost_makes_it_up_to_the_least_that_can_be_hashed() {
        let params = |text: &str| text.parse::<HashParams>().unwrap();
        for (cost, spent, rest) in [
            ("m=19456,t=2,p=1", "m=19456,t=1,p=1", Some("m=9728,t=2,p=1")),
            ("m=19456,t=2,p=1", "m=8,t=1,p=1", Some("m=19452,t=2,p=1")),
            ("m=8,t=8,p=1", "m=24,t=1,p=1", Some("m=8,t=8,p=1")),
            ("m=64,t=3,p=4", "m=64,t=2,p=4", Some("m=32,t=3,p=4")),
            ("m=19456,t=2,p=1", "m=19456,t=2,p=4", None),
            ("m=19456,t=2,p=1", "m=38912,t=1,p=1", None),
            ("m=19456,t=2,p=1", "m=65536,t=3,p=1", None),
        ] {
            assert_eq!(params(cost).beyond(params(spent)), rest.map(params), "{cost} after {spent}");
        }
    }

    #[test]
    fn less_memory_or_fewer_passes_are_below_the_minimum() {
        for (text, below) in [
            ("m=19455,t=2,p=1", true),
            ("m=1000000,t=1,p=1", true),
            ("m=19456,t=2,p=2", false),
            ("m=19457,t=3,p=1", false),
        ] {
            assert_eq!(text.parse::<HashParams>().unwrap().is_below_minimum(), below, "{text}");
        }
    }
}
