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

    /// Lets it catch up with the log, and stops it.
    pub(super) async fn finish(self) {
        if tokio::time::timeout(DRAINS_WITHIN, self.idleness.reached()).await.is_err() {
            tracing::warn!("some of the stream is left for the next start");
        }
        // An error means that the pump has ended already.
        let _ = self.stop.send(true);
        if self.running.await.is_err() {
            tracing::error!("the stream pump broke");
        }
    }
}
