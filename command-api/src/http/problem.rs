use std::collections::BTreeMap;
use std::error::Error;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use domain::Rejection;
use serde::Serialize;
use storage::{Broken, CountError, ExecuteError, ReadError, Unavailable};
use utoipa::openapi::{
    ContentBuilder, Header, Object, Ref, RefOr, Response as Documented, ResponseBuilder, Type,
};
use utoipa::{IntoResponses, ToSchema};

use super::oauth::CHALLENGE;
use crate::passwords::HashError;

/// Everything a request can be refused with, as `application/problem+json`. [RFC 9457]
///
/// Status codes and words stand here and nowhere else. Causes are logged where they are met and never shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The body is not JSON.
    NotJson,
    /// The body is too large.
    TooLarge,
    /// The body is of another content type.
    UnsupportedMediaType,
    /// Some fields are not acceptable; all of those are named.
    Invalid(Vec<Invalid>),
    /// Somebody has the address.
    AddressTaken,
    /// Address and password do not go together. Whether there is such an address is not said.
    SignInRefused,
    /// Too many failures: no guess is evaluated until this has passed.
    TooEarly(TimeDelta),
    /// Too many mails went to an address that nobody has shown to be theirs: nothing more that calls for one is done until
    /// this has passed.
    TooManyMails(TimeDelta),
    /// The profile is not, or no longer, the one that was to be changed.
    ProfileChanged,
    /// The sign-in of the session is longer ago than what is asked for allows. [RFC 9470]
    SignInTooOld,
    /// Who signs somebody in as a client is none, or its secret is wrong, or it may not.
    ClientRefused,
    /// No access token came with the request.
    NoToken,
    /// The access token is not good, or its session has ended.
    BadToken,
    /// The refresh token is not good, spent, or its session has ended.
    BadRefreshToken,
    /// The token from a mail is not good: forged, for something else, past its end, spent, or void.
    BadOneTimeToken,
    /// There is nothing at this path.
    NotFound,
    /// The path does not take this method.
    MethodNotAllowed,
    /// The request did not come through the edge that stands before the API.
    PastTheEdge,
    /// The request was meant for another host.
    Misdirected,
    /// The database did not answer in time, and perhaps the command was carried out; or too many wait for a password
    /// hash, and nothing was.
    Unavailable,
    /// A defect, or a log that cannot be read.
    Internal,
}

/// A field that is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Invalid {
    /// The name of the field, header or query parameter.
    #[schema(example = "email")]
    pub field: String,
    /// What is wrong with it.
    #[schema(example = "is not an e-mail address")]
    pub detail: String,
}

/// Why a request was refused. [RFC 9457]
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// The kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:annals:problem:invalid")]
    kind: String,
    /// The kind of problem in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// Every field that is not acceptable.
    #[serde(skip_serializing_if = "<[Invalid]>::is_empty")]
    errors: &'a [Invalid],
}

impl Problem {
    const fn parts(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotJson => (StatusCode::BAD_REQUEST, "not-json", "The body is not JSON"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is larger than 16 KiB"),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The body must be application/json",
            ),
            Self::Invalid(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Some fields are not acceptable")
            }
            Self::AddressTaken => (StatusCode::CONFLICT, "address-taken", "The address is taken"),
            Self::SignInRefused => {
                (StatusCode::UNAUTHORIZED, "sign-in-refused", "The address or the password is wrong")
            }
            Self::TooEarly(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "too-early", "Too many failed attempts; wait before the next")
            }
            Self::TooManyMails(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-mails",
                "Too many mails to an address that is not verified; verify it, or wait",
            ),
            Self::ProfileChanged => (
                StatusCode::PRECONDITION_FAILED,
                "profile-changed",
                "The profile is of another version than If-Match says",
            ),
            Self::SignInTooOld => (
                StatusCode::UNAUTHORIZED,
                "insufficient-user-authentication",
                "This needs a sign-in of the last five minutes",
            ),
            Self::ClientRefused => (
                StatusCode::UNAUTHORIZED,
                "client-refused",
                "The client is unknown, its secret is wrong, or it signs nobody in",
            ),
            Self::NoToken => (StatusCode::UNAUTHORIZED, "no-token", "An access token is needed"),
            Self::BadToken => (
                StatusCode::UNAUTHORIZED,
                "bad-token",
                "The access token is not good, or its session has ended",
            ),
            Self::BadRefreshToken => (
                StatusCode::BAD_REQUEST,
                "invalid-grant",
                "The refresh token is not good, or its session has ended",
            ),
            Self::BadOneTimeToken => {
                (StatusCode::BAD_REQUEST, "invalid-token", "The token is not good, or not any more")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Not with this method")
            }
            Self::PastTheEdge => {
                (StatusCode::FORBIDDEN, "not-through-the-edge", "Not at this address of the service")
            }
            Self::Misdirected => {
                (StatusCode::MISDIRECTED_REQUEST, "misdirected", "This server does not answer to that host")
            }
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not possible right now; try again")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong"),
        }
    }

    /// The answer where too many wait for a password hash.
    pub(crate) fn overloaded() -> Self {
        tracing::warn!("too many wait for a password hash");
        Self::Unavailable
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::NoToken | Self::SignInRefused => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::ClientRefused => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            }
            Self::BadToken => {
                let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            Self::SignInTooOld => {
                let challenge = HeaderValue::from_static(
                    r#"Bearer error="insufficient_user_authentication", max_age="300""#,
                );
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            Self::TooEarly(wait) | Self::TooManyMails(wait) => {
                // Whole seconds, rounded up: who waits so long is let in.
                let seconds = (wait.num_milliseconds().max(1) + 999) / 1_000;
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from(1));
            }
            Self::NotJson
            | Self::TooLarge
            | Self::UnsupportedMediaType
            | Self::Invalid(_)
            | Self::AddressTaken
            | Self::ProfileChanged
            | Self::BadRefreshToken
            | Self::BadOneTimeToken
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::PastTheEdge
            | Self::Misdirected
            | Self::Internal => {}
        }
        headers
    }
}

/// The answer of a local server to a request whose `Host` is not its own: a page elsewhere, whose name was made to
/// point here, must not get to speak to it.
pub fn misdirected() -> Response {
    Problem::Misdirected.into_response()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, kind, title) = self.parts();
        let errors = if let Self::Invalid(errors) = &self { errors.as_slice() } else { &[] };
        let body = ProblemBody {
            kind: format!("urn:annals:problem:{kind}"),
            title,
            status: status.as_u16(),
            errors,
        };
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut headers = self.headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (status, headers, json).into_response()
    }
}

/// Logs a cause that is nobody's fault but ours, and answers without it.
pub(crate) fn internal(error: impl Error + 'static) -> Problem {
    tracing::error!(error = %Chain(&error), "a request failed");
    Problem::Internal
}

/// An error with everything it was caused by.
struct Chain<'a>(&'a dyn Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut error = self.0;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        Ok(())
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        tracing::error!(error = %Chain(&error), "the database did not answer");
        Self::Unavailable
    }
}

impl From<Broken> for Problem {
    fn from(error: Broken) -> Self {
        tracing::error!(alarm = "log-unreadable", code = error.code(), "a user's log cannot be read");
        internal(error)
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(error) => error.into(),
            ReadError::Broken(error) => error.into(),
        }
    }
}

impl From<CountError> for Problem {
    fn from(error: CountError) -> Self {
        match error {
            CountError::Unavailable(error) => error.into(),
            CountError::Broken(error) => error.into(),
        }
    }
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        internal(error)
    }
}

impl From<ExecuteError> for Problem {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Taken => Self::AddressTaken,
            ExecuteError::SessionEnded | ExecuteError::Rejected(Rejection::SessionEnded) => Self::BadToken,
            ExecuteError::Unavailable(error) => error.into(),
            ExecuteError::Broken(error) => error.into(),
            ExecuteError::Rejected(Rejection::ProfileChanged) => Self::ProfileChanged,
            // Routes deal with the other refusals they can meet; one that gets here was not foreseen.
            ExecuteError::Rejected(
                rejection @ (Rejection::AlreadyRegistered
                | Rejection::NotRegistered
                | Rejection::CredentialMismatch
                | Rejection::EmailNotVerified
                | Rejection::AddressKept
                | Rejection::PasswordDisabled),
            ) => internal(rejection),
            ExecuteError::TooManyMails(wait) => Self::TooManyMails(wait),
        }
    }
}

impl From<aws_lc_rs::error::Unspecified> for Problem {
    fn from(error: aws_lc_rs::error::Unspecified) -> Self {
        internal(error)
    }
}

/// What every route that takes a body may answer.
pub(crate) struct BodyProblems;
/// What every route that wants a session may answer.
pub(crate) struct SessionProblems;

impl IntoResponses for BodyProblems {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        documented(&[
            (400, "The body is not JSON."),
            (413, "The body is larger than 16 KiB."),
            (415, "The body is not `application/json`."),
            (422, "Some fields are missing, unknown, or not acceptable; all of them are named."),
            (500, "Something went wrong."),
            (503, "Not possible right now. Perhaps it was done."),
        ])
    }
}

impl IntoResponses for SessionProblems {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        documented(&[
            (401, "No access token, one that is not good, or one whose session has ended."),
            (500, "Something went wrong."),
            (503, "Not possible right now. Perhaps it was done."),
        ])
    }
}

pub(super) fn documented(problems: &[(u16, &str)]) -> BTreeMap<String, RefOr<Documented>> {
    problems
        .iter()
        .map(|(status, description)| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            let mut response =
                ResponseBuilder::new().description(*description).content("application/problem+json", content);
            if *status == 401 {
                response = response.header("WWW-Authenticate", Header::default());
            }
            if *status == 503 {
                response = response.header("Retry-After", Header::new(Object::with_type(Type::Integer)));
            }
            (status.to_string(), RefOr::T(response.build()))
        })
        .collect()
}
