//! One item of each kind as it was stored on the first day, under fixed keys: today's code must still open them, and
//! must still store the same attributes. What is in `tests/golden/` is never changed; a new form gets a new file.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{CredentialId, Email, SessionId, UserEvent, UserId, VerifiedPassword, Version};
use serde_json::{Value, json};
use storage::keys::ServiceKeys;
use storage::{Counted, Guessed, Lifetimes, Rotation, View};
use uuid::Uuid;

use crate::fixture::{Item, PHC, Person, World, noon, octets, second, text};
use crate::sessions::{next, present};

const KEYS: &str = include_str!("../golden/keys.json");
/// The items of each form with the refresh token that belongs to the stored session. In the second, the rows of sessions
/// have `client`.
const FORMS: [(&str, &str); 2] = [
    (include_str!("../golden/items-1.json"), include_str!("../golden/refresh-token-1.txt")),
    (include_str!("../golden/items-2.json"), include_str!("../golden/refresh-token-2.txt")),
];

fn ada() -> Person {
    Person {
        user: UserId::new(Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_0ada)),
        email: Email::parse("ada@example.com").unwrap(),
        credential: CredentialId::new(Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_0c0d)),
    }
}

fn session() -> SessionId {
    SessionId::new(Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_05e5))
}

fn keys() -> ServiceKeys {
    serde_json::from_str(KEYS).unwrap()
}

/// The story whose traces the golden items are: registered, signed in, refreshed once, guessed at, projected.
async fn story(world: &World) -> String {
    let ada = ada();
    let mut loaded = storage::Loaded::unborn(ada.user).unwrap();
    let registration = crate::fixture::registration(&ada);
    world.store.execute(&mut loaded, &registration).await.unwrap();
    let begun = world.store.sessions.begin(ada.user, session(), Some("browser"), noon()).unwrap();
    world.store.execute(&mut loaded, &crate::fixture::sign_in(&ada, 1, &begun)).await.unwrap();
    let token = next(&world.store.sessions, &begun.token, second(1)).await;
    world.project(&ada).await;
    let nobody = world.store.identifiers.key.email(&Email::parse("nobody@example.com").unwrap());
    for guessed in [Guessed::User(ada.user), Guessed::Unknown(nobody)] {
        world.store.guesses.count(&guessed, 0, noon()).await.unwrap();
    }
    token
}

/// Every item of the four tables, by the table's name in the design.
async fn items(world: &World) -> BTreeMap<&'static str, Vec<Value>> {
    let tables = &world.tables;
    let mut all = BTreeMap::new();
    for (name, table) in [
        ("events", &tables.events),
        ("identifiers", &tables.identifiers),
        ("views", &tables.views),
        ("sessions", &tables.sessions),
    ] {
        let mut items: Vec<Value> = world.all(table).await.iter().map(typed).collect();
        items.sort_by_key(ToString::to_string);
        all.insert(name, items);
    }
    all
}

/// An item as DynamoDB writes it: every value under its type.
fn typed(item: &Item) -> Value {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(digits) => json!({ "N": digits }),
        AttributeValue::B(blob) => json!({ "B": STANDARD.encode(blob) }),
        other => panic!("an attribute of an unexpected type: {other:?}"),
    };
    item.iter()
        .map(|(name, attribute)| (name.clone(), value(attribute)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn untyped(item: &Value) -> Item {
    let value = |value: &Value| match value.as_object().unwrap().iter().next().unwrap() {
        (kind, Value::String(content)) if kind == "S" => text(content),
        (kind, Value::String(content)) if kind == "N" => AttributeValue::N(content.clone()),
        (kind, Value::String(content)) if kind == "B" => octets(STANDARD.decode(content).unwrap()),
        other => panic!("a value of an unexpected type: {other:?}"),
    };
    item.as_object().unwrap().iter().map(|(name, attribute)| (name.clone(), value(attribute))).collect()
}

/// Which kind of item it is, with the names and types of its attributes.
fn shape(table: &str, item: &Value) -> (String, BTreeMap<String, String>) {
    let sort_key = item["item"]["S"].as_str().unwrap_or_default();
    let kind = sort_key.split('-').next().unwrap_or_default();
    let owner =
        if item["user"]["S"].as_str().is_some_and(|user| user.contains('.')) { "unknown" } else { "" };
    let types = item.as_object().unwrap().iter();
    let types =
        types.map(|(name, value)| (name.clone(), value.as_object().unwrap().keys().next().unwrap().clone()));
    (format!("{table} {kind} {owner}"), types.collect())
}

fn shapes<'a>(
    items: impl IntoIterator<Item = (&'a str, &'a Vec<Value>)>,
) -> BTreeMap<String, BTreeMap<String, String>> {
    items.into_iter().flat_map(|(table, items)| items.iter().map(move |item| shape(table, item))).collect()
}

fn golden(items: &str) -> BTreeMap<String, Vec<Value>> {
    serde_json::from_str(items).unwrap()
}

/// A world with the tables as they were then.
async fn then(golden: &BTreeMap<String, Vec<Value>>) -> World {
    let world = World::with(keys(), Lifetimes::default()).await;
    let tables = &world.tables;
    for (name, table) in [
        ("events", &tables.events),
        ("identifiers", &tables.identifiers),
        ("views", &tables.views),
        ("sessions", &tables.sessions),
    ] {
        for item in &golden[name] {
            world.put(table, untyped(item)).await;
        }
    }
    world
}

#[tokio::test]
async fn what_was_stored_in_any_form_is_still_read() {
    for (number, (items, token)) in FORMS.into_iter().enumerate() {
        is_read(&then(&golden(items)).await, token, number > 0).await;
    }
}

async fn is_read(world: &World, token: &str, with_client: bool) {
    let ada = ada();
    assert_eq!(world.store.find(&ada.email).await.unwrap(), Some(ada.user));
    let mut commits = Vec::new();
    world.store.log.history(ada.user, |commit| commits.push(commit.clone())).await.unwrap();
    assert_eq!(commits.len(), 2);
    assert_eq!(commits[0].at, noon());
    assert!(
        matches!(&commits[0].events[0].event, UserEvent::UserRegistered { email, .. } if *email == ada.email)
    );
    assert!(matches!(
        &commits[1].events[0].event,
        UserEvent::UserSignedIn { password: VerifiedPassword { attempt: 1, .. }, .. }
    ));
    let folded = world.fold(&ada).await.unwrap();
    assert_eq!(world.store.views.read(ada.user).await.unwrap(), View::Of(folded));
    let acting = Some((session(), second(2)));
    let (loaded, live) = world.store.load_acting(ada.user, acting).await.unwrap().unwrap();
    assert_eq!(loaded.snapshot().head.version, Version::new(2));
    let vault = loaded.vault().unwrap();
    assert_eq!((vault.credential, world.store.verifier(vault).unwrap().as_str()), (ada.credential, PHC));
    assert_eq!(live.map(|live| live.auth_time.timestamp()), Some(noon().timestamp()));
    let nobody = world.store.identifiers.key.email(&Email::parse("nobody@example.com").unwrap());
    for guessed in [Guessed::User(ada.user), Guessed::Unknown(nobody)] {
        let counted = world.store.guesses.count(&guessed, 0, second(1)).await.unwrap();
        assert_eq!(counted, Counted::Attempt(2));
    }
    let listed = world.store.sessions.alive(ada.user, &[session()], second(2)).await.unwrap();
    assert_eq!(listed[0].agent.as_deref(), with_client.then_some("browser"));
    assert_eq!(listed[0].refreshed, Some(second(1)));
    // The token that was given out then is spent, and the user's log goes on.
    assert!(matches!(present(&world.store.sessions, token.trim(), second(60)).await, Rotation::Next { .. }));
    world.sign_in(&ada, 2).await;
    assert_eq!(world.fold(&ada).await.unwrap().head.version, Version::new(3));
}

#[tokio::test]
async fn what_is_stored_today_has_the_attributes_of_the_last_form() {
    let world = World::with(keys(), Lifetimes::default()).await;
    story(&world).await;
    let (today, then) = (items(&world).await, golden(FORMS[FORMS.len() - 1].0));
    assert_eq!(
        shapes(today.iter().map(|(table, items)| (*table, items))),
        shapes(then.iter().map(|(table, items)| (table.as_str(), items)))
    );
    assert_eq!(
        shapes(then.iter().map(|(table, items)| (table.as_str(), items))).len(),
        7,
        "one of each kind"
    );
    // What follows from keys alone is the same, octet for octet.
    let identifiers =
        |items: &[Value]| items.iter().map(|item| item["identifier"].clone()).collect::<Vec<_>>();
    assert_eq!(identifiers(&today["identifiers"]), identifiers(&then["identifiers"]));
}

#[tokio::test]
#[ignore = "prints items to be put into tests/golden/ when a new form has been added"]
async fn print_the_items_of_a_new_form() {
    let world = World::with(keys(), Lifetimes::default()).await;
    let token = story(&world).await;
    println!("{}\n{token}", serde_json::to_string_pretty(&items(&world).await).unwrap());
}
