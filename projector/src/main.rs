//! The projector on Lambda, behind the stream of the events table.

use std::process::ExitCode;

use chrono::Utc;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use projector::{Config, answer};
use telemetry::{Metrics, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::function(serve()).await
}

async fn serve() -> Result<(), Error> {
    let settings = Settings::default();
    let config = Config::from_settings(|name| settings.get(name))?;
    settings.all_known()?;
    let model = config.read_model(Utc::now).await?;
    let metrics = Metrics::of(lambda_runtime::Config::from_env().function_name);
    let (model, metrics) = (&model, &metrics);
    run(service_fn(|event: LambdaEvent<_>| metrics.of_invocation(answer(model, event.payload, Utc::now()))))
        .await
}
