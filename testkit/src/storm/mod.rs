//! Faults at random between clients and their engine, all of them from one seed.

mod client;
mod past;
mod weather;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::faults::error_body;
use crate::in_process::{InProcess, parts, response};
use crate::random::Random;
use past::Past;
pub use weather::{Mishap, Weather};

/// How many milliseconds a request, or its answer, is under way.
const UNDER_WAY: (u64, u64) = (0, 8);
/// The same now and then.
const SELDOM_UNDER_WAY: (u64, u64) = (20, 900);
/// How often that is.
const SELDOM: f64 = 0.02;
/// A request that comes late does so after this many milliseconds, mostly when its client has long given up.
const LATE: (u64, u64) = (20, 15_000);

/// The way between clients and an engine, on which each request takes its time and meets whatever the weather brings.
/// Clones are the same way.
///
/// The engine is in the process and answers within a call. So what lay in a write's place a moment before is known,
/// and a stale read is answered with nothing but what really was in the table.
#[derive(Debug, Clone)]
pub struct Storm {
    engine: InProcess,
    state: Arc<Mutex<State>>,
    /// How many requests are still to take effect although nobody waits for them any more.
    late: watch::Sender<usize>,
}

tokio::task_local! {
    /// What the requests of a task meet, if it has a luck of its own.
    static LUCK: RefCell<Random>;
}

/// Runs a future whose requests meet what follows from this luck, and not from what others send in between: so that
/// the same goes wrong again in the same place, even if somebody else is a little earlier or later.
pub async fn with_luck<F: Future>(luck: Random, future: F) -> F::Output {
    LUCK.scope(RefCell::new(luck), future).await
}

#[derive(Debug)]
struct State {
    random: Random,
    weather: Weather,
    past: Past,
    met: BTreeMap<Mishap, u64>,
    requests: u64,
}

impl Storm {
    /// The way to this engine, calm at first.
    pub fn around(engine: InProcess, seed: u64) -> Self {
        let random = Random::new(seed);
        let state = State {
            random,
            weather: Weather::CALM,
            past: Past::default(),
            met: BTreeMap::new(),
            requests: 0,
        };
        Self { engine, state: Arc::new(Mutex::new(state)), late: watch::Sender::new(0) }
    }

    /// From now on things go wrong as often as this says.
    pub fn rages(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// From now on nothing goes wrong; returns when all that was late has arrived.
    pub async fn abates(&self) {
        self.rages(Weather::CALM);
        // The sender is ours: waiting for it cannot fail.
        let _ = self.late.subscribe().wait_for(|late| *late == 0).await;
    }

    /// How often each mishap has occurred.
    pub fn met(&self) -> BTreeMap<Mishap, u64> {
        self.state().met.clone()
    }

    /// How many requests have been sent, each retry included.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// What the next request of this task meets.
    fn luck(&self) -> Random {
        let own = LUCK.try_with(|luck| luck.borrow_mut().fork());
        own.unwrap_or_else(|_| self.state().random.fork())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same request reaches the engine, which is all that happens at this moment.
    fn arrive(&self, operation: &str, body: &str, luck: &mut Random) -> (u16, String) {
        let mut state = self.state();
        let State { weather, past, met, .. } = &mut *state;
        past.look(&self.engine, operation, body);
        let (status, answer) = self.engine.answer(operation, body);
        if status != 200 {
            return (status, answer);
        }
        past.remember(operation, body, &answer);
        let choose = |states: usize| {
            (states > 0 && luck.chance(weather.of_mishap(Mishap::Stale))).then(|| luck.below(states))
        };
        match past.instead(operation, body, &answer, choose) {
            Some(former) => {
                *met.entry(Mishap::Stale).or_default() += 1;
                (status, former)
            }
            None => (status, answer),
        }
    }

    /// What goes wrong with this request, how long it is under way, and how long its answer is.
    fn prospect(&self, operation: &str, luck: &mut Random) -> (Option<Mishap>, Duration, Duration) {
        let mut state = self.state();
        state.requests += 1;
        let State { weather, met, .. } = &mut *state;
        let mishap = Mishap::BEFORE_THE_ANSWER
            .into_iter()
            .filter(|mishap| mishap.befalls(operation))
            .find(|mishap| luck.chance(weather.of_mishap(*mishap)));
        if let Some(mishap) = mishap {
            *met.entry(mishap).or_default() += 1;
        }
        let mut under_way = || {
            let (least, most) = if luck.chance(SELDOM) { SELDOM_UNDER_WAY } else { UNDER_WAY };
            luck.millis(least, most)
        };
        (mishap, under_way(), under_way())
    }

    async fn carry(self, operation: String, body: String) -> Result<HttpResponse, ConnectorError> {
        let mut luck = self.luck();
        let (mishap, there, back) = self.prospect(&operation, &mut luck);
        sleep(there).await;
        let (status, answer) = match mishap {
            // Staleness befalls the answer.
            None | Some(Mishap::Stale) => self.arrive(&operation, &body, &mut luck),
            Some(Mishap::Throttled) => refused(400, "ThrottlingException"),
            Some(Mishap::OverCapacity) => refused(400, "ProvisionedThroughputExceededException"),
            Some(Mishap::Conflict) => conflict(&operation, &body, &mut luck),
            Some(Mishap::ErrorBefore) => refused(500, "InternalServerError"),
            Some(Mishap::ErrorAfter) => {
                self.arrive(&operation, &body, &mut luck);
                refused(500, "InternalServerError")
            }
            Some(Mishap::Unprocessed) => self.in_part(&operation, &body, &mut luck),
            Some(Mishap::LostBefore) => return never().await,
            Some(Mishap::LostAfter) => {
                self.arrive(&operation, &body, &mut luck);
                return never().await;
            }
            Some(Mishap::Late) => {
                self.arrive_late(operation, body, luck);
                return never().await;
            }
        };
        sleep(back).await;
        response(status, answer)
    }

    /// The request takes effect by itself, when its client has perhaps gone on to something else.
    fn arrive_late(&self, operation: String, body: String, mut luck: Random) {
        let after = luck.millis(LATE.0, LATE.1);
        let storm = self.clone();
        storm.late.send_modify(|late| *late += 1);
        tokio::spawn(async move {
            sleep(after).await;
            storm.arrive(&operation, &body, &mut luck);
            storm.late.send_modify(|late| *late -= 1);
        });
    }

    /// Some keys of a batch are left for later.
    fn in_part(&self, operation: &str, body: &str, luck: &mut Random) -> (u16, String) {
        let mut asked = json(body);
        let mut left = json!({});
        for (table, wanted) in asked["RequestItems"].as_object_mut().into_iter().flatten() {
            let keys = wanted["Keys"].as_array().cloned().unwrap_or_default();
            let (later, now): (Vec<Value>, Vec<Value>) = keys.into_iter().partition(|_| luck.chance(0.5));
            if !later.is_empty() {
                left[table] = wanted.clone();
                left[table]["Keys"] = later.into();
            }
            wanted["Keys"] = now.into();
        }
        if let Some(tables) = asked["RequestItems"].as_object_mut() {
            tables.retain(|_, wanted| wanted["Keys"] != json!([]));
            if tables.is_empty() {
                return (200, json!({ "Responses": {}, "UnprocessedKeys": left }).to_string());
            }
        }
        let (status, answer) = self.arrive(operation, &asked.to_string(), luck);
        let mut answer = json(&answer);
        answer["UnprocessedKeys"] = left;
        (status, answer.to_string())
    }
}

/// Somebody else is writing one of the items.
fn conflict(operation: &str, body: &str, luck: &mut Random) -> (u16, String) {
    if operation != "TransactWriteItems" {
        return refused(400, "TransactionConflictException");
    }
    let actions = json(body)["TransactItems"].as_array().map_or(1, Vec::len);
    let mut reasons = vec![json!({ "Code": "None" }); actions];
    let code = if luck.chance(0.2) { "ThrottlingError" } else { "TransactionConflict" };
    let one = luck.below(actions);
    reasons[one] = json!({ "Code": code, "Message": "injected" });
    let mut answer = error_body("TransactionCanceledException");
    answer["CancellationReasons"] = reasons.into();
    (400, answer.to_string())
}

fn refused(status: u16, name: &str) -> (u16, String) {
    (status, error_body(name).to_string())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("requests and answers of DynamoDB are JSON")
}

/// No answer ever comes; the client's own patience ends the wait.
async fn never() -> Result<HttpResponse, ConnectorError> {
    std::future::pending().await
}

impl HttpClient for Storm {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Storm {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let storm = self.clone();
        HttpConnectorFuture::new(async move {
            let (operation, body) = parts(&request)?;
            let (operation, body) = (operation.to_owned(), body.to_owned());
            storm.carry(operation, body).await
        })
    }
}
