//! Marked secrets go through a whole story, and are then looked for where they should not be.

use std::io;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use storage::one_time::OneTimePurpose;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::fmt::MakeWriter;

use crate::app::{Answer, App};

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
    let (access, refresh) = keep(app.send(post("/login", login.clone())).await);
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
    let lines = Lines::default();
    // All there is to be had from this service, the SDK and the HTTP server: more than any deployment logs.
    let subscriber =
        tracing_subscriber::fmt().json().with_max_level(LevelFilter::TRACE).with_writer(lines.clone());
    // With one subscriber in the process, whichever thread comes first to a line decides for all whether it is written;
    // with two, each thread does.
    let _second = tracing::Dispatch::new(NoSubscriber::new());
    let guard = tracing::subscriber::set_default(subscriber.finish());
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
    drop(guard);

    let mut secrets: Vec<&str> = vec![
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
    ];
    // What makes a token good is its last part; the others are an id, and claims.
    secrets.extend(tokens.iter().map(|token| token.rsplit('.').next().unwrap()));
    // The readable part of a refresh token ends with its secret, that of a one-time token with what it is bound to.
    secrets.extend(tokens.iter().filter(|token| !token.starts_with("ey")).map(|token| {
        let readable = token.rsplit('.').nth(1).unwrap();
        &readable[readable.len() - 40..]
    }));

    let log = lower(&lines.0.lock().unwrap());
    assert!(log.contains("password changed") && log.contains("password reset"), "the log was captured");
    assert!(log.contains("signed in") && log.contains("not looked at: too early"), "the log was captured");
    let mut stored = Vec::new();
    for table in [&app.tables.events, &app.tables.identifiers, &app.tables.views, &app.tables.sessions] {
        let items = app.items(table).await;
        assert!(!items.is_empty(), "{table}");
        stored.extend(items.iter().flat_map(|item| item.values().map(|value| lower(&octets(value)))));
    }
    let others = others.map(|answer| lower(format!("{:?} {}", answer.headers, answer.text).as_bytes()));
    for secret in secrets.into_iter().map(|secret| lower(secret.as_bytes())) {
        for line in log.lines() {
            assert!(!line.contains(&secret), "{secret}: {line}");
        }
        assert!(!stored.iter().any(|value| value.contains(&secret)), "{secret} is in a table");
        assert!(!others.iter().any(|answer| answer.contains(&secret)), "{secret} is told to others");
    }
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
