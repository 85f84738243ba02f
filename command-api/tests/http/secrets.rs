//! Marked secrets go through a whole story, and are then looked for where they should not be.

use std::io;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use storage::one_time::OneTimePurpose;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::fmt::MakeWriter;

use crate::app::{Answer, App, GATEWAY, SHOP};

const EMAIL: &str = "markedaddress@example.com";
const MOVED: &str = "markedelsewhere@example.com";
const UNKNOWN: &str = "markedstranger@example.com";
const NAME: &str = "Markedname";
const PASSWORD: &str = "markedpassword marked";
const WRONG: &str = "markedguess marked";
const NEW_PASSWORD: &str = "markedreplacement marked";
const RESET_PASSWORD: &str = "markedreset marked";
const KEY: &str = "markedkey";
const AGENT: &str = "markedagent";

/// Log lines, as they are written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// In lower case, so that a mark is found in any.
fn lower(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).to_ascii_lowercase()
}

/// What an item says, in octets.
fn octets(value: &AttributeValue) -> Vec<u8> {
    match value {
        AttributeValue::B(blob) => blob.as_ref().to_vec(),
        other => format!("{other:?}").into_bytes(),
    }
}

/// What a client with a secret does for a user on a device that is known; the tokens that came of it.
async fn story_of_a_client(app: &App, device: &str) -> Vec<String> {
    let login = async |email: &str, password: &str, device: &str, secret: &str| {
        let body = json!({"email": email, "password": password, "device_token": device});
        let request = app.request(Method::POST, "/login").basic_auth(SHOP.0, Some(secret));
        app.send(request.header("User-Agent", AGENT).json(&body)).await
    };
    // The address has moved by now, and the password was changed.
    login(MOVED, WRONG, device, SHOP.1).await.is_problem(401, "sign-in-refused");
    login(MOVED, NEW_PASSWORD, &device[1..], WRONG).await.is_problem(401, "client-refused");
    let begun = login(MOVED, NEW_PASSWORD, device, SHOP.1).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let mut tokens =
        ["access_token", "refresh_token", "device_token"].map(|name| begun.text_of(name)).to_vec();
    let (id, secret) = SHOP;
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens[1].as_str())];
    let with = |secret| [&refresh[..], &[("client_id", id), ("client_secret", secret)]].concat();
    app.form("/oauth2/token", None, &with(WRONG)).await.is_oauth_error(401, "invalid_client");
    app.form("/oauth2/token", Some((id, WRONG)), &refresh).await.is_oauth_error(401, "invalid_client");
    app.form("/oauth2/token", Some(SHOP), &with(secret)).await.is_oauth_error(400, "invalid_request");
    app.form("/oauth2/token", None, &refresh).await.is_oauth_error(400, "invalid_grant");
    let refreshed = app.form("/oauth2/token", None, &with(secret)).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    tokens.extend(["access_token", "refresh_token"].map(|name| refreshed.text_of(name)));
    for token in &tokens {
        let told = app.form("/oauth2/introspect", Some(GATEWAY), &[("token", token)]).await;
        assert_eq!(told.status, 200, "{told:?}");
        let (id, secret) = GATEWAY;
        let form = [("token", token.as_str()), ("client_id", id), ("client_secret", secret)];
        assert_eq!(app.form("/oauth2/introspect", None, &form).await, told);
        assert!(!told.text.contains(token.rsplit('.').next().unwrap()), "{told:?}");
    }
    let garbage = app.form("/oauth2/revoke", Some(SHOP), &[("token", &tokens[4][1..])]).await;
    assert_eq!(garbage.status, 200, "it is as good as revoked: {garbage:?}");
    assert_eq!(app.form("/oauth2/revoke", Some(SHOP), &[("token", &tokens[4])]).await.status, 200);
    app.get("/me", &tokens[3]).await.is_problem(401, "bad-token");
    tokens
}

/// Where addresses have to be verified: registered unsaid, again and again, and the mail asked for once more; the tokens
/// that came of it.
async fn unsaid_story(app: &App) -> Vec<String> {
    let post = |path: &str, body| app.request(Method::POST, path).header("User-Agent", AGENT).json(&body);
    let login = |password: &str| app.send(post("/login", json!({"email": EMAIL, "password": password})));
    let verify = |token: &str| app.send(post("/email/verify", json!({ "token": token })));
    for (password, key) in [(PASSWORD, KEY), (PASSWORD, KEY), (NEW_PASSWORD, AGENT)] {
        let body = json!({"email": EMAIL, "password": password, "name": NAME});
        let registered = app.send(post("/register", body).header("Idempotency-Key", key)).await;
        assert_eq!((registered.status.as_u16(), registered.text.as_str()), (202, ""));
    }
    let user = app.owner(EMAIL).await.unwrap();
    let mut tokens = vec![app.mailed_for(&user, OneTimePurpose::EmailVerification).await];
    for password in [WRONG, PASSWORD] {
        login(password).await.is_problem(401, "sign-in-refused");
    }
    app.pass(TimeDelta::hours(1));
    for email in [EMAIL, UNKNOWN].repeat(4) {
        assert_eq!(app.send(post("/email/verify/resend", json!({ "email": email }))).await.status, 202);
    }
    tokens.push(app.mailed_for(&user, OneTimePurpose::EmailVerification).await);
    assert_ne!(tokens[0], tokens[1]);
    verify(&tokens[1][1..]).await.is_problem(400, "invalid-token");
    assert_eq!(verify(&tokens[1]).await.status, 204);
    let begun = login(PASSWORD).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    tokens.extend(["access_token", "refresh_token", "device_token"].map(|name| begun.text_of(name)));
    app.project(&user).await;
    let moving = post("/me/email", json!({ "email": MOVED })).bearer_auth(&tokens[2]);
    assert_eq!(app.send(moving).await.status, 202);
    let change = app.mailed_for(&user, OneTimePurpose::EmailChange).await;
    verify(&change[..change.len() - 1]).await.is_problem(400, "invalid-token");
    assert_eq!(verify(&change).await.status, 204);
    tokens.push(change);
    tokens
}

/// What the records of the stream of commits say.
async fn streamed(app: &App) -> Vec<String> {
    let streams = app.engine.streams_client();
    let table = app.raw.describe_table().table_name(&app.tables.events).send().await.unwrap();
    let arn = table.table().unwrap().latest_stream_arn().unwrap().to_owned();
    let described = streams.describe_stream().stream_arn(&arn).send().await.unwrap();
    let mut records = Vec::new();
    for shard in described.stream_description().unwrap().shards() {
        let iterator = streams.get_shard_iterator().stream_arn(&arn).shard_id(shard.shard_id().unwrap());
        let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon);
        let mut iterator = iterator.send().await.unwrap().shard_iterator;
        while let Some(at) = iterator {
            let page = streams.get_records().shard_iterator(at).send().await.unwrap();
            records.extend(page.records().iter().map(|record| lower(format!("{record:?}").as_bytes())));
            iterator = if page.records().is_empty() { None } else { page.next_shard_iterator };
        }
    }
    records
}

/// Has all the log lines there are of this thread written down, as long as the guards are kept.
fn captured() -> (Lines, (tracing::Dispatch, DefaultGuard)) {
    let lines = Lines::default();
    // All there is to be had from this service, the SDK and the HTTP server: more than any deployment logs.
    let subscriber =
        tracing_subscriber::fmt().json().with_max_level(LevelFilter::TRACE).with_writer(lines.clone());
    // With one subscriber in the process, whichever thread comes first to a line decides for all whether it is written;
    // with two, each thread does.
    let second = tracing::Dispatch::new(NoSubscriber::new());
    (lines, (second, tracing::subscriber::set_default(subscriber.finish())))
}

/// Looks for every mark and what makes these tokens good: in the log, the tables, the stream, and answers to others.
async fn nothing_shows(app: &App, log: &str, tokens: &[String], others: &[Answer]) {
    let mut secrets: Vec<String> = [
        EMAIL,
        UNKNOWN,
        MOVED,
        NAME,
        PASSWORD,
        NEW_PASSWORD,
        RESET_PASSWORD,
        WRONG,
        KEY,
        AGENT,
        "markedaddress",
        "markedstranger",
        "markedelsewhere",
    ]
    .map(str::to_owned)
    .to_vec();
    for (id, secret) in [SHOP, GATEWAY] {
        // As it is, in a form, and in a header.
        let basic = STANDARD.encode(format!("{id}:{secret}"));
        secrets.extend([secret.to_owned(), secret.replace(' ', "%20").replace(',', "%2C"), basic]);
    }
    // What makes a token good is its last part; the others are an id, and claims.
    secrets.extend(tokens.iter().map(|token| token.rsplit('.').next().unwrap().to_owned()));
    // The readable part of a refresh token ends with its secret, that of a one-time token with what it is bound to.
    secrets.extend(tokens.iter().filter(|token| !token.starts_with("ey")).map(|token| {
        let readable = token.rsplit('.').nth(1).unwrap();
        readable[readable.len() - 40..].to_owned()
    }));

    let mut stored = streamed(app).await;
    assert!(stored.len() > 5, "the stream was read");
    for table in [&app.tables.events, &app.tables.identifiers, &app.tables.views, &app.tables.sessions] {
        let items = app.items(table).await;
        assert!(!items.is_empty(), "{table}");
        stored.extend(items.iter().flat_map(|item| item.values().map(|value| lower(&octets(value)))));
    }
    let others: Vec<String> = others
        .iter()
        .map(|answer| lower(format!("{:?} {}", answer.headers, answer.text).as_bytes()))
        .collect();
    for secret in secrets.into_iter().map(|secret| lower(secret.as_bytes())) {
        for line in log.lines() {
            assert!(!line.contains(&secret), "{secret}: {line}");
        }
        assert!(!stored.iter().any(|value| value.contains(&secret)), "{secret} is in a table or the stream");
        assert!(!others.iter().any(|answer| answer.contains(&secret)), "{secret} is told to others");
    }
}

/// Everything a user and a few strangers do; the tokens that came of it.
async fn story(app: &App) -> Vec<String> {
    let as_marked = |request: reqwest::RequestBuilder| request.header("User-Agent", AGENT);
    let post = |path: &str, body| as_marked(app.request(Method::POST, path)).json(&body);
    let register = json!({"email": EMAIL, "password": PASSWORD, "name": NAME});
    let login = json!({"email": EMAIL, "password": PASSWORD});
    assert_eq!(
        app.send(post("/register", register.clone()).header("Idempotency-Key", KEY)).await.status,
        201
    );
    assert_eq!(app.send(post("/register", register)).await.status, 409);
    let unacceptable =
        json!({"email": WRONG, "password": WRONG[..11], "name": format!("{NAME}\0"), WRONG: WRONG});
    let refused = app.send(post("/register", unacceptable)).await;
    assert_eq!(refused.status, 422);
    let mut tokens = Vec::new();
    let mut mailed = Vec::new();
    let mut keep = |answer: Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        let pair = (answer.text_of("access_token"), answer.text_of("refresh_token"));
        tokens.extend([pair.0.clone(), pair.1.clone()]);
        pair
    };
    let begun = app.send(post("/login", login.clone())).await;
    mailed.push(begun.text_of("device_token"));
    let (access, refresh) = keep(begun);
    let (other, spent) = keep(app.send(post("/login", login.clone())).await);
    for email in [EMAIL, UNKNOWN] {
        for _ in 0..7 {
            app.send(post("/login", json!({"email": email, "password": WRONG}))).await;
        }
    }
    let refreshed = app.send(post("/token/refresh", json!({"refresh_token": refresh}))).await;
    let (_, last) = keep(refreshed);
    keep(app.send(post("/token/refresh", json!({"refresh_token": spent}))).await);
    app.pass(TimeDelta::minutes(1));
    let reuse = app.send(post("/token/refresh", json!({"refresh_token": spent}))).await;
    reuse.is_problem(400, "invalid-grant");
    app.send(post("/token/refresh", json!({"refresh_token": &last[1..]})))
        .await
        .is_problem(400, "invalid-grant");
    app.get("/me", &other).await.is_problem(401, "bad-token");
    app.get("/me", &format!("{access}x")).await.is_problem(401, "bad-token");
    app.get(&format!("/nowhere/{EMAIL}?password={PASSWORD}&token={access}"), &access)
        .await
        .is_problem(404, "not-found");
    assert_eq!(app.get("/me", &access).await.status, 200);
    assert_eq!(app.patch_me(&access, json!({"name": format!("{NAME} again")})).await.status, 200);
    assert_eq!(app.patch_me(&access, json!({"name": format!("{NAME}\0")})).await.status, 422);
    // Past the back-off of the guesses, and by a new sign-in: the old one is no longer fresh.
    app.pass(TimeDelta::minutes(15));
    let (access, _) = keep(app.send(post("/login", login)).await);
    let change = |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        app.send(post("/me/password", body).bearer_auth(&access))
    };
    change(WRONG, NEW_PASSWORD).await.is_problem(422, "invalid");
    change(PASSWORD, &NEW_PASSWORD[..11]).await.is_problem(422, "invalid");
    assert_eq!(change(PASSWORD, NEW_PASSWORD).await.status, 204);
    let owner = app.owner(EMAIL).await.unwrap();
    let moving = post("/me/email", json!({ "email": MOVED })).bearer_auth(&access);
    assert_eq!(app.send(moving).await.status, 202);
    for email in [EMAIL, UNKNOWN] {
        assert_eq!(app.send(post("/email/verify/resend", json!({ "email": email }))).await.status, 202);
    }
    for purpose in [OneTimePurpose::EmailVerification, OneTimePurpose::EmailChange] {
        let token = app.mailed_for(&owner, purpose).await;
        assert_eq!(app.send(post("/email/verify", json!({ "token": token }))).await.status, 204);
        app.send(post("/email/verify", json!({ "token": &token[1..] })))
            .await
            .is_problem(400, "invalid-token");
        mailed.push(token);
    }
    tokens.extend(story_of_a_client(app, &mailed[0]).await);
    let listed = app.get("/me/sessions", &access).await;
    assert!(listed.text.contains(AGENT), "its owner is told: {listed:?}");
    assert_eq!(app.delete("/me/sessions", &access).await.status, 204);
    assert_eq!(app.logout(&access).await.status, 204);
    tokens.extend(mailed);
    for email in [MOVED, UNKNOWN].repeat(4) {
        assert_eq!(app.send(post("/password/forgot", json!({"email": email}))).await.status, 202);
    }
    let user = app.owner(MOVED).await.unwrap();
    let token = app.mailed(&user).await;
    let reset = |token: &str, new: &str| {
        app.send(post("/password/reset", json!({"token": token, "new_password": new})))
    };
    reset(&token, &RESET_PASSWORD[..11]).await.is_problem(422, "invalid");
    reset(&token[..token.len() - 1], RESET_PASSWORD).await.is_problem(400, "invalid-token");
    assert_eq!(reset(&token, RESET_PASSWORD).await.status, 204);
    reset(&token, RESET_PASSWORD).await.is_problem(400, "invalid-token");
    tokens.push(token);
    tokens
}

/// One thread, so that whatever runs here writes its lines to this test's subscriber.
#[tokio::test]
async fn marked_secrets_show_in_no_log_line_no_table_and_no_answer_to_others() {
    let (lines, guards) = captured();
    let app = App::start().await;
    let tokens = story(&app).await;
    let user = app.store.find(&domain::Email::parse(MOVED).unwrap()).await.unwrap().unwrap().to_string();
    app.project(&user).await;

    app.register_as("bob@example.com", "another long password").await;
    let bob = app.login_as("bob@example.com", "another long password").await;
    let others = [
        app.get("/me", &bob.text_of("access_token")).await,
        app.login_as(MOVED, "another long password").await,
        app.post("/register", json!({"email": MOVED, "password": "another long password"})).await,
        bob,
    ];
    drop(guards);
    let log = lower(&lines.0.lock().unwrap());
    assert!(log.contains("password changed") && log.contains("password reset"), "the log was captured");
    assert!(log.contains("signed in") && log.contains("not looked at: too early"), "the log was captured");
    assert!(log.contains("an oauth client was refused"), "the log was captured");
    nothing_shows(&app, &log, &tokens, &others).await;
}

#[tokio::test]
async fn marked_secrets_show_nowhere_where_addresses_have_to_be_verified() {
    let (lines, guards) = captured();
    let app = App::requiring_verification().await;
    let tokens = unsaid_story(&app).await;
    let stranger = "another long password";
    let others = [
        app.login_as(MOVED, stranger).await,
        app.post("/register", json!({"email": MOVED, "password": stranger})).await,
        app.post("/email/verify/resend", json!({"email": MOVED})).await,
    ];
    assert_eq!(others.each_ref().map(|answer| answer.status.as_u16()), [401, 202, 202]);
    drop(guards);
    let log = lower(&lines.0.lock().unwrap());
    for line in ["asked to be registered", "asked for a verification too often", "an address was verified"] {
        assert!(log.contains(line), "the log was captured");
    }
    nothing_shows(&app, &log, &tokens, &others).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_repeats_what_was_sent() {
    let app = App::start().await;
    for (path, body) in [
        (
            "/register",
            json!({"email": WRONG, "password": &PASSWORD[..11], "name": format!("{NAME}\0"), "x": WRONG}),
        ),
        ("/login", json!({"email": WRONG, "password": PASSWORD, "x": WRONG})),
        ("/login", json!({"email": UNKNOWN, "password": PASSWORD})),
        ("/token/refresh", json!({"refresh_token": WRONG})),
        ("/password/forgot", json!({"email": WRONG})),
        ("/email/verify/resend", json!({"email": WRONG})),
        ("/email/verify", json!({"token": WRONG})),
        ("/password/reset", json!({"token": WRONG, "new_password": PASSWORD})),
        ("/password/reset", json!({"token": WRONG, "new_password": &PASSWORD[..11]})),
    ] {
        let answer = app.post(path, body).await;
        assert!(answer.status.is_client_error());
        assert!(!answer.text.contains("marked"), "{answer:?}");
    }
}
