use std::error::Error;
use std::process::ExitCode;

/// The main part of a function: logs in JSON on standard error, also the place of a panic, and, if it ever ends, why.
/// What it says before `serve` is polled is nothing, so settings belong there.
pub async fn function(serve: impl Future<Output = Result<(), Box<dyn Error + Send + Sync>>>) -> ExitCode {
    let lines = tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false);
    lines.with_writer(std::io::stderr).with_target(false).init();
    // Where it was, and not the message, which could hold anything.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(place = panic.location().map(tracing::field::display), "panicked");
    }));
    let Err(error) = serve.await else { return ExitCode::SUCCESS };
    tracing::error!(%error, cause = causes(&*error), "the function does not run");
    ExitCode::FAILURE
}

/// What an error was caused by, all the way down.
fn causes(error: &(dyn Error + 'static)) -> Option<String> {
    let causes: Vec<String> =
        std::iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string).collect();
    if causes.is_empty() { None } else { Some(causes.join(": ")) }
}
