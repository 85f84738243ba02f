use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::dynamodb::Event;
use aws_lambda_events::event::streams::DynamoDbEventResponse;
use command_api::Clock;
use mailer::Mailer;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::local::pump::{Idleness, Pump, PumpError, PumpSettings, stream_of};
use crate::place::Place;

/// What is still in the stream when the server is told to stop is handled within this, or after the next start.
const DRAINS_WITHIN: Duration = Duration::from_secs(5);

/// The batches under way have this long to end once the pumps are told to stop; they come again after the next start.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Those who live on the log's stream: the projector and the mailer, each behind a pump of its own, so that mail that
/// does not get through delays nothing else.
pub(super) struct Consumers {
    projector: Running,
    mailer: Running,
}

impl Consumers {
    /// Starts the handlers that run on Lambda.
    pub(super) async fn start(place: &Place, mailer: Mailer) -> Result<Self, PumpError> {
        let stream = stream_of(&place.client, &place.tables.events).await?;
        let (model, mailer) = (Arc::new(place.read_model()), Arc::new(mailer));
        let (project_at, send_at) = (Clock::system(), Clock::system());
        let project = move |event| {
            let (model, now) = (Arc::clone(&model), project_at.now());
            async move { projector::handle(&model, event, now).await }
        };
        let send = move |event| {
            let (mailer, now) = (Arc::clone(&mailer), send_at.now());
            async move { mailer::handle(&mailer, event, now).await }
        };
        Ok(Self {
            projector: Running::start(place, &stream, project, PumpSettings::default()),
            mailer: Running::start(place, &stream, send, PumpSettings::of_mailer()),
        })
    }

    /// Lets both come to the end of the stream, and stops them; within ten seconds in all.
    pub(super) async fn finish(self) {
        tokio::join!(self.projector.finish(), self.mailer.finish());
    }
}

/// A handler at work on the log's stream.
struct Running {
    pump: JoinHandle<()>,
    stop: watch::Sender<bool>,
    idleness: Idleness,
}

impl Running {
    fn start<H, F>(place: &Place, stream: &str, handler: H, settings: PumpSettings) -> Self
    where
        H: Fn(Event) -> F + Send + Sync + 'static,
        F: Future<Output = DynamoDbEventResponse> + Send + 'static,
    {
        let handler = move |event| {
            let answer = handler(event);
            async move { Ok::<_, Infallible>(answer.await) }
        };
        let (stop, stopped) = watch::channel(false);
        let streams = place.streams.clone();
        let pump = Pump::new(streams, stream.to_owned(), handler, &place.folder, settings, stopped);
        let idleness = pump.idleness();
        Self { pump: tokio::spawn(pump.run()), stop, idleness }
    }

    async fn finish(self) {
        if tokio::time::timeout(DRAINS_WITHIN, self.idleness.reached()).await.is_err() {
            tracing::warn!("some of the stream is left for the next start");
        }
        // An error means that the pump has ended already.
        let _ = self.stop.send(true);
        end(self.pump, ENDS_WITHIN).await;
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
