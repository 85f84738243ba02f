//! The function behind API Gateway.

#[cfg(test)]
mod anything;
mod gateway;

use std::process::ExitCode;
use std::sync::Arc;

use command_api::passwords::PasswordHasher;
use command_api::{Clock, Config, Service, router};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use storage::{Lifetimes, Store};

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
    let router = router(Arc::new(service().await?));
    run(service_fn(|event: LambdaEvent<_>| gateway::answer(router.clone(), event.payload))).await
}

async fn service() -> Result<Service, Error> {
    let config = Config::read(|name| std::env::var(name).ok())?;
    let clock = Clock::system();
    let now = {
        let clock = clock.clone();
        move || clock.now()
    };
    let aws = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let keys = config.keys.source(&aws).open(now).await?;
    // One request at a time comes to a function, and so one hash.
    let passwords = PasswordHasher::new(config.argon2, keys.pepper.clone(), 1)?;
    let store = Store::new(&storage::client(&aws), &config.tables, &keys, Lifetimes::default());
    // What the first request would wait for is paid before there is one.
    let (warm, ()) = tokio::join!(passwords.warm(), store.warm());
    warm?;
    Ok(Service::new(store, passwords, &keys, config.issuer, clock)?)
}
