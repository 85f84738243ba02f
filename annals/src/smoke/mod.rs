//! `annals smoke`: one user's way through a deployment, over HTTP and with nothing but its address.

mod http;
mod redact;

use std::process::ExitCode;
use std::time::Duration;

use aws_lc_rs::rand;
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::SmokeArgs;
use http::{Answer, Http, Request};
use redact::Secrets;

/// A token that nobody signed, in the form of one.
const FORGED: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImZvcmdlZCJ9.e30.AAAA";

/// Why there was no smoke test.
#[derive(Debug, thiserror::Error)]
pub enum SmokeError {
    /// The system has no random numbers for an address and a password.
    #[error("no random source")]
    NoRandomness,
    /// The result cannot be written.
    #[error("cannot write the result")]
    Output(#[from] std::io::Error),
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    url: String,
    email: String,
    outcome: Outcome,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// Every answer was as it should be.
    Passed,
    /// The same, but the address has to be verified before anybody signs in with it.
    VerificationRequired,
    /// One was not.
    Failed,
}

/// One request, and what came of it.
#[derive(Debug, Serialize)]
struct Step {
    #[serde(rename = "step")]
    name: &'static str,
    request: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    milliseconds: f64,
    /// What was wrong, and what was answered, without anything secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    wrong: Option<String>,
}

/// A step was not as it should be, and there is no going on.
struct Wrong;

/// Goes through a deployment as a user would; exit code 1 if any answer is not as it should be.
pub(crate) async fn smoke(args: &SmokeArgs) -> Result<ExitCode, SmokeError> {
    let mut walk = Walk::begin(args)?;
    let outcome = walk.go(args).await.unwrap_or(Outcome::Failed);
    let report = Report { url: args.url.clone(), email: walk.email, outcome, steps: walk.steps };
    let text = if args.report.json {
        serde_json::to_string(&report).map_err(std::io::Error::from)?
    } else {
        report.in_words()
    };
    std::io::Write::write_fmt(&mut std::io::stdout().lock(), format_args!("{text}\n"))?;
    Ok(if outcome == Outcome::Failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The way of one user.
struct Walk {
    http: Http,
    email: String,
    password: Zeroizing<String>,
    secrets: Secrets,
    steps: Vec<Step>,
}

impl Walk {
    fn begin(args: &SmokeArgs) -> Result<Self, SmokeError> {
        let email = match &args.email {
            Some(email) => email.clone(),
            None => format!("smoke-{}@example.com", random()?.as_str()),
        };
        let password = match &args.password {
            Some(password) => Zeroizing::new(password.clone()),
            None => random()?,
        };
        let mut secrets = Secrets::default();
        secrets.add(&password);
        let http = Http::new(&args.url, Duration::from_secs(args.timeout));
        Ok(Self { http, email, password, secrets, steps: Vec::new() })
    }

    async fn go(&mut self, args: &SmokeArgs) -> Result<Outcome, Wrong> {
        self.step("health", get("/health", None), &[200]).await?;
        self.step("without a token", get("/me", None), &[401]).await?;
        // Whoever stands before the service can only say 403.
        self.step("with a forged token", get("/me", Some(FORGED)), &[401, 403]).await?;

        let credentials = json!({"email": self.email, "password": self.password.as_str()});
        if args.password.is_none() {
            let registered = self.step("register", post("/register", &credentials), &[201, 202]).await?;
            if registered.status == 202 {
                self.step("sign in, not verified", post("/login", &credentials), &[401]).await?;
                return Ok(Outcome::VerificationRequired);
            }
        }
        let signed_in = self.step("sign in", post("/login", &credentials), &[200]).await?;
        let access = self.secret(&signed_in, "access_token")?;
        let refresh = self.secret(&signed_in, "refresh_token")?;
        let user = self.text(&signed_in, "user_id")?;
        let session = self.text(&signed_in, "session_id")?;
        let version = self.expect(signed_in.json()["version"].as_u64(), &signed_in, "no version")?;

        let path = format!("/me?min_version={version}");
        let me = self.step("read the profile", get(&path, Some(&access)), &[200]).await?;
        let is_own = me.json()["user_id"] == *user
            && me.json()["email"].as_str().is_some_and(|shown| shown.eq_ignore_ascii_case(&self.email));
        self.expect(is_own.then_some(()), &me, "the profile of somebody else")?;

        let presented = json!({ "refresh_token": *refresh });
        let refreshed = self.step("refresh", post("/token/refresh", &presented), &[200]).await?;
        let newer_access = self.secret(&refreshed, "access_token")?;
        let newer_refresh = self.secret(&refreshed, "refresh_token")?;
        self.expect((newer_refresh != refresh).then_some(()), &refreshed, "the same refresh token again")?;

        let listed = self.step("list the sessions", get("/me/sessions", Some(&newer_access)), &[200]).await?;
        let is_current = |listed: &Value| listed["session_id"] == *session && listed["current"] == true;
        let found = listed.json()["sessions"].as_array().is_some_and(|all| all.iter().any(is_current));
        self.expect(found.then_some(()), &listed, "this session is not among them")?;

        let sign_out = Request { method: "POST", path: "/logout", token: Some(&newer_access), body: None };
        self.step("sign out", sign_out, &[204]).await?;
        self.step("the access token is dead", get("/me", Some(&newer_access)), &[401]).await?;
        let presented = json!({ "refresh_token": *newer_refresh });
        self.step("the refresh token, too", post("/token/refresh", &presented), &[400]).await?;
        Ok(Outcome::Passed)
    }

    /// Sends a request and notes what came of it, which should have one of these statuses.
    async fn step(
        &mut self,
        name: &'static str,
        request: Request<'_>,
        expected: &[u16],
    ) -> Result<Answer, Wrong> {
        let (answer, took) = self.http.send(request).await;
        let wrong = match &answer {
            Ok(answer) if expected.contains(&answer.status) => None,
            Ok(answer) => {
                let expected: Vec<_> = expected.iter().map(u16::to_string).collect();
                Some(format!("not {}, but {}", expected.join(" or "), self.secrets.shown(answer)))
            }
            Err(error) => Some(crate::one_line(error)),
        };
        self.steps.push(Step {
            name,
            request: format!("{} {}", request.method, request.path),
            status: answer.as_ref().ok().map(|answer| answer.status),
            milliseconds: (took.as_secs_f64() * 10_000.0).round() / 10.0,
            wrong: wrong.clone(),
        });
        answer.ok().filter(|_| wrong.is_none()).ok_or(Wrong)
    }

    /// What the last step's answer should hold, or that step was not as it should be.
    fn expect<T>(&mut self, found: Option<T>, answer: &Answer, otherwise: &str) -> Result<T, Wrong> {
        found.ok_or_else(|| {
            let shown = self.secrets.shown(answer);
            if let Some(step) = self.steps.last_mut() {
                step.wrong = Some(format!("{otherwise}: {shown}"));
            }
            Wrong
        })
    }

    fn text(&mut self, answer: &Answer, field: &str) -> Result<Zeroizing<String>, Wrong> {
        let found = answer.json()[field].as_str().map(|text| Zeroizing::new(text.to_owned()));
        self.expect(found, answer, &format!("no {field}"))
    }

    fn secret(&mut self, answer: &Answer, field: &str) -> Result<Zeroizing<String>, Wrong> {
        let found = self.text(answer, field)?;
        self.secrets.add(&found);
        Ok(found)
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl Report {
    fn in_words(&self) -> String {
        let mut text = format!("{} as {}", self.url, self.email);
        for Step { name, request, status, milliseconds, wrong } in &self.steps {
            let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            text.push_str(&format!("\n  {name:<24}  {request:<24}  {status:>3}  {milliseconds:>8.1} ms"));
            if let Some(wrong) = wrong {
                text.push_str(&format!("\n    {wrong}"));
            }
        }
        text.push_str(match self.outcome {
            Outcome::Passed => "\npassed",
            Outcome::VerificationRequired => {
                "\npassed as far as it goes: this deployment wants addresses verified before a sign-in. With --email \
                 and --password of a user who is, the rest is tried, too"
            }
            Outcome::Failed => "\nfailed",
        });
        text
    }
}

const fn get<'a>(path: &'a str, token: Option<&'a str>) -> Request<'a> {
    Request { method: "GET", path, token, body: None }
}

const fn post<'a>(path: &'a str, body: &'a Value) -> Request<'a> {
    Request { method: "POST", path, token: None, body: Some(body) }
}

/// 128 random bits in letters and figures.
fn random() -> Result<Zeroizing<String>, SmokeError> {
    let mut octets = Zeroizing::new([0_u8; 16]);
    rand::fill(octets.as_mut_slice()).map_err(|_| SmokeError::NoRandomness)?;
    Ok(Zeroizing::new(octets.iter().map(|octet| format!("{octet:02x}")).collect()))
}
