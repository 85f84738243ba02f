//! The function behind API Gateway.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use command_api::{ClientAddress, Clock, Config, Service, router};
use lambda_http::request::RequestContext;
use storage::keys::ServiceKeys;
use storage::{Lifetimes, Store};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let lines = tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false);
    lines.with_writer(std::io::stderr).with_target(false).init();
    match service().await {
        Ok(service) => lambda_http::run(at_the_gateway(router(Arc::new(service)))).await,
        Err(error) => {
            tracing::error!(%error, cause = error.source().map(tracing::field::display), "the function does not start");
            Err(error)
        }
    }
}

async fn service() -> Result<Service, lambda_http::Error> {
    let config = Config::read(|name| std::env::var(name).ok())?;
    let keys = ServiceKeys::open(&config.keys)?;
    // One request at a time comes to a function, and so one hash.
    let passwords = command_api::passwords::PasswordHasher::new(config.argon2, keys.pepper.clone(), 1)?;
    let aws = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let store = Store::new(&storage::client(&aws), &config.tables, &keys, Lifetimes::default());
    // What the first request would wait for is paid before there is one.
    passwords.warm().await?;
    store.warm().await;
    Ok(Service::new(store, passwords, &keys, config.issuer, Clock::system())?)
}

/// Tells the routes the client's address as the gateway saw it.
fn at_the_gateway(router: Router) -> Router {
    router.layer(from_fn(|mut request: Request, next: Next| {
        let context = request.extensions().get::<RequestContext>();
        let address = match context {
            Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.as_deref(),
            _ => None,
        };
        if let Some(address) = address.and_then(|address| address.parse().ok()) {
            request.extensions_mut().insert(ClientAddress(address));
        }
        next.run(request)
    }))
}
