//! Plays many seeds, or one several times:
//!
//!     cargo run --example checker -- --seeds 1000 --from 1
//!     cargo run --example checker -- --seed 17 --times 20

use std::process::ExitCode;
use std::time::Instant;

use checker::campaign;
use clap::Parser;
use tokio::runtime::{Builder, Runtime};

/// Clients at random against the service in bad weather.
#[derive(Debug, Parser)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// This seed only, and its history whatever comes of it.
    #[arg(long)]
    seed: Option<u64>,
    /// How often each seed is played.
    #[arg(long, default_value_t = 1)]
    times: usize,
    /// How many at the same time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Stop at so many failures.
    #[arg(long, default_value_t = 1)]
    failures: usize,
}

/// Its time stands still while anything is at work, and otherwise goes on to the next thing waited for.
#[expect(clippy::expect_used, reason = "there is nothing to be done without a runtime")]
fn paused() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

fn main() -> ExitCode {
    let args = Args::parse();
    let began = Instant::now();
    let seeds = args.seed.map_or(args.from..args.from + args.seeds, |seed| seed..seed + 1);
    if let (Some(seed), 1) = (args.seed, args.times) {
        println!("{}", paused().block_on(checker::run(seed)).report());
        return ExitCode::SUCCESS;
    }
    let plays = seeds.clone().flat_map(|seed| std::iter::repeat_n(seed, args.times));
    let campaign = campaign(plays, args.threads, args.failures, paused);
    for failure in &campaign.failures {
        println!("{}\n", failure.report());
    }
    let (played, failed) = (campaign.seeds, campaign.failures.len());
    println!(
        "seeds {} to {}: {played} played in {:?}, {failed} failed",
        seeds.start,
        seeds.end - 1,
        began.elapsed()
    );
    println!("{}", campaign.counts);
    ExitCode::from(u8::from(failed > 0))
}
