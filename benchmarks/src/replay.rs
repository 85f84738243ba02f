//! The whole log: folded, and made into views again.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use storage::keys::ServiceKeys;

use crate::Failure;
use crate::engine::{Engine, client};
use crate::log::EVENTS_EACH;
use crate::part::{Report, What, spawn};
use crate::{log, peer};

/// A page of the peer's stream beyond its own setting of 200, to see what that setting costs it.
const LARGER_PAGE: usize = 2_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many users the logs are of, each with five events; given several times, one run for each.
    #[arg(long, default_values_t = [20_000, 200_000])]
    users: Vec<u64>,
    /// How often log and stream are read, in turns.
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// Leaves out the replay of the peer into its views, which takes long.
    #[arg(long)]
    without_views: bool,
    /// Where the logs are kept, and found again; otherwise they go when they have been replayed.
    #[arg(long)]
    data: Option<PathBuf>,
}

pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    for users in &args.users {
        of(*users, args).await?;
    }
    Ok(())
}

async fn of(users: u64, args: &Args) -> Result<(), Failure> {
    let events = users * EVENTS_EACH;
    let temporary = tempfile::tempdir()?;
    let folder = args.data.as_deref().unwrap_or(temporary.path()).join(users.to_string());
    let (data, keys) = (folder.join("data"), folder.join("service-keys.json"));
    if !keys.exists() {
        let began = Instant::now();
        let engine = Engine::start(&data).await?;
        peer::create_tables(&client(&engine.endpoint).0).await?;
        engine.stop().await?;
        let made = ServiceKeys::random()?;
        log::write(&data, &made, users).await?;
        // Last, so that logs cut short are not taken for whole ones.
        std::fs::write(&keys, serde_json::to_vec(&made)?)?;
        std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o600))?;
        println!("{events} events of {users} users written in {:.0} s", began.elapsed().as_secs_f64());
    }
    let engine = Engine::start(&data).await?;
    println!("\n{events} events of {users} users; load {}", load()?);
    println!(
        "{:44} {:>8} {:>8} {:>8} {:>9} {:>8} {:>9} {:>9} {:>9}",
        "", "seconds", "its CPU", "engine's", "events/s", "users/s", "requests", "units", "peak MiB"
    );

    let (mut folds, mut streams, mut larger) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.turns {
        folds.extend(part(What::Fold, &engine, &keys, None).await?);
        streams.extend(part(What::Stream, &engine, &keys, None).await?);
        larger.extend(part(What::Stream, &engine, &keys, Some(LARGER_PAGE)).await?);
    }
    for report in folds.iter().chain(&streams).chain(&larger) {
        if report.events != events {
            return Err(format!("{} events were read of {events}", report.events).into());
        }
    }
    let fold = median(folds);
    row("annals: log scanned, opened and folded", &fold, (users, events));
    let stream = median(streams);
    row("cqrs-es: stream_all_events", &stream, (users, events));
    let larger = median(larger);
    row(&format!("cqrs-es: the same, {LARGER_PAGE} events a page"), &larger, (users, events));
    println!(
        "{:44} {:8.2} of its events per second; {:.2} of those with larger pages",
        "annals",
        stream.seconds / fold.seconds,
        larger.seconds / fold.seconds
    );

    let mut reports = part(What::Rebuild, &engine, &keys, None).await?.into_iter();
    let (Some(written), Some(verified)) = (reports.next(), reports.next()) else {
        return Err("a rebuild has two phases".into());
    };
    row("annals: rebuild, every view written", &written, (users, events));
    row("annals: rebuild, swept and verified", &verified, (users, events));
    if !args.without_views {
        let views = part(What::Views, &engine, &keys, None).await?;
        for views in &views {
            row("cqrs-es: replay_all into its views", views, (users, events));
            println!(
                "{:44} {:8.2} of its events per second; {:.2} with sweeping and verifying",
                "annals",
                views.seconds / written.seconds,
                views.seconds / (written.seconds + verified.seconds)
            );
        }
    }
    println!("load {}", load()?);
    engine.stop().await
}

async fn part(what: What, engine: &Engine, keys: &Path, page: Option<usize>) -> Result<Vec<Report>, Failure> {
    spawn(what, engine, keys, page).await
}

/// The report of the turn in the middle, by its time.
fn median(mut reports: Vec<Report>) -> Report {
    reports.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    reports.swap_remove(reports.len() / 2)
}

fn row(what: &str, report: &Report, (users, events): (u64, u64)) {
    let Report { seconds, requests, units, peak, own, engine, .. } = report;
    let (events, users) = (events as f64 / seconds, users as f64 / seconds);
    println!(
        "{what:44} {seconds:8.2} {own:8.2} {engine:8.2} {events:9.0} {users:8.0} {requests:9} {units:9.0} {peak:9.1}"
    );
}

/// The load averages of the machine.
pub(crate) fn load() -> Result<String, Failure> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}
