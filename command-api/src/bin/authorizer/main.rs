//! The gateway's authorizer: turns away what is no token of ours before anything else runs.

mod verdict;

use std::process::ExitCode;

use command_api::AuthorizerConfig;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use telemetry::{Metrics, Settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::function(serve()).await
}

async fn serve() -> Result<(), Error> {
    let settings = Settings::default();
    let config = AuthorizerConfig::read(|name| settings.get(name))?;
    settings.all_known()?;
    let (tokens, clock) = config.start().await?;
    let metrics = Metrics::of(lambda_runtime::Config::from_env().function_name);
    let (tokens, clock, metrics) = (&tokens, &clock, &metrics);
    run(service_fn(|event: LambdaEvent<_>| {
        metrics.of_invocation(verdict::verdict(tokens, clock, event.payload, event.context.request_id))
    }))
    .await
}
