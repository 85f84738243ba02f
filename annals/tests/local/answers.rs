//! A wrapper over the HTTP client, for answers that the embedded engine never gives.

use std::sync::Arc;

use aws_sdk_dynamodbstreams::Client;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde_json::Value;

/// Told the operation and what the engine answered; may return a status and a body in its place.
type Answer = dyn Fn(&str, Value) -> Option<(u16, Value)> + Send + Sync;

struct Answers {
    http: SharedHttpConnector,
    answer: Arc<Answer>,
}

/// A client like this one that gets other answers.
pub(crate) fn with_answers(
    client: &Client,
    answer: impl Fn(&str, Value) -> Option<(u16, Value)> + Send + Sync + 'static,
) -> Client {
    let answer: Arc<Answer> = Arc::new(answer);
    let http = aws_smithy_http_client::Builder::new().build_http();
    let wrapped = http_client_fn(move |settings, components| {
        use aws_smithy_runtime_api::client::http::HttpClient as _;
        let settings: &HttpConnectorSettings = settings;
        let http = http.http_connector(settings, components);
        SharedHttpConnector::new(Answers { http, answer: Arc::clone(&answer) })
    });
    Client::from_conf(client.config().to_builder().http_client(wrapped).build())
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answers")
    }
}

impl HttpConnector for Answers {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let operation = request.headers().get("x-amz-target").unwrap().split_once('.').unwrap().1.to_owned();
        let (sent, answer) = (self.http.call(request), Arc::clone(&self.answer));
        HttpConnectorFuture::new(async move {
            let mut response = sent.await?;
            let body = std::mem::replace(response.body_mut(), SdkBody::taken());
            let body = ByteStream::new(body).collect().await.unwrap().into_bytes();
            let other = answer(&operation, serde_json::from_slice(&body).unwrap());
            let body = if let Some((status, body)) = other {
                *response.status_mut() = status.try_into().unwrap();
                // The engine's checksum and length are not those of this body.
                response.headers_mut().remove("x-amz-crc32");
                response.headers_mut().remove("content-length");
                body.to_string().into_bytes()
            } else {
                body.into()
            };
            *response.body_mut() = SdkBody::from(body);
            Ok(response)
        })
    }
}
