//! Items as the SDK gives them, and the requests that every table shares.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, KeysAndAttributes, WriteRequest};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::error::{Broken, Unavailable};
use crate::retry::Backoff;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// The most keys one `BatchGetItem` takes.
const BATCH: usize = 100;
/// The most items one `BatchWriteItem` takes.
const DELETED: usize = 25;
/// Batches of deletions under way at the same time.
const AT_ONCE: usize = 8;

/// Items a page of a scan holds at most: about as many small ones as DynamoDB puts into its own limit of 1 MB. Said in
/// the request because the local engine looks at everything behind the page's start otherwise, page after page.
pub(crate) const PAGE: i32 = 2_000;

pub(crate) fn text<'a>(item: &'a Item, name: &'static str) -> Result<&'a str, Broken> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or(Broken::Attribute(name))
}

pub(crate) fn octets<'a>(item: &'a Item, name: &'static str) -> Result<&'a [u8], Broken> {
    item.get(name).and_then(|value| value.as_b().ok()).map(AsRef::as_ref).ok_or(Broken::Attribute(name))
}

pub(crate) fn number<N: std::str::FromStr>(item: &Item, name: &'static str) -> Result<N, Broken> {
    item.get(name)
        .and_then(|value| value.as_n().ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or(Broken::Attribute(name))
}

pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

#[expect(clippy::needless_pass_by_value, reason = "numbers")]
pub(crate) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) fn b(octets: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(octets))
}

/// Some keys of one table to get in a batch.
pub(crate) struct Wanted<'a> {
    pub table: &'a str,
    pub keys: Vec<Item>,
    pub consistent: bool,
}

/// Gets items of several tables, in as few requests as DynamoDB allows. What it leaves unprocessed is not missing:
/// it is asked for again.
///
/// # Errors
/// [`Unavailable`] when the requests keep failing or some keys stay unprocessed.
pub(crate) async fn batch_get(
    client: &Client,
    wanted: Vec<Wanted<'_>>,
) -> Result<HashMap<String, Vec<Item>>, Unavailable> {
    let mut found: HashMap<String, Vec<Item>> = HashMap::new();
    let mut requests: Vec<HashMap<String, KeysAndAttributes>> = vec![HashMap::new()];
    let mut taken = 0;
    for Wanted { table, keys, consistent } in wanted {
        for key in keys {
            if taken == BATCH {
                requests.push(HashMap::new());
                taken = 0;
            }
            taken += 1;
            let Some(request) = requests.last_mut() else { continue };
            let builder = match request.remove(table) {
                None => KeysAndAttributes::builder().consistent_read(consistent).keys(key),
                Some(started) => KeysAndAttributes::builder()
                    .consistent_read(consistent)
                    .set_keys(Some(started.keys))
                    .keys(key),
            };
            let builder = builder.build().map_err(|error| Unavailable(Box::new(error)))?;
            request.insert(table.to_owned(), builder);
        }
    }
    for mut request in requests.into_iter().filter(|request| !request.is_empty()) {
        let mut backoff = Backoff::new();
        loop {
            let answer = client.batch_get_item().set_request_items(Some(request)).send().await?;
            for (table, items) in answer.responses.unwrap_or_default() {
                found.entry(table).or_default().extend(items);
            }
            request = answer.unprocessed_keys.unwrap_or_default();
            if request.is_empty() {
                break;
            }
            if !backoff.wait().await {
                return Err(Unavailable::because("keys stayed unprocessed"));
            }
        }
    }
    Ok(found)
}

/// Deletes items, in as few requests as DynamoDB allows. What it leaves unprocessed is asked for again.
///
/// # Errors
/// [`Unavailable`] when the requests keep failing or some items stay unprocessed; others may be gone.
pub(crate) async fn batch_delete(
    client: &Client,
    table: &str,
    keys: impl IntoIterator<Item = Item>,
) -> Result<(), Unavailable> {
    let mut requests = Vec::new();
    for key in keys {
        let delete = DeleteRequest::builder().set_key(Some(key)).build();
        let delete = delete.map_err(|error| Unavailable(Box::new(error)))?;
        requests.push(WriteRequest::builder().delete_request(delete).build());
    }
    let batches: Vec<Vec<WriteRequest>> = requests.chunks(DELETED).map(<[_]>::to_vec).collect();
    stream::iter(batches)
        .map(|batch| async move {
            let mut request = HashMap::from([(table.to_owned(), batch)]);
            let mut backoff = Backoff::new();
            loop {
                let answer = client.batch_write_item().set_request_items(Some(request)).send().await?;
                request = answer.unprocessed_items.unwrap_or_default();
                if request.is_empty() {
                    return Ok(());
                }
                if !backoff.wait().await {
                    return Err(Unavailable::because("items stayed unprocessed"));
                }
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}
