//! The mailer on Lambda, behind the stream of the events table.

use std::convert::Infallible;
use std::process::ExitCode;

use chrono::Utc;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use mailer::{Config, handle};

#[tokio::main]
async fn main() -> ExitCode {
    let lines = tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false);
    lines.with_writer(std::io::stderr).with_target(false).init();
    // Where it was, and not the message, which could hold anything.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(place = panic.location().map(display), "panicked");
    }));
    let Err(error) = serve().await else { return ExitCode::SUCCESS };
    tracing::error!(%error, cause = error.source().map(display), "the function does not run");
    ExitCode::FAILURE
}

async fn serve() -> Result<(), Error> {
    let mailer = Config::from_settings(|key| std::env::var(key).ok())?.mailer(Utc::now).await?;
    mailer.warm().await;
    let mailer = &mailer;
    run(service_fn(|event: LambdaEvent<_>| async {
        Ok::<_, Infallible>(handle(mailer, event.payload, Utc::now()).await)
    }))
    .await
}
