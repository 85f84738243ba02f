//! Kills with SIGKILL, which nothing can catch: at random moments, whose seed each test prints.

mod first_start;
mod looking_after;
mod person;
mod under_load;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime};

use crate::process::{CHEAP, Data, Server};

/// Names the seed of a run that is to be repeated.
const SEED: &str = "ANNALS_TEST_SEED";

/// Random numbers from a seed (xorshift64*).
struct Random(u64);

impl Random {
    /// From the seed that is named, or another one each time; says which.
    fn seeded(test: &str) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let seed = std::env::var(SEED).map_or(u64::from(now.subsec_nanos()), |seed| seed.parse().unwrap());
        println!("{test}: {SEED}={seed}");
        Self(seed | 1)
    }

    /// Another stream of random numbers, for somebody who draws at the same time.
    fn split(&mut self) -> Self {
        Self(self.next() | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below this one.
    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    /// A moment within the next so many milliseconds, to the microsecond.
    fn within_ms(&mut self, limit: u64) -> Duration {
        Duration::from_micros(self.below(limit * 1_000))
    }
}

/// A port that is free, and not one of those that the system gives to whoever asks for any: the server comes back to
/// it, and tokens name it.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 8_000).unwrap() + 20_000;
    let mut ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// A place that a server comes back to, however it ended.
struct Home {
    data: Data,
    port: String,
}

impl Home {
    fn new() -> Self {
        Self { data: Data::new(), port: free_port().to_string() }
    }

    fn serve(&self) -> Command {
        self.data.command(&["serve", "--port", &self.port, "--argon2", CHEAP])
    }

    async fn start(&self) -> Server {
        Server::start(self.serve()).await
    }

    /// Asserts that every view is the fold of its log, and every identifier where it belongs; how many users and
    /// commits there are.
    async fn verified(&self) -> (u64, u64) {
        let verified = self.data.run(&["verify", "--json"]).await;
        assert_eq!(verified.code, Some(0), "{verified:?}");
        let verified = verified.json();
        (verified["users"].as_u64().unwrap(), verified["commits"].as_u64().unwrap())
    }
}

/// Runs a command and kills it after this time; whether it was still running then.
async fn run_and_kill(mut command: Command, after: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Not a wait for anything: the moment of the kill.
    tokio::time::sleep(after).await;
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    running
}
