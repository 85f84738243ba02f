//! The parts of a replay, each run in a process of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;
use cqrs_es::persist::{GenericQuery, PersistedEventRepository as _, QueryReplay};
use dynamo_es::DynamoViewRepository;
use projector::ReadModel;
use projector::replay::{Phase, Replay};
use serde::{Deserialize, Serialize};
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{EventLog, IdentifierKey, Identifiers, Segment, ViewKeys, WrappingKeys};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::Failure;
use crate::counter::Counter;
use crate::engine::{Engine, client};
use crate::peer::{self, PeerUser};

/// Segments of our scan, as many as a replay takes.
const SEGMENTS: u32 = 8;
/// Clock ticks a second, as Linux counts processor time.
const TICKS: f64 = 100.0;

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum What {
    /// Our log: scanned, opened and folded; nothing is written.
    Fold,
    /// Our views made anew, then swept and verified.
    Rebuild,
    /// The peer's log, streamed.
    Stream,
    /// The peer's views made anew.
    Views,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    what: What,
    endpoint: String,
    /// The engine's process.
    engine: u32,
    /// The file of the service keys.
    keys: PathBuf,
    /// Events of the peer's stream that are read in one request.
    #[arg(long)]
    page: Option<usize>,
}

/// What a part did, and with what.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) seconds: f64,
    pub(crate) events: u64,
    pub(crate) users: u64,
    pub(crate) requests: u64,
    pub(crate) units: f64,
    /// The most that the process ever had in memory, in MiB.
    pub(crate) peak: f64,
    /// Processor time of the process, in seconds.
    pub(crate) own: f64,
    /// Processor time of the engine, in seconds.
    pub(crate) engine: f64,
}

/// Runs a part in a process of its own; its reports, one for each phase.
pub(crate) async fn spawn(
    what: What,
    engine: &Engine,
    keys: &std::path::Path,
    page: Option<usize>,
) -> Result<Vec<Report>, Failure> {
    let name = what.to_possible_value().ok_or("a part without a name")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("part").arg(name.get_name()).arg(&engine.endpoint).arg(engine.process()?.to_string());
    command.arg(keys);
    if let Some(page) = page {
        command.arg("--page").arg(page.to_string());
    }
    let output = command.stderr(std::process::Stdio::inherit()).output().await?;
    if !output.status.success() {
        return Err(format!("{} failed", name.get_name()).into());
    }
    output.stdout.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()).map(read).collect()
}

fn read(line: &[u8]) -> Result<Report, Failure> {
    Ok(serde_json::from_slice(line)?)
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let (client, counter) = client(&args.endpoint);
    let keys = ServiceKeys::open(&args.keys)?;
    let tables = Tables::prefixed("annals");
    let repository = || {
        let repository = peer::repository(client.clone());
        match args.page {
            Some(page) => repository.with_streaming_channel_size(page),
            None => repository,
        }
    };
    let began = Instant::now();
    let started = Mark { after: Duration::ZERO, ..Mark::of(&counter, began, args.engine) };
    let say = |from: Mark, to: Mark, (users, events): (u64, u64)| -> Result<(), Failure> {
        let Mark { after, requests, units, own, engine } = to - from;
        let (seconds, peak) = (after.as_secs_f64(), peak()?);
        let report = Report { seconds, events, users, requests, units, peak, own, engine };
        println!("{}", serde_json::to_string(&report)?);
        Ok(())
    };
    match args.what {
        What::Fold => {
            let wrapping = WrappingKeys::new(keys.deployment, keys.wrapping);
            let folded = fold(&EventLog::new(client.clone(), tables.events, wrapping)).await?;
            say(started, Mark::of(&counter, began, args.engine), folded)
        }
        What::Rebuild => {
            let wrapping = WrappingKeys::new(keys.deployment.clone(), keys.wrapping);
            let views = ViewKeys::new(keys.deployment.clone(), keys.views);
            let model = ReadModel::new(&client, &tables, wrapping, views);
            let identifiers = IdentifierKey::new(keys.deployment, keys.identifiers);
            let identifiers = Identifiers::new(client.clone(), tables.identifiers, identifiers);
            // The last word on the first phase.
            let written = Arc::new(Mutex::new(Mark::default()));
            let replay = {
                let (written, counter) = (Arc::clone(&written), counter.clone());
                Replay::of(model).reporting(move |progress| {
                    if progress.phase == Phase::Rebuild {
                        *written.lock().unwrap_or_else(PoisonError::into_inner) =
                            Mark::of(&counter, began, args.engine);
                    }
                })
            };
            let report = replay.rebuild(&identifiers, SystemTime::now().into()).await?;
            if !report.verified.holds() || report.done.written != report.covered.users {
                return Err(format!("the rebuild left something to do: {report:?}").into());
            }
            let written = *written.lock().unwrap_or_else(PoisonError::into_inner);
            let covered = (report.covered.users, report.covered.events);
            say(started, written, covered)?;
            say(written, Mark::of(&counter, began, args.engine), covered)
        }
        What::Stream => {
            let mut stream = repository().stream_all_events::<PeerUser>().await?;
            let mut events = 0;
            while let Some(event) = stream.next::<PeerUser>(&[]).await {
                event?;
                events += 1;
            }
            say(started, Mark::of(&counter, began, args.engine), (0, events))
        }
        What::Views => {
            let views = DynamoViewRepository::<PeerUser, PeerUser>::new(peer::VIEWS, client.clone());
            let mut query = GenericQuery::new(Arc::new(views));
            let lost = Arc::new(Mutex::new(0_u64));
            let losing = Arc::clone(&lost);
            query.use_error_handler(Box::new(move |_| {
                *losing.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            }));
            QueryReplay::new(repository(), query).replay_all().await?;
            if *lost.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
                return Err("the peer lost events".into());
            }
            say(started, Mark::of(&counter, began, args.engine), (0, 0))
        }
    }
}

/// Folds every user's log, and counts users and events.
async fn fold(log: &EventLog) -> Result<(u64, u64), Failure> {
    let mut segments = JoinSet::new();
    for index in 0..SEGMENTS {
        let log = log.clone();
        segments.spawn(async move {
            let mut scan = log.scan(Segment { index, total: SEGMENTS });
            let (mut users, mut events) = (0, 0);
            while let Some(page) = scan.next().await? {
                for scanned in page {
                    scanned.outcome?;
                    users += 1;
                    events += scanned.events;
                }
            }
            Ok::<_, Failure>((users, events))
        });
    }
    let mut folded = (0, 0);
    while let Some(segment) = segments.join_next().await {
        let (users, events) = segment??;
        folded = (folded.0 + users, folded.1 + events);
    }
    Ok(folded)
}

/// How far a part has come.
#[derive(Clone, Copy, Default)]
struct Mark {
    after: Duration,
    requests: u64,
    units: f64,
    own: f64,
    engine: f64,
}

impl Mark {
    fn of(counter: &Counter, began: Instant, engine: u32) -> Self {
        Self {
            after: began.elapsed(),
            requests: counter.requests(),
            units: counter.units(),
            own: processor_time(std::process::id()).unwrap_or_default(),
            engine: processor_time(engine).unwrap_or_default(),
        }
    }
}

impl std::ops::Sub for Mark {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            after: self.after.saturating_sub(earlier.after),
            requests: self.requests - earlier.requests,
            units: self.units - earlier.units,
            own: self.own - earlier.own,
            engine: self.engine - earlier.engine,
        }
    }
}

/// The most that this process ever had in memory, in MiB.
fn peak() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// The processor time of a process so far, in seconds.
fn processor_time(process: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the name, which may hold anything: the 14th and 15th of all fields.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    Some(ticks.sum::<Result<u32, _>>().map(f64::from).ok()? / TICKS)
}
