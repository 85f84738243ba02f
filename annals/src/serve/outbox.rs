//! The mails in the outbox, for whoever runs the server on their own machine: as pages, and as JSON for scripts.

use std::net::SocketAddr;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use mailer::{Kept, Outbox};
use serde::Serialize;

/// Nothing but our own style sheet, and the mail in its frame; no scripts, and no frame around it.
const OF_A_PAGE: &str = "default-src 'none'; style-src 'self'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
                         form-action 'none'";
/// A mail, wherever it is opened: an origin of its own, without scripts, that may open its links elsewhere.
const OF_A_MAIL: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; \
                         frame-ancestors 'self'; base-uri 'none'; form-action 'none'";

#[derive(Clone)]
struct Pages {
    outbox: Outbox,
    /// Where the API is, such as `http://127.0.0.1:3000`.
    api: Arc<str>,
}

/// A mail, for a script.
#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    date: &'a str,
    from: &'a str,
    to: &'a str,
    subject: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "outbox.html")]
struct List<'a> {
    mails: &'a [Kept],
}

#[derive(Template)]
#[template(path = "mail.html")]
struct Mail<'a> {
    mail: &'a Kept,
    command: Option<String>,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Landing {
    command: String,
}

/// What the pages that links point to are for.
#[derive(Clone, Copy)]
enum Landed {
    Verify,
    Reset,
    Confirm,
}

/// The base of links in mails, where nothing else is said: pages that tell what would be there.
pub(super) fn pages(address: SocketAddr) -> String {
    format!("http://{address}/outbox")
}

/// The pages of this outbox, on a server at this address.
pub(super) fn routes(outbox: Outbox, address: SocketAddr) -> Router {
    let pages = Pages { outbox, api: format!("http://{address}").into() };
    let landing = |landed: Landed| get(async move |State(pages): State<Pages>| pages.landing(landed));
    Router::new()
        .route("/outbox", get(list))
        .route("/outbox/style.css", get(style))
        .route("/outbox/verify", landing(Landed::Verify))
        .route("/outbox/reset", landing(Landed::Reset))
        .route("/outbox/confirm", landing(Landed::Confirm))
        .route("/outbox/{id}", get(mail))
        .route("/outbox/{id}/html", get(html))
        .with_state(pages)
}

async fn list(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    match pages.outbox.list() {
        Ok(mails) if wants_json(&headers) => {
            guarded(OF_A_PAGE, Json(mails.iter().map(listed).collect::<Vec<_>>()))
        }
        Ok(mails) => page(&List { mails: &mails }),
        Err(error) => unreadable(&error),
    }
}

async fn mail(State(pages): State<Pages>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match pages.outbox.read(&id) {
        Ok(Some(mail)) if wants_json(&headers) => guarded(OF_A_PAGE, Json(listed(&mail))),
        Ok(Some(mail)) => page(&Mail { mail: &mail, command: pages.command_of(&mail) }),
        Ok(None) => missing(),
        Err(error) => unreadable(&error),
    }
}

async fn html(State(pages): State<Pages>, Path(id): Path<String>) -> Response {
    match pages.outbox.read(&id) {
        Ok(Some(mail)) => guarded(OF_A_MAIL, Html(mail.html)),
        Ok(None) => missing(),
        Err(error) => unreadable(&error),
    }
}

async fn style() -> Response {
    guarded(OF_A_PAGE, ([(CONTENT_TYPE, "text/css")], include_str!("../../templates/outbox.css")))
}

impl Pages {
    fn landing(&self, landed: Landed) -> Response {
        page(&Landing { command: self.command(landed, "TOKEN") })
    }

    /// What to send to use the token in a mail; `None` if it has none, or points to a page that nobody here knows.
    fn command_of(&self, mail: &Kept) -> Option<String> {
        let (page, token) = mail.link.as_deref()?.split_once("#token=")?;
        let landed = match page.rsplit('/').next()? {
            "verify" => Landed::Verify,
            "reset" => Landed::Reset,
            "confirm" => Landed::Confirm,
            _ => return None,
        };
        Some(self.command(landed, token))
    }

    fn command(&self, landed: Landed, token: &str) -> String {
        let (path, more) = match landed {
            Landed::Verify | Landed::Confirm => ("/email/verify", ""),
            Landed::Reset => ("/password/reset", ",\"new_password\":\"A NEW PASSWORD\""),
        };
        format!(
            "curl -s {}{path} -H 'Content-Type: application/json' -d '{{\"token\":\"{token}\"{more}}}'",
            self.api
        )
    }
}

fn listed(mail: &Kept) -> Listed<'_> {
    Listed {
        id: &mail.id,
        date: &mail.date,
        from: &mail.from,
        to: &mail.to,
        subject: &mail.subject,
        text: &mail.text,
        link: mail.link.as_deref(),
        token: mail.token.as_deref(),
    }
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|accept| accept.as_bytes().starts_with(b"application/json"))
}

fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => guarded(OF_A_PAGE, Html(text)),
        Err(error) => unreadable(&std::io::Error::other(error)),
    }
}

fn guarded(policy: &'static str, answer: impl IntoResponse) -> Response {
    let headers = [
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, answer).into_response()
}

fn missing() -> Response {
    guarded(OF_A_PAGE, (StatusCode::NOT_FOUND, "There is no such mail.\n"))
}

fn unreadable(error: &std::io::Error) -> Response {
    tracing::error!(%error, "the outbox cannot be read");
    guarded(OF_A_PAGE, (StatusCode::INTERNAL_SERVER_ERROR, "The outbox cannot be read.\n"))
}
