use std::cell::Cell;

use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::batch_write_item::{BatchWriteItemInput, BatchWriteItemOutput};
use aws_sdk_dynamodb::operation::delete_item::{DeleteItemError, DeleteItemInput, DeleteItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::scan::{ScanInput, ScanOutput};
use aws_sdk_dynamodb::operation::transact_write_items::{
    TransactWriteItemsError, TransactWriteItemsInput, TransactWriteItemsOutput,
};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};
use aws_smithy_types::config_bag::{Storable, StoreReplace};

tokio::task_local! {
    static USAGE: Cell<Usage>;
}

/// What a piece of work asked of DynamoDB, and what that cost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Requests sent, each retry by the SDK included.
    pub requests: u64,
    /// Read capacity units, as DynamoDB counted them.
    pub read_units: f64,
    /// Write capacity units, as DynamoDB counted them; those of refused conditions, of which it says nothing, as its
    /// guide says: one for a write, two for each action of a transaction. Right for items of up to 1 KB.
    pub write_units: f64,
}

/// Does some work, and says what it asked of DynamoDB in its own task, through a client that is [`counted`]. What it
/// leaves to other tasks is not counted; work within work is counted where it is asked for.
pub async fn usage_of<T>(work: impl Future<Output = T>) -> (T, Usage) {
    let counted = async {
        let output = work.await;
        (output, USAGE.with(Cell::get))
    };
    USAGE.scope(Cell::default(), counted).await
}

/// Has the clients made of these settings tell [`usage_of`] what they send. Where nobody asks, nothing is changed.
#[must_use]
pub fn counted(settings: Builder) -> Builder {
    settings.interceptor(Counting)
}

/// Counts in the task that sends: the SDK calls interceptors there.
#[derive(Debug)]
struct Counting;

/// The number of writes that an unmet condition is charged for, kept until the answer is there.
#[derive(Debug)]
struct Refusable(f64);

impl Storable for Refusable {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Counting {
    fn name(&self) -> &'static str {
        "Counting"
    }

    /// Asks for the units. Before the request is made, so that it is signed and sent again as it is.
    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if !is_asked() {
            return Ok(());
        }
        let total = Some(ReturnConsumedCapacity::Total);
        let input = context.input_mut();
        if let Some(input) = input.downcast_mut::<GetItemInput>() {
            input.return_consumed_capacity = total;
        } else if let Some(input) = input.downcast_mut::<BatchGetItemInput>() {
            input.return_consumed_capacity = total;
        } else if let Some(input) = input.downcast_mut::<QueryInput>() {
            input.return_consumed_capacity = total;
        } else if let Some(input) = input.downcast_mut::<ScanInput>() {
            input.return_consumed_capacity = total;
        } else if let Some(input) = input.downcast_mut::<PutItemInput>() {
            input.return_consumed_capacity = total;
            settings.interceptor_state().store_put(Refusable(1.0));
        } else if let Some(input) = input.downcast_mut::<UpdateItemInput>() {
            input.return_consumed_capacity = total;
            settings.interceptor_state().store_put(Refusable(1.0));
        } else if let Some(input) = input.downcast_mut::<DeleteItemInput>() {
            input.return_consumed_capacity = total;
            settings.interceptor_state().store_put(Refusable(1.0));
        } else if let Some(input) = input.downcast_mut::<BatchWriteItemInput>() {
            input.return_consumed_capacity = total;
        } else if let Some(input) = input.downcast_mut::<TransactWriteItemsInput>() {
            input.return_consumed_capacity = total;
            // At most a hundred.
            let actions = u32::try_from(input.transact_items().len()).unwrap_or_default();
            settings.interceptor_state().store_put(Refusable(2.0 * f64::from(actions)));
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        count(|usage| usage.requests += 1);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if !is_asked() {
            return Ok(());
        }
        match context.output_or_error() {
            Some(Ok(output)) => {
                let read = if let Some(output) = output.downcast_ref::<GetItemOutput>() {
                    output.consumed_capacity().map(std::slice::from_ref)
                } else if let Some(output) = output.downcast_ref::<QueryOutput>() {
                    output.consumed_capacity().map(std::slice::from_ref)
                } else if let Some(output) = output.downcast_ref::<ScanOutput>() {
                    output.consumed_capacity().map(std::slice::from_ref)
                } else {
                    output.downcast_ref::<BatchGetItemOutput>().map(BatchGetItemOutput::consumed_capacity)
                };
                let written = if let Some(output) = output.downcast_ref::<PutItemOutput>() {
                    output.consumed_capacity().map(std::slice::from_ref)
                } else if let Some(output) = output.downcast_ref::<UpdateItemOutput>() {
                    output.consumed_capacity().map(std::slice::from_ref)
                } else if let Some(output) = output.downcast_ref::<DeleteItemOutput>() {
                    output.consumed_capacity().map(std::slice::from_ref)
                } else if let Some(output) = output.downcast_ref::<BatchWriteItemOutput>() {
                    Some(output.consumed_capacity())
                } else {
                    output
                        .downcast_ref::<TransactWriteItemsOutput>()
                        .map(TransactWriteItemsOutput::consumed_capacity)
                };
                count(|usage| {
                    read.unwrap_or_default().iter().for_each(|table| usage.read(table));
                    written.unwrap_or_default().iter().for_each(|table| usage.wrote(table));
                });
            }
            Some(Err(error)) => {
                let is_refused = error.as_operation_error().is_some_and(|error| {
                    let put = error.downcast_ref::<PutItemError>();
                    let update = error.downcast_ref::<UpdateItemError>();
                    let delete = error.downcast_ref::<DeleteItemError>();
                    let transaction = error.downcast_ref::<TransactWriteItemsError>();
                    put.is_some_and(PutItemError::is_conditional_check_failed_exception)
                        || update.is_some_and(UpdateItemError::is_conditional_check_failed_exception)
                        || delete.is_some_and(DeleteItemError::is_conditional_check_failed_exception)
                        || transaction.is_some_and(TransactWriteItemsError::is_transaction_canceled_exception)
                });
                if let Some(Refusable(units)) = settings.load::<Refusable>().filter(|_| is_refused) {
                    count(|usage| usage.write_units += units);
                }
            }
            None => {}
        }
        Ok(())
    }
}

impl Usage {
    /// A table's share of what a read took.
    fn read(&mut self, table: &ConsumedCapacity) {
        self.read_units += table.capacity_units.unwrap_or_default();
    }

    /// A table's share of what a write took. Of a transaction it is said which units were which.
    fn wrote(&mut self, table: &ConsumedCapacity) {
        if table.read_capacity_units.is_some() || table.write_capacity_units.is_some() {
            self.read_units += table.read_capacity_units.unwrap_or_default();
            self.write_units += table.write_capacity_units.unwrap_or_default();
        } else {
            self.write_units += table.capacity_units.unwrap_or_default();
        }
    }
}

fn is_asked() -> bool {
    USAGE.try_with(|_| ()).is_ok()
}

fn count(add: impl FnOnce(&mut Usage)) {
    // Nobody asks.
    let _ = USAGE.try_with(|counted| {
        let mut usage = counted.get();
        add(&mut usage);
        counted.set(usage);
    });
}
