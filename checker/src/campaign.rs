use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use tokio::runtime::Runtime;

use crate::tally::Counts;
use crate::{Outcome, run};

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Campaign {
    /// How many were played.
    pub seeds: u64,
    /// What happened how often, in all.
    pub counts: Counts,
    /// The seeds in which something does not fit together.
    pub failures: Vec<Outcome>,
}

/// Plays these seeds on so many threads, each seed on a runtime of its own: of one thread, with its time paused. Stops
/// early at so many failures.
pub fn campaign(
    seeds: impl IntoIterator<Item = u64, IntoIter: Send>,
    threads: usize,
    failures: usize,
    runtime: impl Fn() -> Runtime + Sync,
) -> Campaign {
    let seeds = Mutex::new(seeds.into_iter());
    let campaign = Mutex::<Campaign>::default();
    let lock = || campaign.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = seeds.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(seed) = seed.filter(|_| lock().failures.len() < failures) else { return };
                    let outcome = catch_unwind(AssertUnwindSafe(|| runtime().block_on(run(seed))));
                    let outcome = outcome.unwrap_or_else(|_| Outcome {
                        seed,
                        findings: vec!["it panicked".to_owned()],
                        history: Vec::new(),
                        counts: Counts::default(),
                    });
                    let mut campaign = lock();
                    campaign.seeds += 1;
                    campaign.counts.merge(&outcome.counts);
                    if !outcome.findings.is_empty() {
                        campaign.failures.push(outcome);
                    }
                }
            });
        }
    });
    campaign.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Outcome {
    /// The findings, and the history they are about, a line each.
    pub fn report(&self) -> String {
        let history: Vec<String> = self.history.iter().map(ToString::to_string).collect();
        format!("seed {}:\n  {}\nhistory:\n{}", self.seed, self.findings.join("\n  "), history.join("\n"))
    }
}
