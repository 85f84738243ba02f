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
const ROUNDS: usize = 30;
/// Further requests, for comparison with the first.
const LATER: usize = 20;

const PREFIX: &str = "/annals/benchmark/keys/";
const KEYS: &str = "ANNALS_KEYS_PREFIX";
const EVENTS: &str = "ANNALS_EVENTS_TABLE";
const IDENTIFIERS: &str = "ANNALS_IDENTIFIERS_TABLE";
const VIEWS: &str = "ANNALS_VIEWS_TABLE";
const SESSIONS: &str = "ANNALS_SESSIONS_TABLE";
const ISSUER: &str = "ANNALS_ISSUER";
const LINKS: &str = "ANNALS_LINKS";
const MAIL_FROM: &str = "ANNALS_MAIL_FROM";

/// The programs: the setting that says where each is, and those of ours that it takes.
const PROGRAMS: [(&str, &str, &[&str]); 6] = [
    ("plain", "PLAIN_BIN", &[VIEWS]),
    ("command-api", "ANNALS_COMMAND_API_BIN", &[KEYS, EVENTS, IDENTIFIERS, VIEWS, SESSIONS, ISSUER]),
    ("authorizer", "ANNALS_AUTHORIZER_BIN", &[KEYS, ISSUER]),
    ("projector", "ANNALS_PROJECTOR_BIN", &[KEYS, EVENTS, VIEWS]),
    ("replayer", "ANNALS_REPLAYER_BIN", &[KEYS, EVENTS, VIEWS, SESSIONS]),
    ("mailer", "ANNALS_MAILER_BIN", &[KEYS, EVENTS, SESSIONS, LINKS, MAIL_FROM]),
];

/// What was measured of one program.
#[derive(Default)]
struct Times {
    poll: Vec<Duration>,
    answer: Vec<Duration>,
    first: Vec<Duration>,
    second: Vec<Duration>,
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
    settings.insert(KEYS, PREFIX.to_owned());
    settings.insert("AWS_ENDPOINT_URL_SSM", parameters.endpoint.clone());
    settings.insert(ISSUER, "https://accounts.example.com".to_owned());
    settings.insert(LINKS, "https://app.example.com".to_owned());
    settings.insert(MAIL_FROM, "no-reply@example.com".to_owned());

    let mut times: BTreeMap<&str, Times> = BTreeMap::new();
    for round in 0..ROUNDS {
        let client = Client::new(round, &settings).await;
        for (name, _, _) in PROGRAMS {
            let mut function = start(name, &settings).await;
            let first = timed(&mut function, client.event(name, 0)).await;
            let of = times.entry(name).or_default();
            of.poll.push(function.started_in);
            of.answer.push(function.started_in + first);
            of.first.push(first);
            of.second.push(timed(&mut function, client.event(name, 1)).await);
            for number in 2..LATER {
                of.later.push(timed(&mut function, client.event(name, number)).await);
            }
        }
    }

    let plain = quantile(&times["plain"].poll, 2);
    println!("{ROUNDS} starts of each, in turns; medians in ms");
    println!(
        "{:12} {:>10} {:>15} {:>9} {:>13} {:>14} {:>15} {:>7} {:>7}",
        "",
        "first poll",
        "quartiles",
        "of plain",
        "first answer",
        "first request",
        "quartiles",
        "second",
        "later"
    );
    for (name, _, _) in PROGRAMS {
        let Times { poll, answer, first, second, later } = &times[name];
        println!(
            "{name:12} {:10.2} {:>15} {:9.2} {:13.2} {:14.2} {:>15} {:7.2} {:7.2}",
            quantile(poll, 2),
            quartiles(poll),
            quantile(poll, 2) / plain,
            quantile(answer, 2),
            quantile(first, 2),
            quartiles(first),
            quantile(second, 2),
            quantile(later, 2)
        );
    }
}

/// Starts a program, which is told where AWS is, and what it needs of the other settings.
async fn start(name: &str, settings: &BTreeMap<&'static str, String>) -> Function {
    let (_, place, needs) = PROGRAMS.iter().find(|(program, _, _)| *program == name).expect("a program");
    let program: OsString = std::env::var_os(place).unwrap_or_else(|| panic!("not set: {place}"));
    let own = settings
        .iter()
        .filter(|(setting, _)| setting.starts_with("AWS_") || needs.contains(setting))
        .map(|(setting, value)| (*setting, value.clone()))
        .collect();
    Function::start(&program, &own).await.expect("a function that runs")
}

/// Somebody with a session, whose commits are in the view.
struct Client {
    user: String,
    access_token: String,
}

impl Client {
    /// Registers and signs in, and is projected, by functions that are not measured.
    async fn new(number: usize, settings: &BTreeMap<&'static str, String>) -> Self {
        let mut function = start("command-api", settings).await;
        let email = format!("user-{number}@example.com");
        let person = json!({"email": email, "password": "a horse that corrects batteries"});
        let registered = answered(&mut function, post("/register", &person)).await;
        let signed_in = answered(&mut function, post("/login", &person)).await;
        let text = |answer: &Value, field: &str| answer[field].as_str().expect(field).to_owned();
        let client =
            Self { user: text(&registered, "user_id"), access_token: text(&signed_in, "access_token") };
        timed(&mut start("projector", settings).await, client.event("projector", 0)).await;
        client
    }

    /// The request by which a program is measured. Each of the replayer's is a run of its own: a run that is done has
    /// nothing left to do. The mailer's commit calls for no mail, so that no mail server is measured.
    fn event(&self, program: &str, number: usize) -> Value {
        let authorization = format!("Bearer {}", self.access_token);
        match program {
            "command-api" => json!({
                "rawPath": "/me", "headers": {"authorization": authorization},
                "requestContext": {"http": {"method": "GET", "sourceIp": "192.0.2.1"}},
            }),
            "authorizer" => json!({"identitySource": [authorization], "routeKey": "GET /me"}),
            "projector" | "mailer" => announced(&self.user, "commit-0000000002"),
            "replayer" => {
                json!({"segment": 0, "total": 1, "run": format!("{}-{number}", self.user), "kind": "verify"})
            }
            _ => json!({}),
        }
    }
}

/// The stream's record of a commit.
fn announced(user: &str, commit: &str) -> Value {
    json!({"Records": [{
        "eventID": "00000000000000000000000000000001",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_800_000_000.0,
            "Keys": {"user": {"S": user}, "item": {"S": commit}},
            "SequenceNumber": "4421584500000000000000001",
            "SizeBytes": 59,
            "StreamViewType": "KEYS_ONLY",
        },
        "eventSourceARN":
            "arn:aws:dynamodb:us-east-1:123456789012:table/events/stream/2100-11-22T00:00:00.000",
    }]})
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

/// As far as `quarter` quarters of the way from the shortest to the longest, in milliseconds: at 2 the median.
fn quantile(times: &[Duration], quarter: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() * quarter / 4].as_secs_f64() * 1_000.0
}

fn quartiles(times: &[Duration]) -> String {
    format!("{:.2}..{:.2}", quantile(times, 1), quantile(times, 3))
}
