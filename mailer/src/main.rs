//! The mailer on Lambda, behind the stream of the events table.

use std::convert::Infallible;
use std::process::ExitCode;

use chrono::Utc;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use mailer::{Config, handle};
use telemetry::{Metrics, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::function(serve()).await
}

async fn serve() -> Result<(), Error> {
    let settings = Settings::default();
    let config = Config::from_settings(|name| settings.get(name))?;
    settings.all_known()?;
    let mailer = config.mailer(Utc::now).await?;
    mailer.warm().await;
    let metrics = Metrics::of(lambda_runtime::Config::from_env().function_name);
    let (mailer, metrics) = (&mailer, &metrics);
    run(service_fn(|event: LambdaEvent<_>| {
        let handled = async { Ok::<_, Infallible>(handle(mailer, event.payload, Utc::now()).await) };
        metrics.of_invocation(handled)
    }))
    .await
}
