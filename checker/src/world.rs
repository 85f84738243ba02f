use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use command_api::passwords::{HashParams, PasswordHasher};
use command_api::{Clients, Clock, Service, router};
use domain::{CredentialId, Email, MOST_FAILURES, UserEvent, UserId};
use projector::ReadModel;
use serde_json::json;
use storage::keys::ServiceKeys;
use storage::one_time::Bound;
use storage::tables::Tables;
use storage::{Lifetimes, Store, ViewKeys, WrappingKeys};
use testkit::{InProcess, Random, Storm, with_luck};
use tokio::sync::RwLock;
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;

use crate::exchange::{http_request, read};
use crate::history::{Answer, Command, History, Mailed};
use crate::tally::Tally;

/// A hash that costs next to nothing.
const CHEAP: HashParams = HashParams { memory_kib: 8, iterations: 1, parallelism: 1 };
/// One that costs a little more: whoever makes these makes the others anew when their users sign in.
pub(crate) const DEARER: HashParams = HashParams { memory_kib: 16, iterations: 1, parallelism: 1 };
const ISSUER: &str = "https://accounts.example.com";
/// So many copies of the service run at the same time.
const INSTANCES: usize = 3;
/// The token in a mail about an address is good for this long.
pub(crate) const GOOD_FOR: TimeDelta = TimeDelta::hours(24);
/// API Gateway waits no longer for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A deployment: tables in an engine of its own, some copies of the service, and the way to the tables.
pub(crate) struct World {
    pub engine: InProcess,
    pub storm: Storm,
    pub tables: Tables,
    pub keys: ServiceKeys,
    pub time: Time,
    pub history: History,
    pub tally: Tally,
    /// Of the client that introspects.
    secret: String,
    instances: Vec<Instance>,
    guessed_at: Mutex<BTreeSet<usize>>,
    /// How often a copy of the service is killed in the middle of a request, until that ends.
    killed: f64,
    kills: AtomicBool,
    /// Held in common by the requests under way.
    under_way: RwLock<()>,
}

/// The time of day, which goes on with the runtime's and is moved ahead at will.
#[derive(Clone)]
pub(crate) struct Time {
    began: Instant,
    ahead: Arc<AtomicI64>,
}

/// A copy of the service, with a clock that is not quite right.
struct Instance {
    router: Router,
    clock: Clock,
}

impl Time {
    fn new() -> Self {
        // Far ahead, so that no engine's TTL takes a session away.
        Self { began: Instant::now(), ahead: Arc::new(AtomicI64::new(4_102_444_800_000)) }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        let passed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or_default();
        DateTime::from_timestamp_millis(self.ahead.load(Ordering::Relaxed) + passed).unwrap_or_default()
    }

    pub(crate) fn skip(&self, time: Duration) {
        self.ahead.fetch_add(i64::try_from(time.as_millis()).unwrap_or_default(), Ordering::Relaxed);
    }

    fn clock(&self, off: TimeDelta) -> Clock {
        let time = self.clone();
        Clock::of(move || time.now() + off)
    }
}

impl World {
    pub(crate) async fn new(random: &mut Random) -> Self {
        let engine = InProcess::start();
        let storm = Storm::around(engine.clone(), random.draw());
        let tables = Tables::prefixed("checker");
        tables.create(&storm.client()).await.expect("new tables");
        let keys = ServiceKeys::random().expect("random keys");
        let time = Time::new();
        let clocks_differ = random.chance(0.5);
        let costs_differ = random.chance(0.5);
        let (secret, hash) = Clients::new_secret().expect("a random secret");
        let gateway = json!([{"id": "gateway", "secret_sha256": [hash], "may": ["introspect"]}]);
        let clients = Clients::parse(&gateway.to_string()).expect("a list of clients");
        let instances = (0..INSTANCES).map(|number| {
            let client = if random.chance(0.7) { storm.client() } else { storm.bare_client() };
            let commands = Store::new(&client, &tables, &keys, Lifetimes::default());
            let cost = if costs_differ && number == 0 { DEARER } else { CHEAP };
            let passwords = PasswordHasher::new(cost, keys.pepper.clone(), 4).expect("a hasher");
            let off = if clocks_differ {
                i64::try_from(random.below(3_000)).unwrap_or_default() - 1_500
            } else {
                0
            };
            let clock = time.clock(TimeDelta::milliseconds(off));
            let service = Service::new(commands, passwords, &keys, ISSUER.to_owned(), clock.clone());
            let service = service.expect("a service").with_clients(clients.clone());
            Instance { router: router(Arc::new(service)), clock }
        });
        let instances = instances.collect();
        let killed = *random.pick(&[0.0, 0.0, 0.02, 0.08]).expect("there are some");
        let (history, tally) = (History::default(), Tally::default());
        Self {
            engine,
            storm,
            tables,
            keys,
            time,
            history,
            tally,
            secret: secret.to_string(),
            instances,
            guessed_at: Mutex::default(),
            killed,
            kills: AtomicBool::new(true),
            under_way: RwLock::default(),
        }
    }

    /// The read model as a projector of its own reaches it.
    pub(crate) fn read_model(&self, client: &aws_sdk_dynamodb::Client) -> ReadModel {
        let wrapping = WrappingKeys::new(self.keys.deployment.clone(), self.keys.wrapping.clone());
        let views = ViewKeys::new(self.keys.deployment.clone(), self.keys.views.clone());
        ReadModel::new(client, &self.tables, wrapping, views)
    }

    /// The tables, as who looks after them reaches them.
    pub(crate) fn store(&self) -> Store {
        Store::new(&self.storm.client(), &self.tables, &self.keys, Lifetimes::default())
    }

    /// The token of the last mail that somebody with this address asked for, made of the log as the mailer makes it;
    /// `None` if there is none, or it got lost.
    pub(crate) async fn mailed(&self, of: usize) -> Option<Mailed> {
        let store = self.store();
        let user = store.find(&Email::parse(&address(of)).ok()?).await.ok()??;
        let (mut last, mut folded) = (None, domain::User::default());
        let visit = |commit: &storage::Commit| {
            folded = commit.fold(std::mem::take(&mut folded));
            for recorded in &commit.events {
                // Not what went to an address that the user has no more.
                if let UserEvent::UserRequestedPasswordReset { email, credential, ends } = &recorded.event
                    && email.as_str() == address(of)
                {
                    let since = folded.account().and_then(|account| account.email_since);
                    last = Some((email.clone(), *credential, *ends, since));
                }
            }
        };
        store.log.history(user, visit).await.ok()?;
        let (email, credential, ends, since) = last?;
        let bound = Bound::PasswordReset { email: &email, credential, since };
        let text = store.one_time.make(user, &bound, ends).ok()?.to_string();
        Some(Mailed { user, address: of, credential, since, ends, text, genuine: true })
    }

    /// The tokens of the mails about addresses that this user caused, each with the address that its own takes the place
    /// of; made of the log as the mailer makes them.
    pub(crate) async fn mailed_to(&self, user: UserId) -> Option<Vec<(Mailed, Option<usize>)>> {
        let store = self.store();
        let mut mailed = Vec::new();
        let visit = |commit: &storage::Commit| {
            for recorded in &commit.events {
                mailed.extend(match &recorded.event {
                    UserEvent::UserRegistered { email, credential, .. } => {
                        Some((email.clone(), None, *credential, (commit.at + GOOD_FOR).trunc_subsecs(0)))
                    }
                    UserEvent::UserRequestedEmailChange { email, from, credential, ends } => {
                        Some((email.clone(), Some(from.clone()), *credential, *ends))
                    }
                    _ => None,
                });
            }
        };
        store.log.history(user, visit).await.ok()?;
        let made = |(email, from, credential, ends): (Email, Option<Email>, CredentialId, DateTime<Utc>)| {
            let bound = match &from {
                None => Bound::EmailVerification { email: &email, credential },
                Some(from) => Bound::EmailChange { from, to: &email, credential },
            };
            let text = store.one_time.make(user, &bound, ends).ok()?.to_string();
            let from = from.as_ref().and_then(number_of);
            let address = number_of(&email)?;
            let token = Mailed { user, address, credential, since: None, ends, text, genuine: true };
            Some((token, from))
        };
        mailed.into_iter().map(made).collect()
    }

    /// Lets it be so that somebody has guessed at this address for a day: one more wrong guess is the last.
    pub(crate) async fn a_day_of_guesses(&self, of: usize) -> Option<()> {
        self.guessed_at.lock().unwrap_or_else(PoisonError::into_inner).insert(of);
        let store = self.store();
        let user = store.find(&Email::parse(&address(of)).ok()?).await.ok()??;
        let folded = store.log.fold(user).await.ok()?.outcome.ok()?;
        let base = folded.user.account()?.last_success;
        let number = |number: u64| aws_sdk_dynamodb::types::AttributeValue::N(number.to_string());
        let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
        self.storm
            .client()
            .update_item()
            .table_name(&self.tables.sessions)
            .key("user", text(&user.to_string()))
            .key("item", text("guesses"))
            .update_expression("SET #attempts = :most, #last = :long_ago")
            .condition_expression("attribute_not_exists(#attempts) OR #attempts < :most")
            .expression_attribute_names("#attempts", "attempts")
            .expression_attribute_names("#last", "last")
            .expression_attribute_values(":most", number(base + MOST_FAILURES - 1))
            .expression_attribute_values(":long_ago", number(0))
            .send()
            .await
            .ok()?;
        self.tally.count("guessed at for a day");
        Some(())
    }

    /// The addresses at which somebody has guessed for a day, or perhaps has.
    pub(crate) fn guessed_at(&self) -> BTreeSet<usize> {
        self.guessed_at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on nothing goes wrong, and what was late has arrived.
    pub(crate) async fn calms_down(&self) {
        self.kills.store(false, Ordering::Relaxed);
        self.storm.abates().await;
    }

    /// Lets more time pass than any request is under way: first all that are come to their end.
    pub(crate) async fn rest(&self, time: Duration) {
        let _nothing_under_way = self.under_way.write().await;
        self.time.skip(time);
    }

    /// Sends a request to some copy of the service, and notes it and its answer.
    pub(crate) async fn send(
        &self,
        client: usize,
        agent: &str,
        command: &Command,
        random: &mut Random,
    ) -> Answer {
        let _under_way = self.under_way.read().await;
        let luck = random.fork();
        let instance = &self.instances[random.below(INSTANCES)];
        let now = instance.clock.now();
        let request = self.history.begin(client, agent, command, now);
        let sent = http_request(request, agent, command, &self.secret);
        let answering = instance.router.clone().oneshot(sent);
        let dies = self.kills.load(Ordering::Relaxed) && random.chance(self.killed);
        let within = if dies { random.millis(0, 60) } else { PATIENCE };
        let answer = match with_luck(luck, timeout(within, answering)).await {
            Ok(Ok(response)) => read(request, command, response, now).await,
            Ok(Err(never)) => match never {},
            Err(_) => {
                if dies {
                    self.tally.count("service killed");
                }
                Answer::Unknown
            }
        };
        self.history.complete(request, &answer);
        answer
    }
}

/// Address and password by their numbers.
pub(crate) fn address(number: usize) -> String {
    format!("user-{number}@example.com")
}

/// The number of an address.
pub(crate) fn number_of(address: &Email) -> Option<usize> {
    address.as_str().strip_prefix("user-")?.strip_suffix("@example.com")?.parse().ok()
}
