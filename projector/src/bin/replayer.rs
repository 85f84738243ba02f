//! The replayer on Lambda: a part of a rebuild, a repair or a verification, as far as its time goes.

use std::process::ExitCode;
use std::time::SystemTime;

use chrono::Utc;
use lambda_runtime::{Diagnostic, Error, LambdaEvent, run, service_fn};
use projector::ReplayerConfig;
use projector::replayer::{Order, OrderError};
use telemetry::Settings;

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::function(serve()).await
}

async fn serve() -> Result<(), Error> {
    let settings = Settings::default();
    let config = ReplayerConfig::from_settings(|name| settings.get(name))?;
    settings.all_known()?;
    let replayer = config.replayer(Utc::now).await?;
    let replayer = &replayer;
    run(service_fn(|event: LambdaEvent<Order>| async move {
        let time = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        replayer.carry_out(&event.payload, Utc::now(), time).await.map_err(|error| failed(&error))
    }))
    .await
}

/// The error of an invocation. The state machine that gave the order tells by its type whether to give it again.
fn failed(error: &OrderError) -> Diagnostic {
    let error_type = match error {
        OrderError::Segment { .. } | OrderError::Run => "Refused",
        OrderError::Replay(_) | OrderError::Checkpoints(_) => "Unfinished",
    };
    let cause = std::error::Error::source(error).map(tracing::field::display);
    tracing::warn!(%error, cause, "an order was not carried out");
    Diagnostic { error_type: error_type.to_owned(), error_message: error.to_string() }
}
