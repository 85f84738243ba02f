use std::collections::BTreeMap;

use axum::Json;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{ContentBuilder, Header, Ref, RefOr, Response as Documented, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::Problem;

/// Everything an OAuth request can be refused with, as OAuth has it. [RFC 6749, section 5.2]
///
/// What is no fault of the request is a problem like everywhere else.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OauthProblem {
    /// The form is not encoded as one.
    Encoding,
    /// A parameter stands there twice.
    Duplicate,
    /// This parameter is missing.
    Missing(&'static str),
    /// The client shows who it is in more than one way, or says two ids.
    TwoWays,
    /// The body is too large.
    TooLarge,
    /// The body is no form.
    UnsupportedMediaType,
    /// The client is unknown, or its secret is wrong, or it should have shown one.
    InvalidClient,
    /// The client may not do this.
    UnauthorizedClient,
    /// The token is not good, or its session has ended, or it was issued to another client.
    InvalidGrant,
    /// There is no other grant than the refresh token.
    UnsupportedGrantType,
    /// There are no scopes.
    InvalidScope,
    /// Something that has nothing to do with OAuth.
    Other(Problem),
}

/// Why an OAuth request was refused. [RFC 6749, section 5.2]
#[derive(Serialize, ToSchema)]
pub(crate) struct OauthError {
    /// The kind of error.
    #[schema(example = "invalid_grant")]
    error: &'static str,
    /// The kind of error in words.
    error_description: &'static str,
}

impl OauthProblem {
    const fn parts(&self) -> Option<(StatusCode, &'static str, &'static str)> {
        let bad = StatusCode::BAD_REQUEST;
        Some(match self {
            Self::Encoding => (bad, "invalid_request", "The form is not encoded as one"),
            Self::Duplicate => (bad, "invalid_request", "A parameter stands there more than once"),
            Self::Missing(missing) => (bad, "invalid_request", missing),
            Self::TwoWays => (bad, "invalid_request", "The client shows who it is in more than one way"),
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "The body is larger than 16 KiB")
            }
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "invalid_request",
                "The body must be application/x-www-form-urlencoded",
            ),
            Self::InvalidClient => {
                (StatusCode::UNAUTHORIZED, "invalid_client", "The client is unknown, or its secret is wrong")
            }
            Self::UnauthorizedClient => (bad, "unauthorized_client", "The client may not do this"),
            Self::InvalidGrant => (
                bad,
                "invalid_grant",
                "The token is not good, its session has ended, or it is another client's",
            ),
            Self::UnsupportedGrantType => {
                (bad, "unsupported_grant_type", "There is no other grant than refresh_token")
            }
            Self::InvalidScope => (bad, "invalid_scope", "There are no scopes"),
            Self::Other(_) => return None,
        })
    }
}

impl From<Problem> for OauthProblem {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::BadRefreshToken => Self::InvalidGrant,
            other => Self::Other(other),
        }
    }
}

impl IntoResponse for OauthProblem {
    fn into_response(self) -> Response {
        let Some((status, error, error_description)) = self.parts() else {
            return if let Self::Other(problem) = self { problem } else { Problem::Internal }.into_response();
        };
        let mut response = (status, Json(OauthError { error, error_description })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        response
    }
}

/// How a client shows who it is. Whichever way it tried, a 401 has to say so. [RFC 9110, section 15.5.2]
pub(super) const CHALLENGE: &str = r#"Basic realm="annals", charset="UTF-8""#;

/// What every OAuth route may answer.
pub(crate) struct OauthProblems;

impl IntoResponses for OauthProblems {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        let refused = [
            (400, "`invalid_request`, or what else the request is refused for. [RFC 6749, section 5.2]"),
            (401, "`invalid_client`: the client is unknown, its secret is wrong, or it needs one."),
            (413, "The body is larger than 16 KiB."),
            (415, "The body is not `application/x-www-form-urlencoded`."),
        ];
        let mut responses = super::problem::documented(&[
            (500, "Something went wrong."),
            (503, "Not possible right now. Perhaps it was done."),
        ]);
        responses.extend(refused.map(|(status, description)| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("OauthError"))).build();
            let mut response =
                ResponseBuilder::new().description(description).content("application/json", content);
            if status == 401 {
                response = response.header("WWW-Authenticate", Header::default());
            }
            (status.to_string(), RefOr::T(response.build()))
        }));
        responses
    }
}
