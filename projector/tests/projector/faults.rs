use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use testkit::Engine;

/// What goes wrong between a client and its engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    refused: Vec<(&'static str, String)>,
    hits: usize,
    last_batch: Option<Vec<u8>>,
    stale: Option<Vec<u8>>,
}

impl Faults {
    /// A client that these faults befall.
    pub(crate) fn client(&self, engine: &Engine) -> Client {
        Client::from_conf(engine.settings().interceptor(self.clone()).build())
    }

    /// Requests of this operation that mention this text do not get through.
    pub(crate) fn refuse(&self, operation: &'static str, text: &impl ToString) {
        self.0.lock().unwrap().refused.push((operation, text.to_string()));
    }

    /// Whether something has been refused.
    pub(crate) fn was_hit(&self) -> bool {
        self.0.lock().unwrap().hits > 0
    }

    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().refused.clear();
    }

    /// The next `BatchGetItem` is answered as the last one was: an eventually consistent read that is late.
    pub(crate) fn answer_the_next_batch_as_the_last(&self) {
        let mut state = self.0.lock().unwrap();
        state.stale = state.last_batch.clone();
        assert!(state.stale.is_some(), "there was no batch");
    }
}

fn operation(settings: &ConfigBag) -> &str {
    settings.load::<Metadata>().unwrap().name()
}

impl Intercept for Faults {
    fn name(&self) -> &'static str {
        "Faults"
    }

    fn read_before_signing(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = String::from_utf8_lossy(context.request().body().bytes().unwrap()).into_owned();
        let refused = |(name, text): &(&str, String)| *name == operation(settings) && body.contains(text);
        let mut state = self.0.lock().unwrap();
        if state.refused.iter().any(refused) {
            state.hits += 1;
            return Err("the engine cannot be reached".into());
        }
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if operation(settings) == "BatchGetItem"
            && let Some(stale) = self.0.lock().unwrap().stale.take()
        {
            *context.response_mut().body_mut() = stale.into();
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if operation(settings) == "BatchGetItem" {
            let body = context.response().and_then(|response| response.body().bytes());
            self.0.lock().unwrap().last_batch = body.map(<[u8]>::to_vec);
        }
        Ok(())
    }
}
