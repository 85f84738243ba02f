use std::process::ExitCode;
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use storage::{Lifetimes, ReadError, Segment, Store};

use super::{OperateError, report};
use crate::cli::RewrapArgs;
use crate::place::Place;

/// Parts of the log that are scanned beside one another.
const SEGMENTS: u32 = 4;
/// Vaults written at the same time, in each of them.
const AT_ONCE: usize = 8;

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Rewrapped {
    vaults: u64,
    data_keys: u64,
    verifiers: u64,
    /// Vaults that do not open, and are as they were.
    broken: u64,
    seconds: f64,
}

/// Puts every vault under the current keys; exit code 1 if some do not open.
pub(crate) async fn rewrap(args: &RewrapArgs) -> Result<ExitCode, OperateError> {
    let place = Place::attach(&args.deployment).await?;
    let result = every_vault(&place).await;
    place.close().await;
    let done = result?;
    report::write(args.report.json, &done, || in_words(&done))?;
    Ok(if done.broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn every_vault(place: &Place) -> Result<Rewrapped, OperateError> {
    let store = Store::new(&place.client, &place.tables, &place.keys, Lifetimes::default());
    let (store, started) = (&store, Instant::now());
    let segments = (0..SEGMENTS).map(|index| segment(store, Segment { index, total: SEGMENTS }));
    let mut done = Rewrapped::default();
    for part in futures::future::try_join_all(segments).await? {
        done.add(&part);
    }
    done.seconds = started.elapsed().as_secs_f64();
    Ok(done)
}

async fn segment(store: &Store, segment: Segment) -> Result<Rewrapped, OperateError> {
    let (mut done, mut from) = (Rewrapped::default(), None);
    loop {
        let page = store.vaults(segment, from).await.map_err(ReadError::from)?;
        let vaults = stream::iter(&page.vaults).map(|vault| async move {
            let mut one = Rewrapped { vaults: 1, ..Rewrapped::default() };
            match store.rewrap(vault).await {
                Ok(rewrapped) => {
                    one.data_keys = rewrapped.data_key.into();
                    one.verifiers = rewrapped.verifier.into();
                }
                Err(ReadError::Broken(broken)) => {
                    eprintln!("annals: {}: {broken}; left as it is", vault.user());
                    one.broken = 1;
                }
                Err(error) => return Err(error),
            }
            Ok(one)
        });
        let page_done: Vec<Rewrapped> = vaults.buffer_unordered(AT_ONCE).try_collect().await?;
        for one in &page_done {
            done.add(one);
        }
        done.broken += page.malformed;
        from = page.next;
        if from.is_none() {
            return Ok(done);
        }
    }
}

impl Rewrapped {
    fn add(&mut self, other: &Self) {
        self.vaults += other.vaults;
        self.data_keys += other.data_keys;
        self.verifiers += other.verifiers;
        self.broken += other.broken;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate, for a person")]
fn in_words(done: &Rewrapped) -> String {
    let rate = done.vaults as f64 / done.seconds.max(0.001);
    let broken = report::nonzero(&[(done.broken, "that do not open, left as they are")]);
    format!(
        "{} in {:.1} s ({rate:.0} a second)\n  {} wrapped anew, {} sealed anew{broken}",
        report::count(done.vaults, "vault"),
        done.seconds,
        report::count(done.data_keys, "data key"),
        report::count(done.verifiers, "verifier"),
    )
}
