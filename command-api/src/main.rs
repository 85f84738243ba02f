//! The function behind API Gateway.

#[cfg(test)]
mod anything;
mod gateway;

use std::process::ExitCode;
use std::sync::Arc;

use command_api::{Config, router};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use telemetry::{Metrics, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::function(serve()).await
}

async fn serve() -> Result<(), Error> {
    let settings = Settings::default();
    let config = Config::read(|name| settings.get(name))?;
    settings.all_known()?;
    let router = router(Arc::new(config.start().await?));
    let metrics = Metrics::of(lambda_runtime::Config::from_env().function_name);
    run(service_fn(|event: LambdaEvent<_>| {
        let router = router.clone();
        metrics.of_invocation(gateway::answer(router, event.payload, event.context.request_id))
    }))
    .await
}
