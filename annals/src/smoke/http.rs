use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;

/// No answer of a deployment is longer.
const LONGEST: usize = 64 * 1024;

/// A client of a deployment: the SDK's own, with its TLS.
#[derive(Debug)]
pub(super) struct Http {
    connector: Connector,
    /// Without a slash at its end.
    url: String,
    within: Duration,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub method: &'static str,
    pub path: &'a str,
    pub token: Option<&'a str>,
    pub body: Option<&'a Value>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    /// As text, whatever it is.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("no connection")]
    Connection(#[source] Box<dyn Error + Send + Sync>),
    #[error("the answer breaks off, or is longer than 64 KiB")]
    Body,
    #[error("no request can be made of this address")]
    Address,
}

impl Http {
    pub(super) fn new(url: &str, within: Duration) -> Self {
        let connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build_with_resolver(Resolver);
        Self { connector, url: url.trim_end_matches('/').to_owned(), within }
    }

    /// Sends a request; what came of it, and how long it took to the end of the answer.
    pub(super) async fn send(&self, request: Request<'_>) -> (Result<Answer, NoAnswer>, Duration) {
        let begun = Instant::now();
        let answer = tokio::time::timeout(self.within, self.answer(request)).await;
        (answer.unwrap_or(Err(NoAnswer::TimedOut(self.within))), begun.elapsed())
    }

    async fn answer(&self, Request { method, path, token, body }: Request<'_>) -> Result<Answer, NoAnswer> {
        let text = body.map(Value::to_string);
        let mut request = HttpRequest::new(text.map_or_else(SdkBody::empty, SdkBody::from));
        request.set_uri(format!("{}{path}", self.url)).map_err(|_| NoAnswer::Address)?;
        request.set_method(method).map_err(|_| NoAnswer::Address)?;
        let headers = request.headers_mut();
        headers.insert("user-agent", concat!("annals-smoke/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            headers.insert("content-type", "application/json");
        }
        if let Some(token) = token {
            headers.insert("authorization", format!("Bearer {token}"));
        }
        let called = self.connector.call(request).await;
        let response = called.map_err(|error| NoAnswer::Connection(error.into()))?;
        let status = response.status().as_u16();
        let read = Limited::new(response.into_body(), LONGEST).collect().await.map_err(|_| NoAnswer::Body)?;
        Ok(Answer { status, body: String::from_utf8_lossy(&read.to_bytes()).into_owned() })
    }
}

/// The system's names; and those below `localhost` are this machine's, whatever the system says. [RFC 6761, section 6.3]
#[derive(Debug, Clone)]
struct Resolver;

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            if name == "localhost" || name.ends_with(".localhost") {
                return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
            }
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}
