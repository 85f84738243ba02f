use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use storage::ClientId;
use zeroize::Zeroizing;

use super::form::decoded;
use super::{Form, OauthProblem, Problem};
use crate::clients::{Authenticated, Clients};
use crate::service::Service;

/// What a request says in its header of the client that sends it.
pub(crate) enum Credentials {
    /// Nothing.
    None,
    /// An id and a secret. [RFC 6749, section 2.3.1]
    Basic(Zeroizing<String>, Zeroizing<String>),
    /// Something that no client shows who it is by.
    Others,
}

impl Credentials {
    fn read(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::None,
            (Some(value), None) => value.to_str().ok().and_then(basic).unwrap_or(Self::Others),
            (Some(_), Some(_)) => Self::Others,
        }
    }

    /// The client, by its header or by the parameters `client_id` and `client_secret`, and never by both. Who says nothing
    /// of a client is Annals' own sign-in. [RFC 6749, section 2.3]
    pub(crate) fn authenticate(
        self,
        clients: &Clients,
        form: &mut Form,
    ) -> Result<Authenticated, OauthProblem> {
        let (id, secret) = (form.take("client_id"), form.take("client_secret"));
        let client = match (self, id, secret) {
            (Self::Basic(..), _, Some(_)) => return Err(OauthProblem::TwoWays),
            (Self::Basic(known, _), Some(other), None) if *known != *other => {
                return Err(OauthProblem::TwoWays);
            }
            (Self::Basic(id, secret), _, None) | (Self::None, Some(id), Some(secret)) => {
                clients.authenticate(&id, &secret)
            }
            (Self::None, Some(id), None) => Clients::public(&id),
            (Self::None, None, None) => Clients::public(ClientId::own().as_str()),
            (Self::None, None, Some(_)) => return Err(OauthProblem::Missing("client_id is required")),
            (Self::Others, _, _) => None,
        };
        client.ok_or_else(|| {
            tracing::info!("an OAuth client was refused");
            OauthProblem::InvalidClient
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Credentials {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::read(&parts.headers))
    }
}

/// Reads the value of an `Authorization` of the scheme `Basic`; `None` if it is of another.
fn basic(value: &str) -> Option<Credentials> {
    let (scheme, encoded) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    // Whoever means it as Basic and writes it otherwise is refused as an unknown client is.
    let read = || {
        let pair = Zeroizing::new(STANDARD.decode(encoded.trim_matches(' ')).ok()?);
        let colon = pair.iter().position(|octet| *octet == b':')?;
        let (id, secret) = pair.split_at(colon);
        Some(Credentials::Basic(decoded(id)?, decoded(secret.get(1..)?)?))
    };
    Some(read().unwrap_or_else(|| Credentials::Basic(Zeroizing::default(), Zeroizing::default())))
}

/// The client for which somebody is signed in: one that shows who it is by Basic authentication, or Annals' own sign-in.
pub(crate) struct ForClient(pub ClientId);

impl<S> FromRequestParts<S> for ForClient
where
    S: Send + Sync,
    Arc<Service>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let service = Arc::<Service>::from_ref(state);
        let Credentials::Basic(id, secret) = Credentials::read(&parts.headers) else {
            return Ok(Self(ClientId::own()));
        };
        let client = service.clients.authenticate(&id, &secret).filter(|client| client.may.refresh);
        client.map(|client| Self(client.id)).ok_or_else(|| {
            tracing::info!("a client that signs somebody in was refused");
            Problem::ClientRefused
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{Credentials, STANDARD};
    use base64::Engine as _;

    fn read(values: &[&str]) -> Result<Option<(String, String)>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("authorization", HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        match Credentials::read(&headers) {
            Credentials::None => Ok(None),
            Credentials::Basic(id, secret) => Ok(Some((id.to_string(), secret.to_string()))),
            Credentials::Others => Err("others"),
        }
    }

    #[test]
    fn a_header_is_basic_or_nothing_that_is_taken() {
        let of = |pair: &str| format!("bAsIc {}", STANDARD.encode(pair));
        let some = |id: &str, secret: &str| Ok(Some((id.to_owned(), secret.to_owned())));
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[&of("shop:se:cr%3Aet+")]), some("shop", "se:cr:et "));
        for refused in [of("shop"), of("%zz:x"), "Basic".to_owned(), "Basic *".to_owned(), of("\u{ff}")] {
            assert_eq!(read(&[&refused]), some("", ""), "{refused}");
        }
        for other in ["Bearer x", "", "ä", "Digest x"] {
            assert_eq!(read(&[other]), Err("others"), "{other}");
        }
        assert_eq!(read(&[&of("a:b"), &of("a:b")]), Err("others"), "one of two may be somebody else's");
    }

    proptest! {
        #[test]
        fn an_id_and_a_secret_are_read_as_they_were_written(id in "[!-$&-*,-9;-~]{0,20}", secret in "[!-$&-*,-~]{0,40}") {
            let header = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
            prop_assert_eq!(read(&[&header]), Ok(Some((id, secret))));
        }

        #[test]
        fn whatever_the_header_says_is_read_or_refused(value in "(Basic )?[ -~]{0,40}") {
            if let Ok(Some(_)) = read(&[&value]) {
                prop_assert!(value.to_ascii_lowercase().starts_with("basic"), "{value}");
            }
        }
    }
}
