use std::fmt;
use std::pin::pin;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::Fault;
use http_body_util::BodyExt as _;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Invalid, Problem};

/// The largest body that is read, in octets.
pub(super) const MAX: usize = 16 * 1024;
/// What is beyond the limit is taken off the wire up to here, so that the client hears why it was refused; the
/// gateway lets no more through anyway.
const DRAINED: usize = 12 * 1024 * 1024;
/// So much of the name of an unknown field is shown, in characters.
const MAX_NAME: usize = 64;

/// The fields of a JSON object, taken out one by one. Whatever is wrong with any of them is collected, so that one
/// answer names it all.
pub(crate) struct Fields {
    entries: Vec<(String, Value)>,
    invalid: Vec<Invalid>,
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let of_json = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|essence| of_json(request.method(), essence.trim()));
        let body = Zeroizing::new(read(request.into_body()).await?);
        if body.len() > MAX {
            return Err(Problem::TooLarge);
        }
        if !of_json {
            return Err(Problem::UnsupportedMediaType);
        }
        Self::parse(&body)
    }
}

/// Whether this is the content type of a body of fields. A patch is a merge patch [RFC 7396], also under the name of
/// plain JSON.
fn of_json(method: &Method, content_type: &str) -> bool {
    content_type.eq_ignore_ascii_case("application/json")
        || *method == Method::PATCH && content_type.eq_ignore_ascii_case("application/merge-patch+json")
}

/// Takes the body off the wire, whether the route wants it or not: a client that is answered while it is still
/// sending hears nothing but that the connection broke.
pub(super) async fn receive(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match read(body).await {
        Ok(octets) => next.run(Request::from_parts(parts, Body::from(octets))).await,
        Err(problem) => problem.into_response(),
    }
}

/// The octets of a body; of one beyond the limit, only so many that it shows.
pub(super) async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    let mut body = pin!(body);
    let mut octets = Vec::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        // Only the client's own connection can fail here. What came of a body that breaks off is not acted on.
        let data = frame.map_err(|_| Problem::NotJson)?.into_data().unwrap_or_default();
        seen += data.len();
        octets.extend_from_slice(&data[..data.len().min(MAX + 1 - octets.len())]);
        if seen > DRAINED {
            break;
        }
    }
    Ok(octets)
}

impl Fields {
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let Entries(entries) = serde_json::from_slice(body).map_err(|error| {
            if error.is_data() {
                let detail = "must be a JSON object".to_owned();
                Problem::Invalid(vec![Invalid { field: String::new(), detail }])
            } else {
                Problem::NotJson
            }
        })?;
        Ok(Self { entries, invalid: Vec::new() })
    }

    /// A text that must be there.
    pub(crate) fn required<T>(
        &mut self,
        field: &str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let value = self.take(field);
        if value.is_none() {
            self.refuse(field, "is required");
        }
        self.text(field, value?, parse)
    }

    /// A text that may be absent or null.
    pub(crate) fn optional<T>(
        &mut self,
        field: &str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        match self.take(field)? {
            Value::Null => None,
            value => self.text(field, value, parse),
        }
    }

    /// What a merge patch says of a text: `None` to leave it, `Some(None)` to take it away. [RFC 7396]
    #[expect(clippy::option_option, reason = "absent, null and a text are three things in a merge patch")]
    pub(crate) fn patched<T>(
        &mut self,
        field: &str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<Option<T>> {
        match self.take(field)? {
            Value::Null => Some(None),
            value => self.text(field, value, parse).map(Some),
        }
    }

    /// What the fields add up to, if all of them are acceptable and none is left over.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Problem> {
        for (field, _) in std::mem::take(&mut self.entries) {
            // Such names are the client's; no more of them than it takes to recognise them, and each of them once.
            let field: String = field.chars().take(MAX_NAME).collect();
            let known = self.invalid.iter().any(|invalid| invalid.field == field);
            if !known {
                self.refuse(&field, "is not a field of this request");
            }
        }
        match value {
            Some(value) if self.invalid.is_empty() => Ok(value),
            _ => Err(Problem::Invalid(self.invalid)),
        }
    }

    /// Notes something that is not acceptable.
    pub(crate) fn refuse(&mut self, field: &str, detail: impl fmt::Display) {
        self.invalid.push(Invalid { field: field.to_owned(), detail: detail.to_string() });
    }

    fn text<T>(
        &mut self,
        field: &str,
        value: Value,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let Value::String(text) = value else {
            self.refuse(field, "must be a string");
            return None;
        };
        let text = Zeroizing::new(text);
        parse(&text).map_err(|fault| self.refuse(field, fault)).ok()
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        let index = self.entries.iter().position(|(name, _)| name == field)?;
        let (_, value) = self.entries.swap_remove(index);
        if self.entries.iter().any(|(name, _)| name == field) {
            self.refuse(field, "stands there more than once");
            self.entries.retain(|(name, _)| name != field);
        }
        Some(value)
    }
}

/// The members of an object as they come, so that none hides behind another of the same name.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
