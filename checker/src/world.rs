use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use axum::response::Response;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use command_api::passwords::{HashParams, PasswordHasher};
use command_api::{ClientAddress, Clients, Clock, Service, router};
use domain::{CredentialId, Email, MOST_FAILURES, UserEvent, UserId};
use http_body_util::BodyExt as _;
use projector::ReadModel;
use serde_json::{Value, json};
use storage::keys::ServiceKeys;
use storage::one_time::Bound;
use storage::tables::Tables;
use storage::{Lifetimes, Store, ViewKeys, WrappingKeys};
use testkit::{InProcess, Random, Storm, with_luck};
use tokio::sync::RwLock;
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;

use crate::history::{
    Access, Answer, Command, Device, GUESSABLE, History, Listed, Mailed, PAGE, Profile, Shown, Token,
};
use crate::tally::Tally;

/// A hash that costs next to nothing.
const CHEAP: HashParams = HashParams { memory_kib: 8, iterations: 1, parallelism: 1 };
/// One that costs a little more: whoever makes these makes the others anew when their users sign in.
pub(crate) const DEARER: HashParams = HashParams { memory_kib: 16, iterations: 1, parallelism: 1 };
const ISSUER: &str = "https://accounts.example.com";
/// So many copies of the service run at the same time.
const INSTANCES: usize = 3;
/// Access tokens are good for this long.
const ACCESS_TOKENS_LIVE: TimeDelta = TimeDelta::minutes(15);
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
        Some(Mailed { user, address: of, credential, ends, text, genuine: true })
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
            let token = Mailed { user, address: number_of(&email)?, credential, ends, text, genuine: true };
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

fn password(number: usize) -> String {
    if number == GUESSABLE {
        return "passwordpassword".to_owned();
    }
    format!("number {number} of long passwords")
}

fn http_request(number: usize, agent: &str, command: &Command, secret: &str) -> Request<Body> {
    let builder = |method: &str, path: &str| {
        let from = IpAddr::V6(Ipv6Addr::from_bits(number as u128));
        Request::builder()
            .method(method)
            .uri(path)
            .header("user-agent", agent)
            .header("content-type", "application/json")
            .extension(ClientAddress(from))
    };
    let bearer = |access: &Access| format!("Bearer {}", access.text);
    let built = match command {
        Command::Register { address: of, password: with, key } => {
            let mut request = builder("POST", "/register");
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            let name = Command::name(key.as_deref(), number);
            let body = json!({ "email": address(*of), "password": password(*with), "name": name });
            request.body(body.to_string().into())
        }
        Command::SignIn { address: of, password: with, device } => {
            let device = device.as_ref().map(|device| &device.text);
            let body = json!({ "email": address(*of), "password": password(*with), "device_token": device });
            builder("POST", "/login").body(body.to_string().into())
        }
        // Now and then as OAuth has it: the one is as good as the other.
        Command::Refresh(token) if number.is_multiple_of(3) => {
            form(builder, "/oauth2/token", format!("grant_type=refresh_token&refresh_token={}", token.text))
        }
        Command::Revoke(token) => form(builder, "/oauth2/revoke", format!("token={}", token.text)),
        Command::Introspect(access) => {
            let client = format!("&client_id=gateway&client_secret={secret}");
            form(builder, "/oauth2/introspect", format!("token={}{client}", access.text))
        }
        Command::LookBack(access, before) => {
            let before = before.map(|version| format!("&before={version}")).unwrap_or_default();
            let request = builder("GET", &format!("/me/events?limit={PAGE}{before}"));
            request.header("authorization", bearer(access)).body(Body::empty())
        }
        Command::Refresh(token) => {
            let body = json!({ "refresh_token": token.text });
            builder("POST", "/token/refresh").body(body.to_string().into())
        }
        Command::SignOut(access) => {
            builder("POST", "/logout").header("authorization", bearer(access)).body(Body::empty())
        }
        Command::ReadProfile(access, at_least) => {
            let query = at_least.map(|version| format!("?min_version={version}")).unwrap_or_default();
            let request = builder("GET", &format!("/me{query}"));
            request.header("authorization", bearer(access)).body(Body::empty())
        }
        Command::Rename { access, name, if_match } => {
            let mut request = builder("PATCH", "/me").header("authorization", bearer(access));
            if let Some(tags) = if_match {
                request = request.header("if-match", tags);
            }
            request.body(json!({ "name": name }).to_string().into())
        }
        Command::ChangePassword { access, current, new } => {
            let body = json!({ "current_password": password(*current), "new_password": password(*new) });
            let request = builder("POST", "/me/password").header("authorization", bearer(access));
            request.body(body.to_string().into())
        }
        Command::Forget { address: of } => {
            builder("POST", "/password/forgot").body(json!({ "email": address(*of) }).to_string().into())
        }
        Command::Reset { token, new } => {
            let body = json!({ "token": token.text, "new_password": password(*new) });
            builder("POST", "/password/reset").body(body.to_string().into())
        }
        Command::AskForAddress { access, address: of } => {
            let request = builder("POST", "/me/email").header("authorization", bearer(access));
            request.body(json!({ "email": address(*of) }).to_string().into())
        }
        Command::Verify { token, .. } => {
            builder("POST", "/email/verify").body(json!({ "token": token.text }).to_string().into())
        }
        Command::ListSessions(access) => {
            builder("GET", "/me/sessions").header("authorization", bearer(access)).body(Body::empty())
        }
        Command::EndSession { access, session } => {
            let request = builder("DELETE", &format!("/me/sessions/{session}"));
            request.header("authorization", bearer(access)).body(Body::empty())
        }
        Command::EndOtherSessions(access) => {
            builder("DELETE", "/me/sessions").header("authorization", bearer(access)).body(Body::empty())
        }
    };
    built.expect("a request of valid parts")
}

fn form(
    builder: impl Fn(&str, &str) -> axum::http::request::Builder,
    path: &str,
    form: String,
) -> axum::http::Result<Request<Body>> {
    let mut request = builder("POST", path);
    if let Some(headers) = request.headers_mut() {
        headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    }
    request.body(form.into())
}

/// What an answer says. What it does not fit into is absurd.
async fn read(request: usize, command: &Command, response: Response, now: DateTime<Utc>) -> Answer {
    let (parts, body) = response.into_parts();
    let octets = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body: Value = serde_json::from_slice(&octets).unwrap_or_default();
    let status = parts.status.as_u16();
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let problem = body["type"].as_str().and_then(|kind| kind.strip_prefix("urn:annals:problem:"));
    let problem = problem.unwrap_or_default();
    let invalid = || {
        let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().filter_map(|error| error["field"].as_str()).collect::<Vec<_>>()
    };
    let understood = || match (command, status) {
        (_, 503) => Some(Answer::Unknown),
        (Command::Register { .. }, 201) => Some(Answer::Registered {
            user: text("user_id")?.parse().ok()?,
            version: body["version"].as_u64()?,
        }),
        (Command::SignIn { .. }, 200) => {
            let (token, access) = tokens(&body, 0, now)?;
            let (user, version) = (text("user_id")?.parse().ok()?, body["version"].as_u64()?);
            let known = command.known_device(user);
            let device = Device {
                user,
                first: known.map_or(request, |known| known.first),
                given: request,
                text: text("device_token")?,
                genuine: true,
            };
            Some(Answer::SignedIn { user, version, token, access, device })
        }
        (Command::Refresh(spent), 200) => {
            let (token, access) = tokens(&body, spent.generation + 1, now)?;
            Some(Answer::Refreshed(token, access))
        }
        (
            Command::SignOut(_)
            | Command::ChangePassword { .. }
            | Command::Reset { .. }
            | Command::Verify { .. }
            | Command::EndSession { .. }
            | Command::EndOtherSessions(_),
            204,
        )
        | (Command::Revoke(_), 200) => Some(Answer::Done),
        (Command::ReadProfile(..) | Command::Rename { .. }, 200) => Some(Answer::Profile(Profile {
            user: text("user_id")?,
            version: header("annals-version").parse().ok()?,
            etag: header("etag").to_owned(),
            email: text("email")?,
            name: text("name"),
            updated_at: text("updated_at")?,
        })),
        (Command::Introspect(_), 200) => body["active"].as_bool().map(Answer::Worth),
        (Command::LookBack(..), 200) => {
            let shown = body["events"].as_array()?.iter().map(shown).collect::<Option<_>>()?;
            Some(Answer::Events(shown, body["next"].as_u64()))
        }
        (Command::ListSessions(_), 200) => {
            body["sessions"].as_array()?.iter().map(listed).collect::<Option<_>>().map(Answer::Sessions)
        }
        (
            Command::ChangePassword { .. }
            | Command::AskForAddress { .. }
            | Command::EndSession { .. }
            | Command::EndOtherSessions(_),
            401,
        ) if problem == "insufficient-user-authentication" => Some(Answer::SignInTooOld),
        (Command::ChangePassword { .. } | Command::Verify { .. }, 429) if problem == "too-many-mails" => {
            Some(Answer::TooManyMails)
        }
        (Command::Forget { .. } | Command::AskForAddress { .. }, 202) => Some(Answer::Accepted),
        (Command::Reset { .. } | Command::Verify { .. }, 400) if problem == "invalid-token" => {
            Some(Answer::Refused(status))
        }
        (Command::Reset { .. }, 422) if invalid() == ["new_password"] => Some(Answer::Guessable),
        (Command::Register { .. }, 422) if invalid() == ["password"] => Some(Answer::Guessable),
        (Command::ChangePassword { .. }, 422) => match invalid().as_slice() {
            ["current_password"] => Some(Answer::WrongPassword),
            ["new_password"] => Some(Answer::Guessable),
            _ => None,
        },
        (Command::Register { .. } | Command::Verify { .. }, 409)
        | (Command::SignIn { .. }, 401 | 429)
        | (Command::Refresh(_), 400)
        | (Command::Rename { .. }, 412)
        | (Command::ChangePassword { .. }, 429)
        | (Command::EndSession { .. }, 404) => Some(Answer::Refused(status)),
        (command, 401) if command.acting().is_some() && problem == "bad-token" => {
            Some(Answer::Refused(status))
        }
        _ => None,
    };
    understood().unwrap_or_else(|| Answer::Absurd(format!("{status} {body}")))
}

fn shown(event: &Value) -> Option<Shown> {
    let from: Option<Ipv6Addr> = event["address"].as_str().and_then(|address| address.parse().ok());
    Some(Shown {
        version: event["version"].as_u64()?,
        kind: event["type"].as_str()?.to_owned(),
        request: from.and_then(|from| usize::try_from(from.to_bits()).ok()),
        at: event["at"].as_str()?.to_owned(),
    })
}

fn listed(item: &Value) -> Option<Listed> {
    let text = |name: &str| item[name].as_str().map(str::to_owned);
    let from: Option<Ipv6Addr> = text("address").and_then(|address| address.parse().ok());
    Some(Listed {
        session: text("session_id")?.parse().ok()?,
        current: item["current"].as_bool()?,
        agent: text("client"),
        request: from.and_then(|from| usize::try_from(from.to_bits()).ok()),
        signed_in_at: text("signed_in_at")?,
    })
}

fn tokens(body: &Value, generation: u64, now: DateTime<Utc>) -> Option<(Token, Access)> {
    let session = body["session_id"].as_str()?.parse().ok()?;
    let text = body["refresh_token"].as_str()?.to_owned();
    let access = body["access_token"].as_str()?.to_owned();
    Some((
        Token { session, generation, text, genuine: true },
        Access { session, text: access, expires: now + ACCESS_TOKENS_LIVE },
    ))
}
