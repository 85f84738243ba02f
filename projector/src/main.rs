//! The projector on Lambda, behind the stream of the events table.

use std::convert::Infallible;

use chrono::Utc;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use projector::{Config, handle};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().json().init();
    let config = Config::from_settings(|key| std::env::var(key).ok())
        .inspect_err(|error| tracing::error!(%error, "the projector cannot start"))?;
    let model = config.read_model().await;
    model.warm().await;
    let model = &model;
    run(service_fn(|event: LambdaEvent<_>| async {
        Ok::<_, Infallible>(handle(model, event.payload, Utc::now()).await)
    }))
    .await
}
