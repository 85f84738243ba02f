//! How long `annals serve --memory` takes from the start of its process to its first answer, and what it takes of the
//! machine while nobody asks it anything.

mod support;

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Failure, Server, milliseconds, quantile};

const STARTS: usize = 20;
/// Over so long the processor time at rest is taken.
const REST: Duration = Duration::from_secs(10);
/// One buffer of the default hash, in KiB.
const BUFFER: u64 = 19 * 1024;
/// Clock ticks a second, as Linux counts processor time.
const TICKS: f64 = 100.0;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut times = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let started = Instant::now();
        let server = Server::start(&["--memory"])?;
        client.get(format!("{}/health", server.url)).send().await?.error_for_status()?;
        times.push(started.elapsed());
    }
    println!("serve --memory, {STARTS} starts            p50 ms   max ms");
    println!(
        "process start to first 200 of /health {:8.1} {:8.1}",
        milliseconds(quantile(&times, 50)),
        milliseconds(quantile(&times, 100))
    );

    let server = Server::start(&["--memory"])?;
    let pid = server.child.id();
    client.get(format!("{}/health", server.url)).send().await?;
    println!("\nresident memory                          MiB   less buffers");
    let show = |what: &str, buffers: u64| -> Result<(), Failure> {
        let resident = resident(pid)?;
        let mebibytes = |kibibytes: u64| f64::from(u32::try_from(kibibytes).unwrap_or(u32::MAX)) / 1024.0;
        let rest = resident.saturating_sub(buffers * BUFFER);
        println!("{what:36} {:7.1} {:14.1}", mebibytes(resident), mebibytes(rest));
        Ok(())
    };
    show("at rest, before the first hash", 0)?;
    let post = async |path: &str, number: usize| {
        let body =
            json!({"email": format!("user-{number}@example.com"), "password": "correct horse battery"});
        let answer = client.post(format!("{}{path}", server.url)).json(&body).send().await?;
        answer.error_for_status().map(|_| ())
    };
    post("/register", 0).await?;
    show("after the first hash", 1)?;
    futures::future::try_join_all((1..=8).map(|number| post("/register", number))).await?;
    show("after hashes in both buffers", 2)?;
    for _ in 0..10 {
        futures::future::try_join_all((0..=8).map(|number| post("/login", number))).await?;
    }
    show("after 90 sign-ins", 2)?;

    let before = processor_time(pid)?;
    sleep(REST);
    let share = (processor_time(pid)? - before) / REST.as_secs_f64() * 100.0;
    println!("\nprocessor time at rest, over {} s: {share:.1} % of one core", REST.as_secs());
    Ok(())
}

/// What of a process is in RAM, in KiB.
fn resident(pid: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The processor time of a process so far, in seconds.
fn processor_time(pid: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may hold anything: the 14th and 15th of all fields.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    Ok(ticks.sum::<Result<u32, _>>().map(f64::from)? / TICKS)
}
