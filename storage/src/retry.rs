use std::time::Duration;

use aws_lc_rs::rand;
use tokio::time::{Instant, sleep};

/// No new try starts later than this after the first, unless a store is told otherwise.
pub const NO_NEW_TRY_AFTER: Duration = Duration::from_secs(4);

/// The first pause is drawn from below this.
const FIRST: Duration = Duration::from_millis(8);
/// No pause is longer.
const LONGEST: Duration = Duration::from_millis(250);

/// Pauses between tries: drawn evenly from zero to a bound that doubles, so that those who collided once do not
/// collide again, until no new try may start.
pub(crate) struct Backoff {
    deadline: Instant,
    bound: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self::within(NO_NEW_TRY_AFTER)
    }

    /// No new try starts later than this from now.
    pub(crate) fn within(limit: Duration) -> Self {
        Self { deadline: Instant::now() + limit, bound: FIRST }
    }

    /// Waits before the next try; false if there is to be none.
    pub(crate) async fn wait(&mut self) -> bool {
        let mut octets = [0_u8; 4];
        let drawn = match rand::fill(&mut octets) {
            Ok(()) => f64::from(u32::from_be_bytes(octets)) / f64::from(u32::MAX),
            Err(_) => 1.0,
        };
        let pause = self.bound.mul_f64(drawn);
        if Instant::now() + pause >= self.deadline {
            return false;
        }
        self.bound = (self.bound * 2).min(LONGEST);
        sleep(pause).await;
        true
    }
}
