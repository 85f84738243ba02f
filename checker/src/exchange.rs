//! Commands as HTTP requests, and what the answers to them say.

use std::net::{IpAddr, Ipv6Addr};

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use command_api::ClientAddress;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::history::{Access, Answer, Command, Device, GUESSABLE, Listed, PAGE, Profile, Shown, Token};
use crate::world::address;

/// Access tokens are good for this long.
const ACCESS_TOKENS_LIVE: TimeDelta = TimeDelta::minutes(15);

fn password(number: usize) -> String {
    if number == GUESSABLE {
        return "passwordpassword".to_owned();
    }
    format!("number {number} of long passwords")
}

/// How a command is sent.
pub(crate) fn http_request(number: usize, agent: &str, command: &Command, secret: &str) -> Request<Body> {
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
pub(crate) async fn read(
    request: usize,
    command: &Command,
    response: Response,
    now: DateTime<Utc>,
) -> Answer {
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
