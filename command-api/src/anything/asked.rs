//! Good requests, and what can be changed about them.

use std::collections::BTreeMap;
use std::fmt;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

/// Stands in every secret place of the requests, and may show in no answer and no log line.
pub(super) const MARK: &str = "marked-by-the-test";
/// The secret of the client that introspects.
pub(super) const SECRET: &str = "as-good-as-random";
pub(super) const PASSWORD: &str = "correct horse battery";
/// What a case puts in here is known only when it runs.
const PLACES: [&str; 6] = ["{access}", "{refresh}", "{email}", "{fresh}", "{device}", "{mailed}"];

/// A request, before its places are filled.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    /// How the gateway passes on a body that is text.
    as_base64: bool,
}

/// Octets as text, which a person can read.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?} {:?} ? {:?}", self.method, self.path, self.query)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", value.escape_ascii())?;
        }
        write!(f, "{}", self.body.escape_ascii())
    }
}

#[derive(Debug, Clone)]
enum Change {
    Method(String),
    Path(String),
    Query(String),
    Header(String, Vec<u8>),
    NoHeader(Index),
    Body(Vec<u8>),
    Insert(Index, Vec<u8>),
    Cut(Index, usize),
    Flip(Index, u8),
    /// The value of one field of a JSON body.
    Field(Index, Value),
    /// One field more.
    Extra(String, Value),
    /// One parameter of a form more, however it is encoded.
    Parameter(String, String),
}

pub(super) fn good(method: &str, path: &str, body: Option<Value>) -> Asked {
    let mut headers = vec![("user-agent".to_owned(), MARK.as_bytes().to_vec())];
    if body.is_some() {
        headers.push(("content-type".to_owned(), b"application/json".to_vec()));
    } else {
        headers.push(("authorization".to_owned(), b"Bearer {access}".to_vec()));
    }
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let (method, path) = (method.to_owned(), path.to_owned());
    Asked { method, path, query: String::new(), headers, body, as_base64: false }
}

/// A request of OAuth's, as the client with this authorization if it shows one.
pub(super) fn good_form(path: &str, form: &str, authorization: Option<&str>) -> Asked {
    let mut asked = good("POST", path, None);
    asked.headers.retain(|(name, _)| name != "authorization");
    asked.headers.push(("content-type".to_owned(), b"application/x-www-form-urlencoded".to_vec()));
    if let Some(authorization) = authorization {
        asked.headers.push(("authorization".to_owned(), authorization.as_bytes().to_vec()));
    }
    Asked { body: form.as_bytes().to_vec(), ..asked }
}

/// Requests that are as they should be, of every kind: those that succeed, and those that are refused for what they ask.
pub(super) fn good_requests() -> Vec<Asked> {
    let register = json!({"email": "{fresh}", "password": format!("{MARK} {PASSWORD}"), "name": "Ada"});
    let taken = json!({"email": "{email}", "password": format!("{MARK} {PASSWORD}")});
    let login = json!({"email": "{email}", "password": PASSWORD});
    let wrong = json!({"email": "{email}", "password": MARK});
    let known = json!({"email": "{email}", "password": PASSWORD, "device_token": "{device}"});
    let unknown = json!({"email": "{email}", "password": PASSWORD, "device_token": MARK});
    let gateway = format!("Basic {}", STANDARD.encode(format!("gateway:{SECRET}")));
    let refresh = "grant_type=refresh_token&refresh_token={refresh}";
    let mut moving = good("POST", "/me/email", Some(json!({ "email": "{fresh}" })));
    moving.headers.push(("authorization".to_owned(), b"Bearer {access}".to_vec()));
    let large = json!({"email": "{email}", "password": "x".repeat(20_000)});
    vec![
        good("POST", "/register", Some(register.clone())),
        good("POST", "/register", Some(register)),
        good("POST", "/register", Some(taken)),
        good("POST", "/login", Some(login.clone())),
        good("POST", "/login", Some(login)),
        good("POST", "/login", Some(wrong)),
        good("POST", "/login", Some(large)),
        good("POST", "/token/refresh", Some(json!({"refresh_token": "{refresh}"}))),
        good("POST", "/token/refresh", Some(json!({ "refresh_token": MARK }))),
        good("POST", "/password/forgot", Some(json!({ "email": "{email}" }))),
        good("POST", "/password/forgot", Some(json!({ "email": "{fresh}" }))),
        good("POST", "/email/verify/resend", Some(json!({ "email": "{email}" }))),
        good("POST", "/email/verify/resend", Some(json!({ "email": "{fresh}" }))),
        good("POST", "/email/verify", Some(json!({ "token": MARK }))),
        good("POST", "/email/verify", Some(json!({ "token": "{mailed}" }))),
        moving.clone(),
        moving,
        good("POST", "/password/reset", Some(json!({"token": MARK, "new_password": PASSWORD}))),
        good("POST", "/login", Some(known)),
        good("POST", "/login", Some(unknown)),
        good_form("/oauth2/token", refresh, None),
        good_form("/oauth2/token", &format!("{refresh}&client_id=annals"), None),
        good_form("/oauth2/revoke", "token={access}&token_type_hint=access_token", None),
        good_form("/oauth2/revoke", &format!("token={MARK}"), Some(&gateway)),
        good_form("/oauth2/introspect", "token={access}", Some(&gateway)),
        good_form(
            "/oauth2/introspect",
            &format!("token={{refresh}}&client_id=gateway&client_secret={SECRET}"),
            None,
        ),
        good_form("/oauth2/introspect", "token={access}", Some(MARK)),
        good("GET", "/me/events", None),
        good("GET", "/me", None),
        good("GET", "/me", None),
        good("HEAD", "/me", None),
        good("POST", "/logout", None),
        good("GET", "/.well-known/jwks.json", None),
        good("GET", "/openapi.json", None),
        good("GET", "/nowhere", None),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,12}",
        "\\PC{0,12}",
        Just(MARK.to_owned()),
        // Another alphabet, combining characters, characters beyond the first plane, and one that turns text around.
        select(vec!["Ἀδα Λαβλεϊς", "أَدا", "e\u{301}\u{301}\u{301}", "🦀🦀🦀🦀🦀🦀🦀🦀", "\u{202e}ada\u{0}"])
            .prop_map(str::to_owned),
        select(PLACES.to_vec()).prop_map(str::to_owned),
        (1..6_000_usize).prop_map(|length| "x".repeat(length)),
    ]
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), text().prop_map(String::into_bytes)]
}

pub(super) fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        // Deeper than any reader follows.
        (1..400_usize).prop_map(|depth| (0..depth.min(100)).fold(json!([]), |inner, _| json!([inner]))),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-z]{1,8}", inner), 0..4)
                .prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn changes() -> impl Strategy<Value = Change> {
    let methods =
        vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "get"];
    let headers = vec![
        "authorization",
        "content-type",
        "content-length",
        "idempotency-key",
        "user-agent",
        "if-match",
        "host",
        "accept",
        "cookie",
        "transfer-encoding",
        "expect",
        "x-forwarded-for",
        "origin",
        "annals-request-id",
    ];
    let header_values = prop_oneof![
        octets(),
        "[Bb]earer {0,2}[{]access[}][ -~]{0,3}".prop_map(String::into_bytes),
        "application/json ?;?[ -~]{0,10}".prop_map(String::into_bytes),
        "application/x-www-form-urlencoded ?;?[ -~]{0,10}".prop_map(String::into_bytes),
        "[Bb]asic {0,2}[A-Za-z0-9+/]{0,40}={0,2}".prop_map(String::into_bytes),
        "[!-~]{1,300}".prop_map(String::into_bytes),
    ];
    prop_oneof![
        select(methods).prop_map(|method| Change::Method(method.to_owned())),
        "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,10}".prop_map(Change::Method),
        prop_oneof![
            "/[ -~]{0,30}",
            "/(me|login|register|logout|token|refresh|oauth2|revoke|events|[.]|%2f|%00|/|;){0,6}",
            "\\PC{0,20}",
            "/[a-z]{4000}"
        ]
        .prop_map(Change::Path),
        prop_oneof![
            "(min_version|=|&|[0-9]|[+%-]|%31){0,8}",
            "[ -~]{0,40}",
            "\\PC{0,20}",
            "min_version=[0-9]{1,22}",
            "(before|limit|=|&|[0-9]|[+%-]){0,8}",
            "(before|limit)=[0-9]{1,22}",
            "[a-z]{9000}"
        ]
        .prop_map(Change::Query),
        (prop_oneof![select(headers).prop_map(str::to_owned), "[a-z-]{1,20}"], header_values)
            .prop_map(|(name, value)| Change::Header(name, value)),
        any::<Index>().prop_map(Change::NoHeader),
        octets().prop_map(Change::Body),
        (any::<Index>(), octets()).prop_map(|(at, octets)| Change::Insert(at, octets)),
        (any::<Index>(), 1..20_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, other)| Change::Flip(at, other)),
        (any::<Index>(), json_value()).prop_map(|(at, value)| Change::Field(at, value)),
        (any::<Index>(), text()).prop_map(|(at, text)| Change::Field(at, Value::from(text))),
        ("[a-z_]{1,80}", json_value()).prop_map(|(name, value)| Change::Extra(name, value)),
        ("(token|client_id|client_secret|grant_type|scope|[a-z%]{0,6})", "[ -~]{0,12}")
            .prop_map(|(name, value)| Change::Parameter(name, value)),
    ]
}

/// Good requests, a fifth of them unchanged.
pub(super) fn requests() -> impl Strategy<Value = Asked> {
    (select(good_requests()), vec(changes(), 0..5), any::<bool>()).prop_map(
        |(mut asked, changes, as_base64)| {
            for change in changes {
                asked.change(change);
            }
            Asked { as_base64, ..asked }
        },
    )
}

impl Asked {
    fn change(&mut self, change: Change) {
        match change {
            Change::Method(method) => self.method = method,
            Change::Path(path) => self.path = path,
            Change::Query(query) => self.query = query,
            Change::Header(name, value) => self.headers.push((name, value)),
            Change::NoHeader(index) if !self.headers.is_empty() => {
                self.headers.remove(index.index(self.headers.len()));
            }
            Change::Body(body) => self.body = body,
            Change::Insert(at, octets) => {
                let at = at.index(self.body.len() + 1);
                self.body.splice(at..at, octets);
            }
            Change::Cut(at, length) => {
                let at = at.index(self.body.len() + 1);
                self.body.drain(at..(at + length).min(self.body.len()));
            }
            Change::Flip(at, other) if !self.body.is_empty() => {
                let at = at.index(self.body.len());
                self.body[at] = other;
            }
            Change::Field(at, value) => self.change_fields(|fields| {
                let names: Vec<String> = fields.keys().cloned().collect();
                if !names.is_empty() {
                    fields.insert(names[at.index(names.len())].clone(), value);
                }
            }),
            Change::Extra(name, value) => self.change_fields(|fields| {
                fields.insert(name, value);
            }),
            Change::Parameter(name, value) => self.body.extend(format!("&{name}={value}").into_bytes()),
            Change::NoHeader(_) | Change::Flip(..) => {}
        }
    }

    fn change_fields(&mut self, change: impl FnOnce(&mut Map<String, Value>)) {
        if let Ok(Value::Object(mut fields)) = serde_json::from_slice(&self.body) {
            change(&mut fields);
            self.body = Value::from(fields).to_string().into_bytes();
        }
    }

    /// As it comes over HTTP; `None` if HTTP does not let it through.
    pub(super) fn request(&self) -> Option<Request<Body>> {
        let target =
            if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) };
        let uri = Uri::try_from(target).ok()?;
        let mut request = Request::builder()
            .method(self.method.as_bytes())
            .uri(uri)
            .body(Body::from(self.body.clone()))
            .ok()?;
        for (name, value) in &self.headers {
            request
                .headers_mut()
                .append(HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
        Some(request)
    }

    /// As API Gateway tells of it.
    pub(super) fn event(&self) -> Value {
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value).into_owned();
            headers
                .entry(name.to_lowercase())
                .and_modify(|all| *all += &format!(",{value}"))
                .or_insert(value);
        }
        let body = match str::from_utf8(&self.body) {
            Ok(text) if !self.as_base64 => (json!(text), false),
            _ => (json!(STANDARD.encode(&self.body)), true),
        };
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": self.path, "rawQueryString": self.query,
            "headers": headers, "body": body.0, "isBase64Encoded": body.1, "cookies": [MARK],
            "requestContext": {"http": {"method": self.method, "path": self.path, "sourceIp": "192.0.2.1"}},
        })
    }

    pub(super) fn filled(&self, values: [&str; 6]) -> Self {
        let fill = |octets: &[u8]| match str::from_utf8(octets) {
            Ok(text) => PLACES
                .iter()
                .zip(values)
                .fold(text.to_owned(), |text, (place, value)| text.replace(place, value))
                .into_bytes(),
            Err(_) => octets.to_vec(),
        };
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), fill(value))).collect();
        Self { headers, body: fill(&self.body), ..self.clone() }
    }
}
