use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;

/// Logs to standard error: lines for a person, JSON for anything else. A panic is a line like any other.
pub(super) fn start() {
    // The engine would warn of every condition that is not met and every table that is there already: what is to be
    // said about its answers, whoever asked says.
    let usual = || EnvFilter::new("info,projector=warn,dynoxide=error");
    let filter = EnvFilter::try_from_env("ANNALS_LOG").unwrap_or_else(|_| usual());
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::io::stderr().is_terminal() {
        lines.compact().init();
    } else {
        lines.json().flatten_event(true).with_span_list(false).init();
    }
    std::panic::set_hook(Box::new(panicked));
}

/// Says where it was, and not the message, which could hold anything.
fn panicked(panic: &PanicHookInfo<'_>) {
    tracing::error!(place = panic.location().map(tracing::field::display), "panicked");
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::panicked;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn of_a_panic_the_place_is_logged_and_not_the_message() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(panicked));
        let caught = tracing::subscriber::with_default(subscriber, || {
            std::panic::catch_unwind(|| panic!("the password is {}", "hunter2"))
        });
        std::panic::set_hook(usual);
        assert!(caught.is_err());
        let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(logged.contains("panicked") && logged.contains(file!()), "{logged}");
        assert!(!logged.contains("password") && !logged.contains("hunter2"), "{logged}");
    }
}
