use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;

/// The network address of the client, as whoever runs the router knows it; never from a header that the client
/// writes itself. Put into the request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

/// The longest `User-Agent` that is kept, in characters.
const MAX_AGENT: usize = 256;

/// Where a request comes from.
pub(crate) struct Client {
    pub address: Option<String>,
    pub agent: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<ClientAddress>().map(|ClientAddress(ip)| ip.to_string());
        let agent = parts.headers.get(USER_AGENT).map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.chars().filter(|c| !c.is_control()).take(MAX_AGENT).collect()
        });
        Ok(Self { address, agent })
    }
}
