use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path as Segments, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use storage::tables::Tables;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Engine;

/// How long a function may take to start, and for an event. Lambda grants 10 s and what is configured; a busy build
/// machine needs more.
const PATIENCE: Duration = Duration::from_mins(1);

/// What Lambda puts into the environment of every function. [AWS Lambda developer guide, "Defined runtime environment
/// variables"]
const ENVIRONMENT: [(&str, &str); 17] = [
    ("_HANDLER", "bootstrap"),
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_DEFAULT_REGION", "us-east-1"),
    ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"),
    ("AWS_LAMBDA_FUNCTION_NAME", "function-under-test"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/function-under-test"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/22/[$LATEST]0123456789abcdef0123456789abcdef"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_SESSION_TOKEN", "test"),
    ("LAMBDA_TASK_ROOT", "/var/task"),
    ("LANG", "en_US.UTF-8"),
    ("PATH", "/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
    ("TZ", ":UTC"),
];

/// A Lambda function: the real program, with a Runtime API of its own to ask for events.
///
/// It gets the environment that Lambda gives it and the settings of the test, nothing of the test's own environment,
/// and is killed when this value is dropped.
#[derive(Debug)]
pub struct Function {
    process: Child,
    log: Log,
    events: mpsc::Sender<Invocation>,
    reports: mpsc::Receiver<(String, Outcome)>,
    invocations: usize,
    /// From the start of the process to its first request for an event.
    pub started_in: Duration,
}

/// How a function ended an invocation.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With an answer.
    Answered(Value),
    /// With an error. Whoever called gets an error of Lambda's, and events of a stream come again.
    Failed(Value),
}

/// A function that ended by itself before it asked for an event.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// The lines that it logged.
    pub log: Vec<String>,
}

/// What a process writes to its standard output and error.
#[derive(Debug)]
struct Log(Vec<JoinHandle<Vec<String>>>);

/// An event on its way to the function.
#[derive(Debug)]
struct Invocation {
    id: String,
    event: Value,
    /// How long the function has for it.
    time: Duration,
}

/// The Runtime API's side of an invocation.
struct Api {
    /// One event at a time.
    events: Mutex<mpsc::Receiver<Invocation>>,
    reports: mpsc::Sender<(String, Outcome)>,
    polled: Notify,
}

/// The program to test: the one that `setting` names, such as a release build, or else the one built for the test.
pub fn program(setting: &str, built: &str) -> OsString {
    std::env::var_os(setting).unwrap_or_else(|| built.into())
}

/// The settings of a function that finds its tables on this engine and its service keys in this file.
pub fn settings(engine: &Engine, tables: &Tables, keys: &Path) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("AWS_ENDPOINT_URL_DYNAMODB", engine.endpoint().to_owned()),
        ("ANNALS_EVENTS_TABLE", tables.events.clone()),
        ("ANNALS_IDENTIFIERS_TABLE", tables.identifiers.clone()),
        ("ANNALS_VIEWS_TABLE", tables.views.clone()),
        ("ANNALS_SESSIONS_TABLE", tables.sessions.clone()),
        ("ANNALS_KEYS_FILE", keys.to_str().expect("a path that is text").to_owned()),
    ])
}

impl Function {
    /// Starts the program and waits until it asks for an event.
    ///
    /// # Errors
    /// [`Ended`], if it never does.
    pub async fn start(program: &OsStr, settings: &BTreeMap<&'static str, String>) -> Result<Self, Ended> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let (events, next) = mpsc::channel(1);
        let (report, reports) = mpsc::channel(1);
        let api = Arc::new(Api { events: Mutex::new(next), reports: report, polled: Notify::new() });
        let serving = axum::serve(listener, routes(Arc::clone(&api)));
        tokio::spawn(serving.into_future());

        let started = Instant::now();
        let mut process = Command::new(program)
            .env_clear()
            .envs(ENVIRONMENT)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let log = Log::of(&mut process);
        let ended = tokio::select! {
            () = api.polled.notified() => None,
            status = process.wait() => Some(status.expect("the status of a process that ended")),
            () = tokio::time::sleep(PATIENCE) => panic!("the function did not start in {PATIENCE:?}"),
        };
        match ended {
            None => {
                let started_in = started.elapsed();
                Ok(Self { process, log, events, reports, invocations: 0, started_in })
            }
            Some(status) => Err(Ended { status, log: log.read_to_end().await }),
        }
    }

    /// Gives the function an event, and waits for what becomes of it.
    pub async fn invoke(&mut self, event: Value) -> Outcome {
        self.invoke_within(event, PATIENCE).await
    }

    /// The same, with a deadline so far away. It is only said to the function, and not enforced.
    pub async fn invoke_within(&mut self, event: Value, time: Duration) -> Outcome {
        let id = self.send(event, time).await;
        let report = timeout(PATIENCE, self.reports.recv()).await.ok().flatten();
        let (of, outcome) = report.expect("an outcome before the deadline");
        assert_eq!(of, id, "the outcome of another invocation");
        outcome
    }

    async fn send(&mut self, event: Value, time: Duration) -> String {
        self.invocations += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", self.invocations);
        let invocation = Invocation { id: id.clone(), event, time };
        self.events.send(invocation).await.expect("a Runtime API that runs");
        id
    }

    /// Gives the function an event and ends it at once when `moment` has come, in the middle of whatever it does.
    pub async fn invoke_and_kill(mut self, event: Value, moment: impl Future<Output = ()>) {
        self.send(event, PATIENCE).await;
        moment.await;
        self.process.kill().await.expect("a process that can be killed");
    }

    /// Ends the function, as Lambda does when it is no longer needed; the lines that it logged.
    pub async fn stop(mut self) -> Vec<String> {
        self.process.kill().await.expect("a process that runs");
        self.log.read_to_end().await
    }
}

impl Ended {
    /// What it says was wrong: the `error` of the only line that it logged, in JSON, before it failed.
    pub fn reason(&self) -> String {
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        let [line] = self.log.as_slice() else { panic!("not one line: {self:?}") };
        let fields: Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!(fields["level"], "ERROR", "{line}");
        fields["error"].as_str().expect("an error").to_owned()
    }
}

impl Log {
    fn of(process: &mut Child) -> Self {
        let output = process.stdout.take().map(|output| tokio::spawn(lines(output)));
        let error = process.stderr.take().map(|error| tokio::spawn(lines(error)));
        Self(output.into_iter().chain(error).collect())
    }

    async fn read_to_end(self) -> Vec<String> {
        let mut all = Vec::new();
        for stream in self.0 {
            all.extend(stream.await.expect("a log that can be read"));
        }
        all
    }
}

async fn lines(stream: impl AsyncRead + Unpin) -> Vec<String> {
    let mut read = Vec::new();
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.expect("a log in UTF-8") {
        read.push(line);
    }
    read
}

/// The Runtime API, version 2018-06-01. [AWS Lambda developer guide, "Using the Lambda runtime API for custom runtimes"]
fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/{how}", post(ended))
        .layer(DefaultBodyLimit::disable())
        .with_state(api)
}

/// Holds the request until there is an event.
async fn next(State(api): State<Arc<Api>>) -> Response {
    api.polled.notify_one();
    let Some(Invocation { id, event, time }) = api.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = SystemTime::now() + time;
    let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let headers = [
        (CONTENT_TYPE.as_str(), "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:123456789012:function:function-under-test".to_owned(),
        ),
        (
            "lambda-runtime-trace-id",
            "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1".to_owned(),
        ),
    ];
    (headers, event.to_string()).into_response()
}

async fn ended(
    State(api): State<Arc<Api>>,
    Segments((id, how)): Segments<(String, String)>,
    body: String,
) -> StatusCode {
    let body = serde_json::from_str(&body).expect("JSON");
    let outcome = match how.as_str() {
        "response" => Outcome::Answered(body),
        "error" => Outcome::Failed(body),
        _ => return StatusCode::NOT_FOUND,
    };
    api.reports.send((id, outcome)).await.expect("a test that waits for the outcome");
    StatusCode::ACCEPTED
}
