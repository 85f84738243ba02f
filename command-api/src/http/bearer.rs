use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::Problem;
use crate::service::Service;
use crate::tokens::Verified;

/// Who sends the request, by their access token. Whether the session is alive is for the route to see, in the
/// request it makes anyway. [RFC 6750, section 2.1]
pub(crate) struct Bearer(pub Verified);

impl<S> FromRequestParts<S> for Bearer
where
    S: Send + Sync,
    Arc<Service>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let service = Arc::<Service>::from_ref(state);
        let mut values = parts.headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Err(Problem::NoToken) };
        if values.next().is_some() {
            return Err(Problem::BadToken);
        }
        let (_, token) = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
            .ok_or(Problem::NoToken)?;
        service.tokens.verify(token, service.clock.now()).map(Self).map_err(|reason| {
            tracing::info!(%reason, "an access token was refused");
            Problem::BadToken
        })
    }
}
