use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Holds true from the first SIGINT or SIGTERM on. At the second the process ends, whatever it is doing, with the exit
/// code that a shell gives to one that the signal killed: 130 for SIGINT, 143 for SIGTERM.
pub(super) fn on_signals() -> std::io::Result<watch::Receiver<bool>> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupted.recv() => 130,
                _ = terminated.recv() => 143,
            }
        };
        next().await;
        stop.send_replace(true);
        let code = next().await;
        tracing::warn!("told to stop twice: ending at once");
        std::process::exit(code);
    });
    Ok(stopped)
}

/// Waits until it is told to stop.
pub(super) async fn told(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which says the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
