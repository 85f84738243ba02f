//! The same users as cqrs-es keeps them: the events of our log in its table, and the state of our read model in its
//! views. Nothing is sealed there.

use std::collections::HashMap;
use std::convert::Infallible;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::SerializedEvent;
use cqrs_es::{Aggregate, DomainEvent, EventEnvelope, View};
use domain::{User, UserEvent, UserId, Version};
use dynamo_es::DynamoEventRepository;
use serde::{Deserialize, Serialize};

use crate::Failure;

const EVENTS: &str = "peer-events";
const SNAPSHOTS: &str = "peer-snapshots";
pub(crate) const VIEWS: &str = "peer-views";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PeerEvent(pub(crate) UserEvent);

/// A command of the peer: the event it ends in, since our rules are not what is measured.
pub(crate) struct Record(pub(crate) UserEvent);

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct PeerUser {
    user: User,
    version: u64,
}

/// What is known of an event's making, as our log has it.
pub(crate) struct Made<'a> {
    pub(crate) command: &'static str,
    pub(crate) id: String,
    pub(crate) at: String,
    pub(crate) agent: &'a str,
}

impl DomainEvent for PeerEvent {
    fn event_type(&self) -> String {
        self.0.name().to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Aggregate for PeerUser {
    const TYPE: &'static str = "user";
    type Command = Record;
    type Event = PeerEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        Record(event): Record,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Infallible> {
        sink.write(PeerEvent(event), self).await;
        Ok(())
    }

    fn apply(&mut self, PeerEvent(event): PeerEvent) {
        self.evolve(&event, DateTime::UNIX_EPOCH);
    }
}

impl View<Self> for PeerUser {
    fn update(&mut self, event: &EventEnvelope<Self>) {
        let at = event.metadata.get("at").and_then(|at| DateTime::parse_from_rfc3339(at).ok());
        self.evolve(&event.payload.0, at.unwrap_or_default().to_utc());
    }
}

impl PeerUser {
    fn evolve(&mut self, event: &UserEvent, at: DateTime<Utc>) {
        self.version += 1;
        self.user = std::mem::take(&mut self.user).evolve(event, at, Version::new(self.version));
    }
}

impl Made<'_> {
    pub(crate) fn metadata(self) -> HashMap<String, String> {
        let Self { command, id, at, agent } = self;
        let parts = [("command", command.to_owned()), ("id", id), ("at", at), ("agent", agent.to_owned())];
        parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

pub(crate) fn repository(client: Client) -> DynamoEventRepository {
    DynamoEventRepository::new(client).with_tables(EVENTS, SNAPSHOTS)
}

/// An event as the framework gives it to its repository.
pub(crate) fn serialized(
    user: UserId,
    sequence: usize,
    event: UserEvent,
    made: Made<'_>,
) -> Result<SerializedEvent, Failure> {
    let event = PeerEvent(event);
    Ok(SerializedEvent::new(
        user.to_string(),
        sequence,
        PeerUser::TYPE.to_owned(),
        event.event_type(),
        event.event_version(),
        serde_json::to_value(&event)?,
        serde_json::to_value(made.metadata())?,
    ))
}

/// Creates the tables that dynamo-es asks for, as its `db` folder does.
pub(crate) async fn create_tables(client: &Client) -> Result<(), Failure> {
    for (table, partition, sort) in [
        (EVENTS, "AggregateTypeAndId", Some("AggregateIdSequence")),
        (SNAPSHOTS, "AggregateTypeAndId", None),
        (VIEWS, "ViewId", None),
    ] {
        let mut request = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
        let keys = [Some((partition, KeyType::Hash, ScalarAttributeType::S))];
        let sort = sort.map(|sort| (sort, KeyType::Range, ScalarAttributeType::N));
        for (name, role, kind) in keys.into_iter().chain([sort]).flatten() {
            let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(kind);
            let key = KeySchemaElement::builder().attribute_name(name).key_type(role);
            request = request.attribute_definitions(attribute.build()?).key_schema(key.build()?);
        }
        request.send().await?;
    }
    Ok(())
}
