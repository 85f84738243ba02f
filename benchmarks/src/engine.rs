//! The engine of the local stack, prepared as it is there, in a process of its own.

use std::path::Path;
use std::process::Stdio;

use annals::local::engine::LocalEngine;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::Failure;
use crate::counter::Counter;

/// A running engine. It ends with this value.
pub(crate) struct Engine {
    pub(crate) endpoint: String,
    process: Child,
}

impl Engine {
    /// Starts the engine on this folder; the tables of the service are there.
    pub(crate) async fn start(data: &Path) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("engine")
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut endpoint = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut endpoint).await?;
        Ok(Self { endpoint: endpoint.trim().to_owned(), process })
    }

    /// The id of its process.
    pub(crate) fn process(&self) -> Result<u32, Failure> {
        Ok(self.process.id().ok_or("the engine has ended")?)
    }

    /// Ends the engine; its data are closed.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        drop(self.process.stdin.take());
        self.process.wait().await?;
        Ok(())
    }
}

/// What the engine's process does.
pub(crate) async fn serve(data: &Path) -> Result<(), Failure> {
    let engine = LocalEngine::open(data).await?;
    println!("{}", engine.endpoint());
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    engine.stop().await;
    Ok(())
}

/// A client of an engine, whose requests and units are counted. It is the same for both sides, as the SDK makes it
/// without any settings, but for the tokens of transactions (see [`Counter`]).
pub(crate) fn client(endpoint: &str) -> (Client, Counter) {
    let counter = Counter::default();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("benchmark", "benchmark", None, None, "benchmark"))
        .endpoint_url(endpoint)
        .interceptor(counter.clone())
        .build();
    (Client::from_conf(config), counter)
}
