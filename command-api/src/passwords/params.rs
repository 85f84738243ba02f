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
