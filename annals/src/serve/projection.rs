use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use command_api::Clock;
use projector::handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::local::pump::{Idleness, Pump, PumpError, PumpSettings, stream_of};
use crate::place::Place;

/// What is still in the stream when the server is told to stop is projected within this, or after the next start.
const DRAINS_WITHIN: Duration = Duration::from_secs(5);

/// The batches under way have this long to end once the pump is told to stop; they come again after the next start.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// The projector at work on the log's stream.
pub(super) struct Projection {
    running: JoinHandle<()>,
    stop: watch::Sender<bool>,
    idleness: Idleness,
}

impl Projection {
    /// Starts it: the handler that runs on Lambda, behind the pump.
    pub(super) async fn start(place: &Place) -> Result<Self, PumpError> {
        let stream = stream_of(&place.client, &place.tables.events).await?;
        let (model, clock) = (Arc::new(place.read_model()), Clock::system());
        let handler = move |event| {
            let (model, clock) = (Arc::clone(&model), clock.clone());
            async move { Ok::<_, Infallible>(handle(&model, event, clock.now()).await) }
        };
        let (stop, stopped) = watch::channel(false);
        let settings = PumpSettings::default();
        let pump = Pump::new(place.streams.clone(), stream, handler, &place.folder, settings, stopped);
        let idleness = pump.idleness();
        Ok(Self { running: tokio::spawn(pump.run()), stop, idleness })
    }

    /// Lets it catch up with the log, and stops it; within ten seconds in all.
    pub(super) async fn finish(self) {
        if tokio::time::timeout(DRAINS_WITHIN, self.idleness.reached()).await.is_err() {
            tracing::warn!("some of the stream is left for the next start");
        }
        // An error means that the pump has ended already.
        let _ = self.stop.send(true);
        end(self.running, ENDS_WITHIN).await;
    }
}

/// Waits for the end of a pump that has been told to stop, and brings it about if it does not come.
async fn end(mut running: JoinHandle<()>, within: Duration) {
    match tokio::time::timeout(within, &mut running).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => tracing::error!("the stream pump broke"),
        Err(_) => {
            tracing::warn!("the stream pump does not stop: it is broken off");
            running.abort();
            // An error is what was asked for. Nothing of the pump runs after this.
            let _ = running.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::end;

    #[tokio::test]
    async fn a_pump_that_does_not_stop_is_broken_off() {
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(alive);
        });
        let ended = end(running, Duration::from_millis(10));
        tokio::time::timeout(Duration::from_mins(1), ended).await.unwrap();
        assert!(gone.await.is_err(), "what it held is free");
    }

    #[tokio::test]
    async fn a_pump_that_stops_in_time_is_waited_for() {
        let (done, finished) = tokio::sync::oneshot::channel();
        let running = tokio::spawn(async move {
            tokio::task::yield_now().await;
            done.send(()).unwrap();
        });
        end(running, Duration::from_mins(1)).await;
        finished.await.unwrap();
    }
}
