//! The names of the four tables, and their creation where no deployment does it.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, Projection, SseSpecification,
    StreamSpecification, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use serde::Deserialize;

/// The only definition of the tables: the template that deployment uses.
const TEMPLATE: &str = include_str!("../../infra/tables.json");

/// How long a new table may take to become active.
const ACTIVE_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks at a table that is not active yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The names of the four tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// The log: commits and vaults.
    pub events: String,
    /// Which user an address belongs to.
    pub identifiers: String,
    /// The read model.
    pub views: String,
    /// Sessions and the counts of guesses.
    pub sessions: String,
}

/// The setting that names the events table.
pub const EVENTS: &str = "ANNALS_EVENTS_TABLE";
/// The setting that names the identifiers table.
pub const IDENTIFIERS: &str = "ANNALS_IDENTIFIERS_TABLE";
/// The setting that names the views table.
pub const VIEWS: &str = "ANNALS_VIEWS_TABLE";
/// The setting that names the sessions table.
pub const SESSIONS: &str = "ANNALS_SESSIONS_TABLE";

/// These settings, which name tables, are missing or empty.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not set: {}", .0.join(", "))]
pub struct MissingTables(pub Vec<&'static str>);

/// Why the tables cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateTablesError {
    /// The template, which is compiled in, does not define the tables as expected.
    #[error("the table definitions are malformed")]
    Template(#[source] serde_json::Error),
    /// A definition in the template lacks something.
    #[error("the definition of table {0} is incomplete")]
    Incomplete(String, #[source] BuildError),
    /// The engine refused a request or did not answer it.
    #[error("cannot create table {0}")]
    Request(String, #[source] Box<aws_sdk_dynamodb::Error>),
    /// The table was created, but could not be used within a minute.
    #[error("table {0} did not become active")]
    NotActive(String),
}

impl Tables {
    /// Tables named `PREFIX-events` and so on.
    pub fn prefixed(prefix: &str) -> Self {
        Self {
            events: format!("{prefix}-events"),
            identifiers: format!("{prefix}-identifiers"),
            views: format!("{prefix}-views"),
            sessions: format!("{prefix}-sessions"),
        }
    }

    /// The tables that these settings name: `ANNALS_EVENTS_TABLE`, `ANNALS_IDENTIFIERS_TABLE`, `ANNALS_VIEWS_TABLE`
    /// and `ANNALS_SESSIONS_TABLE`, each read through `setting`.
    pub fn from_settings(setting: impl Fn(&str) -> Option<String>) -> Result<Self, MissingTables> {
        let [events, identifiers, views, sessions] = named([EVENTS, IDENTIFIERS, VIEWS, SESSIONS], setting)?;
        Ok(Self { events, identifiers, views, sessions })
    }

    /// Creates those tables that do not exist, and returns when all four can be used. Backups are left to deployment.
    ///
    /// Harmless if run again, or by two at once.
    pub async fn create(&self, client: &Client) -> Result<(), CreateTablesError> {
        let Template { resources } = serde_json::from_str(TEMPLATE).map_err(CreateTablesError::Template)?;
        // The requests' futures are large; boxed, they do not burden every caller's.
        futures::future::try_join4(
            Box::pin(resources.events.properties.create(client, &self.events)),
            Box::pin(resources.identifiers.properties.create(client, &self.identifiers)),
            Box::pin(resources.views.properties.create(client, &self.views)),
            Box::pin(resources.sessions.properties.create(client, &self.sessions)),
        )
        .await?;
        Ok(())
    }
}

/// The names of some of the tables, each by its setting, read through `setting`: for what needs not all of them.
pub fn named<const N: usize>(
    settings: [&'static str; N],
    setting: impl Fn(&str) -> Option<String>,
) -> Result<[String; N], MissingTables> {
    let mut missing = Vec::new();
    let names = settings.map(|key| {
        setting(key).filter(|name| !name.is_empty()).unwrap_or_else(|| {
            missing.push(key);
            String::new()
        })
    });
    if missing.is_empty() { Ok(names) } else { Err(MissingTables(missing)) }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Template {
    resources: Resources,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resources {
    events: Resource,
    identifiers: Resource,
    views: Resource,
    sessions: Resource,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resource {
    properties: Definition,
}

/// Those properties of `AWS::DynamoDB::Table` that creating a table needs.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    billing_mode: String,
    #[serde(rename = "SSESpecification")]
    encryption: Encryption,
    attribute_definitions: Vec<Attribute>,
    key_schema: Vec<Key>,
    #[serde(default)]
    global_secondary_indexes: Vec<Index>,
    stream_specification: Option<Stream>,
    time_to_live_specification: Option<TimeToLive>,
    #[serde(default)]
    deletion_protection_enabled: bool,
}

#[derive(Deserialize)]
struct Encryption {
    #[serde(rename = "SSEEnabled")]
    enabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    attribute_name: String,
    attribute_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Key {
    attribute_name: String,
    key_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Index {
    #[serde(rename = "IndexName")]
    name: String,
    key_schema: Vec<Key>,
    projection: Projected,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Projected {
    projection_type: String,
    non_key_attributes: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stream {
    stream_view_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TimeToLive {
    attribute_name: String,
    enabled: bool,
}

impl Definition {
    async fn create(self, client: &Client, name: &str) -> Result<(), CreateTablesError> {
        let incomplete = |error| CreateTablesError::Incomplete(name.to_owned(), error);
        let refused =
            |error: aws_sdk_dynamodb::Error| CreateTablesError::Request(name.to_owned(), Box::new(error));

        let mut request = client
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::from(self.billing_mode.as_str()))
            .sse_specification(SseSpecification::builder().enabled(self.encryption.enabled).build())
            .set_key_schema(Some(key_schema(&self.key_schema).map_err(incomplete)?))
            .deletion_protection_enabled(self.deletion_protection_enabled);
        for attribute in &self.attribute_definitions {
            let attribute = AttributeDefinition::builder()
                .attribute_name(&attribute.attribute_name)
                .attribute_type(attribute.attribute_type.as_str().into())
                .build()
                .map_err(incomplete)?;
            request = request.attribute_definitions(attribute);
        }
        for index in self.global_secondary_indexes {
            let projection = Projection::builder()
                .projection_type(index.projection.projection_type.as_str().into())
                .set_non_key_attributes(index.projection.non_key_attributes)
                .build();
            let index = GlobalSecondaryIndex::builder()
                .index_name(index.name)
                .set_key_schema(Some(key_schema(&index.key_schema).map_err(incomplete)?))
                .projection(projection)
                .build()
                .map_err(incomplete)?;
            request = request.global_secondary_indexes(index);
        }
        if let Some(stream) = self.stream_specification {
            let stream = StreamSpecification::builder()
                .stream_enabled(true)
                .stream_view_type(stream.stream_view_type.as_str().into())
                .build()
                .map_err(incomplete)?;
            request = request.stream_specification(stream);
        }
        match request.send().await {
            Ok(_) => {}
            Err(error)
                if error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) => {}
            Err(error) => return Err(refused(error.into())),
        }

        until_active(client, name).await?;
        if let Some(expiry) = self.time_to_live_specification {
            // Asked first: switching on what is on already is refused, and whoever created the table may have been
            // killed before this step.
            let now = client
                .describe_time_to_live()
                .table_name(name)
                .send()
                .await
                .map_err(|e| refused(e.into()))?;
            let status = now.time_to_live_description().and_then(|now| now.time_to_live_status());
            if !matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
                let expiry = TimeToLiveSpecification::builder()
                    .attribute_name(expiry.attribute_name)
                    .enabled(expiry.enabled)
                    .build()
                    .map_err(incomplete)?;
                client
                    .update_time_to_live()
                    .table_name(name)
                    .time_to_live_specification(expiry)
                    .send()
                    .await
                    .map_err(|e| refused(e.into()))?;
            }
        }
        Ok(())
    }
}

fn key_schema(keys: &[Key]) -> Result<Vec<KeySchemaElement>, BuildError> {
    keys.iter()
        .map(|key| {
            KeySchemaElement::builder()
                .attribute_name(&key.attribute_name)
                .key_type(key.key_type.as_str().into())
                .build()
        })
        .collect()
}

async fn until_active(client: &Client, name: &str) -> Result<(), CreateTablesError> {
    let active =
        async {
            loop {
                let table =
                    client.describe_table().table_name(name).send().await.map_err(|error| {
                        CreateTablesError::Request(name.to_owned(), Box::new(error.into()))
                    })?;
                if table.table().and_then(|table| table.table_status()) == Some(&TableStatus::Active) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
    tokio::time::timeout(ACTIVE_WITHIN, active)
        .await
        .unwrap_or_else(|_| Err(CreateTablesError::NotActive(name.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::{MissingTables, Tables, Template};

    #[test]
    fn every_missing_or_empty_table_name_is_named() {
        let given = |key: &str| match key {
            "ANNALS_EVENTS_TABLE" => Some("log".to_owned()),
            "ANNALS_VIEWS_TABLE" => Some(String::new()),
            _ => None,
        };
        assert_eq!(
            Tables::from_settings(given),
            Err(MissingTables(vec![
                "ANNALS_IDENTIFIERS_TABLE",
                "ANNALS_VIEWS_TABLE",
                "ANNALS_SESSIONS_TABLE"
            ]))
        );
        assert_eq!(
            Tables::from_settings(|key| Some(key.to_lowercase())).map(|tables| tables.sessions),
            Ok("annals_sessions_table".to_owned())
        );
    }

    #[test]
    fn only_the_truth_is_protected_from_deletion() {
        let Template { resources } = serde_json::from_str(super::TEMPLATE).unwrap();
        assert!(resources.events.properties.deletion_protection_enabled);
        assert!(resources.identifiers.properties.deletion_protection_enabled);
        assert!(!resources.views.properties.deletion_protection_enabled);
        assert!(!resources.sessions.properties.deletion_protection_enabled);
    }
}
