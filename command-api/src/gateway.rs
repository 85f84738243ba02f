//! From an event of API Gateway (HTTP API, payload format 2.0) to the router, and back.
//!
//! Whatever a client sends through the gateway becomes a request, and the router answers it: nothing in a path, a query
//! or a header makes the invocation fail, which would get the gateway's own answer.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use command_api::{ClientAddress, RequestIds};
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower::ServiceExt as _;

/// Why an event got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    /// It is of something else. What was wrong with it is not said: that could quote it.
    #[error("not an event of an HTTP API, payload format 2.0")]
    NotARequest,
    /// The router's answer has a body without an end.
    #[error("the answer cannot be read")]
    Answer(#[source] axum::Error),
}

/// An event, as far as it is of use. Cookies are not: no route takes any.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    /// Without its percent codes: the gateway has decoded it. Behind the name of the stage, unless that is `$default`.
    raw_path: String,
    /// As the client sent it.
    #[serde(default)]
    raw_query_string: String,
    /// Several headers of one name come as one, with commas between the values.
    #[serde(default)]
    headers: HashMap<String, String>,
    request_context: RequestContext,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    http: Http,
    request_id: Option<String>,
    stage: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Http {
    method: String,
    source_ip: Option<String>,
}

/// An answer for the gateway.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    status_code: u16,
    headers: BTreeMap<String, String>,
    body: String,
    is_base64_encoded: bool,
}

impl From<GatewayError> for Diagnostic {
    fn from(error: GatewayError) -> Self {
        Self { error_type: "GatewayError".to_owned(), error_message: error.to_string() }
    }
}

/// Has the router answer the request that an event tells of.
pub(crate) async fn answer(router: Router, event: Value, invocation: String) -> Result<Answer, GatewayError> {
    let event = Event::deserialize(event).map_err(|_| GatewayError::NotARequest)?;
    let Ok(response) = router.oneshot(request(event, invocation)?).await;
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.map_err(GatewayError::Answer)?;
    let (body, is_base64_encoded) = match String::from_utf8(body.into()) {
        Ok(text) => (text, false),
        Err(octets) => (STANDARD.encode(octets.as_bytes()), true),
    };
    Ok(Answer {
        status_code: parts.status.as_u16(),
        headers: joined(&parts.headers),
        body,
        is_base64_encoded,
    })
}

fn request(event: Event, invocation: String) -> Result<Request<Body>, GatewayError> {
    let RequestContext { http, request_id, stage } = event.request_context;
    let body = match event.body {
        Some(text) if event.is_base64_encoded => {
            Body::from(STANDARD.decode(text).map_err(|_| GatewayError::NotARequest)?)
        }
        Some(text) => Body::from(text),
        None => Body::empty(),
    };
    let mut request = Request::builder()
        .method(http.method.as_bytes())
        .uri(target(within(&event.raw_path, stage.as_deref()), &event.raw_query_string))
        .body(body)
        .map_err(|_| GatewayError::NotARequest)?;
    // What is no header cannot have come over HTTP.
    request.headers_mut().extend(event.headers.iter().filter_map(|(name, value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    }));
    // The gateway saw it. A header would be the client's own word.
    if let Some(address) = http.source_ip.and_then(|address| address.parse().ok()) {
        request.extensions_mut().insert(ClientAddress(address));
    }
    request.extensions_mut().insert(RequestIds { gateway: request_id, lambda: Some(invocation) });
    Ok(request)
}

/// The path within a stage: all of it in the stage `$default`, and without the stage's name in any other. A custom
/// domain's path has no stage's name. [API Gateway developer guide, "Stages for HTTP APIs"]
fn within<'a>(path: &'a str, stage: Option<&str>) -> &'a str {
    let stage = stage.filter(|stage| !matches!(*stage, "" | "$default"));
    let inner = stage.and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage));
    inner.filter(|inner| inner.is_empty() || inner.starts_with('/')).unwrap_or(path)
}

/// Path and query as one. What cannot stand there as it is gets its percent code again, a `?` and `#` of the path too,
/// so that neither ends it early. [RFC 3986, section 3.3]
fn target(path: &str, query: &str) -> String {
    let mut target = String::with_capacity(path.len() + query.len() + 2);
    if !path.starts_with('/') {
        target.push('/');
    }
    escape(path, &mut target);
    if !query.is_empty() {
        target.push('?');
        escape(query, &mut target);
    }
    target
}

fn escape(text: &str, target: &mut String) {
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&octet) {
            target.push(char::from(octet));
        } else {
            // Writing to a string does not fail.
            let _ = write!(target, "%{octet:02X}");
        }
    }
}

/// Headers as the gateway takes them: one value a name. [RFC 9110, section 5.3]
fn joined(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut joined = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        joined
            .entry(name.as_str().to_owned())
            .and_modify(|values| {
                values.push_str(", ");
                values.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    joined
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::Request;
    use axum::http::header::VARY;
    use axum::response::AppendHeaders;
    use serde_json::{Value, json};

    use super::{answer, target, within};

    fn event(changes: &Value) -> Value {
        let mut event = json!({
            "version": "2.0", "rawPath": "/", "rawQueryString": "", "headers": {},
            "requestContext": {"http": {"method": "GET", "sourceIp": "192.0.2.1"}}, "isBase64Encoded": false,
        });
        for (name, value) in changes.as_object().unwrap() {
            event[name] = value.clone();
        }
        event
    }

    #[test]
    fn whatever_a_path_holds_stays_one_path() {
        assert_eq!(target("/me", ""), "/me");
        assert_eq!(target("/me", "min_version=2&x=%20"), "/me?min_version=2&x=%20");
        assert_eq!(target("/a?b#c d/é", "e f\"?"), "/a%3Fb%23c%20d/%C3%A9?e%20f%22%3F");
        assert_eq!((target("", ""), target("//me", "")), ("/".to_owned(), "//me".to_owned()));
    }

    #[test]
    fn a_stage_is_no_part_of_the_path() {
        for (path, stage, inner) in [
            ("/me", None, "/me"),
            ("/me", Some("$default"), "/me"),
            ("/$default/me", Some("$default"), "/$default/me"),
            ("//me", Some(""), "//me"),
            ("/prod/me", Some("prod"), "/me"),
            ("/prod", Some("prod"), ""),
            ("/prod/", Some("prod"), "/"),
            ("/prod/prod", Some("prod"), "/prod"),
            ("/production/me", Some("prod"), "/production/me"),
            ("/me", Some("prod"), "/me"),
            ("prod/me", Some("prod"), "prod/me"),
        ] {
            assert_eq!(within(path, stage), inner, "{path} in {stage:?}");
        }
    }

    #[tokio::test]
    async fn octets_that_are_no_text_go_in_and_out_as_base64() {
        let echo = Router::new().fallback(async |request: Request| request.into_body());
        let sent = event(&json!({"body": "/wD+", "isBase64Encoded": true}));
        let answer = answer(echo, sent, String::new()).await.unwrap();
        assert_eq!((answer.body.as_str(), answer.is_base64_encoded), ("/wD+", true));
    }

    #[tokio::test]
    async fn headers_of_one_name_are_joined() {
        let twice = Router::new().fallback(async || AppendHeaders([(VARY, "origin"), (VARY, "accept")]));
        assert_eq!(
            answer(twice, event(&json!({})), String::new()).await.unwrap().headers["vary"],
            "origin, accept"
        );
    }
}
