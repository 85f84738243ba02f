//! How long the functions take from the start of their process to the first poll of the Runtime API and to the first
//! answer, beside a plain function. `benchmarks/functions/run` builds all of them and runs this.
#![expect(clippy::expect_used, reason = "a measurement has nothing better to do than to stop")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use storage::keys::ServiceKeys;
use testkit::{Engine, Function, Outcome, Parameters, settings};

/// Starts of each program, one after the other in turns.
const ROUNDS: usize = 20;
/// Further requests, for comparison with the first.
const LATER: usize = 20;

const PREFIX: &str = "/annals/benchmark/keys/";
const PROGRAMS: [(&str, &str); 4] = [
    ("plain", "PLAIN_BIN"),
    ("command-api", "ANNALS_COMMAND_API_BIN"),
    ("authorizer", "ANNALS_AUTHORIZER_BIN"),
    ("projector", "ANNALS_PROJECTOR_BIN"),
];

/// What was measured of one program.
#[derive(Default)]
struct Times {
    poll: Vec<Duration>,
    answer: Vec<Duration>,
    first: Vec<Duration>,
    later: Vec<Duration>,
}

#[tokio::main]
async fn main() {
    let engine = Engine::start().await;
    let tables = engine.tables().await;
    let keys = ServiceKeys::random().expect("random keys");
    let parameters = Parameters::of(PREFIX, &keys).await;
    let mut settings = settings(&engine, &tables, std::path::Path::new(""));
    settings.remove("ANNALS_KEYS_FILE");
    settings.insert("ANNALS_KEYS_PREFIX", PREFIX.to_owned());
    settings.insert("AWS_ENDPOINT_URL_SSM", parameters.endpoint.clone());
    settings.insert("ANNALS_ISSUER", "https://accounts.example.com".to_owned());

    let mut times: BTreeMap<&str, Times> = BTreeMap::new();
    let mut client = Client::default();
    for round in 0..ROUNDS {
        for (name, setting) in PROGRAMS {
            let program: OsString = std::env::var_os(setting).unwrap_or_else(|| panic!("not set: {setting}"));
            let own = settings_of(name, &settings);
            let mut function = Function::start(&program, &own).await.expect("a function that runs");
            if name == "command-api" {
                client = Client::new(round, &program, &own).await;
            }
            let event = client.event(name);
            let first = timed(&mut function, event.clone()).await;
            let of = times.entry(name).or_default();
            of.poll.push(function.started_in);
            of.answer.push(function.started_in + first);
            of.first.push(first);
            for _ in 0..LATER {
                of.later.push(timed(&mut function, event.clone()).await);
            }
        }
    }

    let plain = median(&times["plain"].poll);
    println!(
        "{ROUNDS} starts each, medians in ms       first poll   of plain   first answer   first request   later"
    );
    for (name, _) in PROGRAMS {
        let Times { poll, answer, first, later } = &times[name];
        println!(
            "{name:32} {:12.2} {:10.2} {:14.2} {:15.2} {:7.2}",
            median(poll),
            median(poll) / plain,
            median(answer),
            median(first),
            median(later)
        );
    }
}

/// What this function is told, and no more.
fn settings_of(name: &str, all: &BTreeMap<&'static str, String>) -> BTreeMap<&'static str, String> {
    let needs = |setting: &str| match name {
        "authorizer" => !setting.ends_with("_TABLE"),
        "projector" => {
            !matches!(setting, "ANNALS_ISSUER" | "ANNALS_IDENTIFIERS_TABLE" | "ANNALS_SESSIONS_TABLE")
        }
        _ => true,
    };
    all.iter()
        .filter(|(setting, _)| needs(setting))
        .map(|(setting, value)| (*setting, value.clone()))
        .collect()
}

/// Somebody with a session, whose first commit the stream announces.
#[derive(Default)]
struct Client {
    user: String,
    access_token: String,
}

impl Client {
    /// Registers and signs in, at a function that is not measured.
    async fn new(number: usize, program: &OsString, settings: &BTreeMap<&'static str, String>) -> Self {
        let mut function = Function::start(program, settings).await.expect("a function that runs");
        let email = format!("user-{number}@example.com");
        let person = json!({"email": email, "password": "correct horse battery"});
        let registered = answered(&mut function, post("/register", &person)).await;
        let signed_in = answered(&mut function, post("/login", &person)).await;
        let text = |answer: &Value, field: &str| answer[field].as_str().expect(field).to_owned();
        Self { user: text(&registered, "user_id"), access_token: text(&signed_in, "access_token") }
    }

    /// The request by which a program is measured.
    fn event(&self, program: &str) -> Value {
        let authorization = format!("Bearer {}", self.access_token);
        match program {
            "command-api" => json!({
                "rawPath": "/me", "headers": {"authorization": authorization},
                "requestContext": {"http": {"method": "GET", "sourceIp": "192.0.2.1"}},
            }),
            "authorizer" => json!({"identitySource": [authorization], "routeKey": "GET /me"}),
            "projector" => json!({"Records": [{
                "eventName": "INSERT",
                "dynamodb": {"Keys": {"user": {"S": self.user}, "item": {"S": "commit-0000000001"}}},
            }]}),
            _ => json!({}),
        }
    }
}

fn post(path: &str, body: &Value) -> Value {
    json!({
        "rawPath": path, "headers": {"content-type": "application/json"}, "body": body.to_string(),
        "requestContext": {"http": {"method": "POST", "sourceIp": "192.0.2.1"}},
    })
}

async fn answered(function: &mut Function, event: Value) -> Value {
    let Outcome::Answered(answer) = function.invoke(event).await else { panic!("no answer") };
    serde_json::from_str(answer["body"].as_str().expect("a body")).expect("a body in JSON")
}

async fn timed(function: &mut Function, event: Value) -> Duration {
    let started = Instant::now();
    let outcome = function.invoke(event).await;
    let took = started.elapsed();
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    took
}

/// The median, in milliseconds.
fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1_000.0
}
