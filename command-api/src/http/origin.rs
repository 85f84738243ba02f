use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use zeroize::Zeroizing;

use super::{ClientAddress, Problem};

/// What the edge proves itself with.
const ORIGIN: HeaderName = HeaderName::from_static("x-annals-origin");
/// The client's address and port, as the edge saw them. [Amazon CloudFront developer guide, "Add CloudFront request headers"]
const VIEWER: HeaderName = HeaderName::from_static("cloudfront-viewer-address");

/// What only the edge before the API knows: a request that does not bring it came past the edge.
#[derive(Clone, PartialEq, Eq)]
pub struct OriginSecret(Zeroizing<String>);

/// Why a text is no such secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 32 to 256 visible ASCII characters")]
pub struct OriginError;

impl OriginSecret {
    /// A secret of 32 to 256 visible ASCII characters.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let is_secret =
            (32..=256).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_graphic());
        if is_secret { Ok(Self(Zeroizing::new(text.to_owned()))) } else { Err(OriginError) }
    }

    /// Whether these headers bring it, once. Takes the same time whatever they bring of its length.
    fn is_brought_by(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(ORIGIN).iter();
        let (first, second) = (values.next(), values.next());
        first.is_some_and(|value| verify_slices_are_equal(value.as_bytes(), self.0.as_bytes()).is_ok())
            && second.is_none()
    }
}

/// Without the secret.
impl fmt::Debug for OriginSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginSecret")
    }
}

/// Refuses what came past the edge. Of what came through it, the client's address is what the edge says: whoever
/// connected to the API was the edge itself.
pub(crate) async fn through_the_edge(
    secret: Arc<OriginSecret>,
    mut request: Request,
    next: Next,
) -> Response {
    if !secret.is_brought_by(request.headers()) {
        return Problem::PastTheEdge.into_response();
    }
    request.headers_mut().remove(ORIGIN);
    let viewer = request.headers().get(VIEWER).and_then(|value| viewer(value.to_str().ok()?));
    request.extensions_mut().remove::<ClientAddress>();
    if let Some(viewer) = viewer {
        request.extensions_mut().insert(ClientAddress(viewer));
    }
    next.run(request).await
}

/// The address of `198.51.100.10:46532`, `2001:db8::1:46532` or `[2001:db8::1]:46532`.
fn viewer(text: &str) -> Option<IpAddr> {
    let (address, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{OriginError, OriginSecret, viewer};

    #[test]
    fn a_secret_is_long_enough_and_never_shown() {
        let secret = "0123456789abcdef0123456789abcdef";
        for text in [
            "",
            &secret[1..],
            &secret.repeat(9),
            "0123456789abcdef 0123456789abcdef",
            "0123456789abcdef0123456789abcdé",
        ] {
            assert_eq!(OriginSecret::parse(text), Err(OriginError), "{text}");
        }
        assert_eq!(format!("{:?}", OriginSecret::parse(secret).unwrap()), "OriginSecret");
    }

    #[test]
    fn the_viewers_address_comes_with_a_port() {
        let shown = |text| viewer(text).map(|address| address.to_string());
        assert_eq!(shown("198.51.100.10:46532").as_deref(), Some("198.51.100.10"));
        assert_eq!(shown("2001:db8::1:46532").as_deref(), Some("2001:db8::1"));
        assert_eq!(shown("[2001:db8::1]:46532").as_deref(), Some("2001:db8::1"));
        for text in [
            "",
            "198.51.100.10",
            "198.51.100.10:",
            "198.51.100.10:99999",
            "nobody:1",
            ":1",
            "198.51.100.10:1, 2.2.2.2:2",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
