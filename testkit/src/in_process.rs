use std::fmt;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The embedded engine without a socket: a request is answered within the call. So time may stand still around it, and
/// two requests in a row have nothing between them.
#[derive(Clone)]
pub struct InProcess(Database);

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl InProcess {
    /// An empty engine in memory.
    pub fn start() -> Self {
        Self(Database::memory().expect("an engine in memory"))
    }

    /// Answers a request: the HTTP status and the JSON of the answer.
    pub fn answer(&self, operation: &str, body: &str) -> (u16, String) {
        self.dispatch(operation, body)
            .map_or_else(|error| (error.status_code(), error.to_json()), |answer| (200, answer))
    }

    /// The stream of a table, from its beginning.
    pub fn stream(&self, table: &str) -> Stream {
        let ask = |operation: &str, body: Value| -> Value {
            let (status, answer) = self.answer(operation, &body.to_string());
            assert_eq!(status, 200, "{answer}");
            serde_json::from_str(&answer).expect("JSON")
        };
        let table = ask("DescribeTable", json!({ "TableName": table }));
        let stream = &table["Table"]["LatestStreamArn"];
        let shards = ask("DescribeStream", json!({ "StreamArn": stream }));
        let shard = &shards["StreamDescription"]["Shards"][0]["ShardId"];
        let from_the_beginning =
            json!({ "StreamArn": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON" });
        let iterator = ask("GetShardIterator", from_the_beginning)["ShardIterator"].clone();
        Stream { engine: self.clone(), iterator }
    }

    fn dispatch(&self, operation: &str, body: &str) -> Result<String, DynoxideError> {
        let Self(engine) = self;
        match operation {
            "CreateTable" => perform(body, |request| engine.create_table(request)),
            "DescribeTable" => perform(body, |request| engine.describe_table(request)),
            "DescribeTimeToLive" => perform(body, |request| engine.describe_time_to_live(request)),
            "UpdateTimeToLive" => perform(body, |request| engine.update_time_to_live(request)),
            "PutItem" => perform(body, |request| engine.put_item(request)),
            "UpdateItem" => perform(body, |request| engine.update_item(request)),
            "DeleteItem" => perform(body, |request| engine.delete_item(request)),
            "TransactWriteItems" => perform(body, |request| engine.transact_write_items(request)),
            "GetItem" => perform(body, |request| engine.get_item(request)),
            "BatchGetItem" => perform(body, |request| engine.batch_get_item(request)),
            "Query" => perform(body, |request| engine.query(request)),
            "Scan" => perform(body, |request| engine.scan(request)),
            "DescribeStream" => perform(body, |request| engine.describe_stream(request)),
            "GetShardIterator" => perform(body, |request| engine.get_shard_iterator(request)),
            "GetRecords" => perform(body, |request| engine.get_records(request)),
            unknown => Err(DynoxideError::ValidationException(format!("{unknown} is not served here"))),
        }
    }
}

/// A table's stream, of which some has been read.
#[derive(Debug)]
pub struct Stream {
    engine: InProcess,
    iterator: Value,
}

impl Stream {
    /// The records that have come since, as DynamoDB gives them.
    pub fn read(&mut self) -> Vec<Value> {
        let request = json!({ "ShardIterator": self.iterator }).to_string();
        let (status, answer) = self.engine.answer("GetRecords", &request);
        assert_eq!(status, 200, "{answer}");
        let mut answer: Value = serde_json::from_str(&answer).expect("JSON");
        self.iterator = answer["NextShardIterator"].take();
        answer["Records"].as_array_mut().map(std::mem::take).unwrap_or_default()
    }
}

fn perform<Q: DeserializeOwned, A: Serialize>(
    body: &str,
    action: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<String, DynoxideError> {
    let unreadable = |error: serde_json::Error| DynoxideError::SerializationException(error.to_string());
    let answer = action(serde_json::from_str(body).map_err(unreadable)?)?;
    serde_json::to_string(&answer).map_err(unreadable)
}

impl HttpClient for InProcess {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = parts(&request).map(|(operation, body)| self.answer(operation, body));
        HttpConnectorFuture::ready(answer.and_then(|(status, body)| response(status, body)))
    }
}

/// The operation and the body of a request to DynamoDB.
pub(crate) fn parts(request: &HttpRequest) -> Result<(&str, &str), ConnectorError> {
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    let body = request.body().bytes().and_then(|octets| std::str::from_utf8(octets).ok());
    let body = body.ok_or_else(|| ConnectorError::user("a request without a JSON body".into()))?;
    Ok((target.rsplit('.').next().unwrap_or_default(), body))
}

/// An answer of DynamoDB.
pub(crate) fn response(status: u16, body: String) -> Result<HttpResponse, ConnectorError> {
    let status = status.try_into().map_err(|error| ConnectorError::other(Box::new(error), None))?;
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    Ok(response)
}
