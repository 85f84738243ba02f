use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A hash that costs next to nothing.
pub(crate) const CHEAP: &str = "m=8,t=1,p=1";
/// Whatever is waited for takes far less, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The program, with nothing of the tester's environment that it would listen to.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    command.env_remove("PORT").env_remove("ANNALS_LOG").env_remove("ANNALS_SMTP").stdin(Stdio::null());
    command
}

/// What a command that has ended said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// The result of a command that was given `--json`: one line, and nothing on standard error.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!((self.out.lines().count(), self.said().as_str()), (1, ""), "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What it said on standard error, but for the lines on how far it was that come on a busy machine.
    pub(crate) fn said(&self) -> String {
        let of_progress = |line: &&str| {
            ["rebuilding", "comparing", "repairing", "verifying", "mending"]
                .iter()
                .any(|doing| line.starts_with(&format!("{doing}: ")) && line.ends_with(" commits"))
        };
        let lines = self.err.lines().filter(|line| !of_progress(line));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// Asserts that the command was refused with exit code 2 and one line that says this.
    #[track_caller]
    pub(crate) fn is_refused(&self, saying: &str) {
        assert_eq!((self.code, self.out.as_str()), (Some(2), ""), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(self.err.starts_with("annals: ") && self.err.contains(saying), "{self:?}");
    }
}

/// Runs a command to its end.
pub(crate) async fn run(mut command: Command) -> Ended {
    tokio::task::spawn_blocking(move || command.output().unwrap().into()).await.unwrap()
}

/// A command under way, killed with this value.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Ends it at once, in the middle of whatever it does.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until this holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// A data folder, and the commands on it.
pub(crate) struct Data {
    folder: tempfile::TempDir,
}

impl Data {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The program with this data folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.args(args).arg("--data").arg(self.path());
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        run(self.command(args)).await
    }

    /// A server on any port, whose hashes are cheap.
    pub(crate) async fn serve(&self) -> Server {
        Server::start(self.command(&["serve", "--port", "0", "--argon2", CHEAP])).await
    }

    /// Waits until the projector and the mailer of the server on this folder have handled all of the log's stream: from
    /// then on they write nothing by themselves. (A view may show a commit whose record is still to come.)
    pub(crate) async fn settled(&self) {
        let settled = || {
            let last = self.last_record();
            ["stream.json", "mail-stream.json"].iter().all(|place| self.handled_up_to(place) == last)
        };
        until("a stream that is handled", settled).await;
    }

    /// The sequence number of the last record in the log's stream.
    fn last_record(&self) -> Option<u64> {
        let data = rusqlite::Connection::open(self.path().join("dynamodb.sqlite")).unwrap();
        data.busy_timeout(PATIENCE).unwrap();
        let last = "SELECT MAX(CAST(sequence_number AS INTEGER)) FROM _stream_records WHERE table_name = ?1";
        data.query_row(last, ["annals-events"], |row| row.get(0)).unwrap()
    }

    /// The last sequence number that a consumer of the stream has handled, which it keeps in this file.
    fn handled_up_to(&self, place: &str) -> Option<u64> {
        let place: serde_json::Value =
            serde_json::from_slice(&std::fs::read(self.path().join(place)).ok()?).unwrap();
        let mut shards = place["shards"].as_object().unwrap().values();
        // The stream's clients are told the number in the file with 21 digits, the first of which is a one.
        shards.next()?["after"].as_str().unwrap().strip_prefix('1').unwrap().parse().ok()
    }

    /// The service keys.
    pub(crate) fn keys(&self) -> storage::keys::ServiceKeys {
        storage::keys::ServiceKeys::open(&self.path().join("service-keys.json")).unwrap()
    }

    /// A raw client of the engine that a server has on this folder.
    pub(crate) fn tables(&self) -> aws_sdk_dynamodb::Client {
        annals::local::clients::tables(&std::fs::read_to_string(self.path().join("engine.url")).unwrap())
    }
}

/// A server, killed with this value.
pub(crate) struct Server {
    child: Child,
    out: Collected,
    err: Collected,
    /// Where it listens, such as `http://127.0.0.1:40123`.
    pub(crate) url: String,
}

impl Server {
    /// Starts a server and waits until it says what to try.
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        until("a server that starts", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", err.text());
            out.text().contains("/me ")
        })
        .await;
        let url = out.text().lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
        Self { child, out, err, url }
    }

    /// `127.0.0.1:40123` and the like.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output.
    pub(crate) fn out(&self) -> String {
        self.out.text()
    }

    /// What it has written to standard error.
    pub(crate) fn err(&self) -> String {
        self.err.text()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for its end, and for everything that it wrote.
    pub(crate) async fn ended(mut self) -> Ended {
        let mut status = None;
        until("a server that ends", || {
            status = status.or_else(|| self.child.try_wait().unwrap());
            status.is_some() && self.out.is_whole() && self.err.is_whole()
        })
        .await;
        Ended { code: status.unwrap().code(), out: self.out(), err: self.err() }
    }

    /// Stops it gracefully.
    pub(crate) async fn stop(self) -> Ended {
        self.signal("TERM");
        self.ended().await
    }

    /// Ends it at once, in the middle of whatever it does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process has written so far.
struct Collected {
    text: Arc<Mutex<String>>,
    reading: std::thread::JoinHandle<()>,
}

impl Collected {
    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Whether nothing more can come.
    fn is_whole(&self) -> bool {
        self.reading.is_finished()
    }
}

fn collect(mut from: impl Read + Send + 'static) -> Collected {
    let text = Arc::new(Mutex::new(String::new()));
    let collected = Arc::clone(&text);
    let reading = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            collected.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    Collected { text, reading }
}

/// What lies in a folder.
pub(crate) fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
