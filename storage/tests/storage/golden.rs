//! Items of each kind as they were stored, under fixed keys: today's code must still open them, and what it stores must
//! have the form of the newest. What is in `tests/golden/` is never changed. When a test here asks for it, the code
//! stores a form that is not there yet: print it with `print_the_items_of_a_new_form`, put it into a file of the next
//! number, and add that to `EVER`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use domain::{Command, CredentialId, Email, FOLD, SessionId, UserEvent, UserId, VerifiedPassword, Version};
use serde_json::{Value, json};
use storage::keys::ServiceKeys;
use storage::{
    Broken, Counted, Enclosed, Guessed, Lifetimes, Metadata, Parked, Pretended, Recorded, Rotation, Snapshot,
    View,
};
use uuid::Uuid;

use crate::fixture::{Item, PHC, Person, World, noon, octets, second, text};
use crate::sessions::{next, present};

const KEYS: &str = include_str!("../golden/keys.json");
const RECORDED: &str = include_str!("../golden/recorded.jsonl");

/// What one version of the code stored.
struct Then {
    items: &'static str,
    /// The refresh token that belongs to the stored session.
    token: &'static str,
    /// How many commits Ada has.
    commits: u64,
    /// Whether there are parked users beside her.
    parked: bool,
    /// Whether the rows of sessions tell of their clients.
    clients: bool,
    /// Whether an erased user is there.
    erased: bool,
    /// The number of the folding code that made the views.
    fold: u32,
}

/// Everything that was ever stored, the newest last.
const EVER: [Then; 4] = [
    // The first day.
    Then {
        items: include_str!("../golden/items-1.json"),
        token: include_str!("../golden/refresh-token-1.txt"),
        commits: 2,
        parked: false,
        clients: false,
        erased: false,
        fold: 1,
    },
    // A sign-in records the verified password as one value. Parked users and a session never refreshed are there, too.
    Then {
        items: include_str!("../golden/items-2.json"),
        token: include_str!("../golden/refresh-token-2.txt"),
        commits: 3,
        parked: true,
        clients: false,
        erased: false,
        fold: 1,
    },
    // Marks are counted, a session's row has `client`, and there is a tombstone.
    Then {
        items: include_str!("../golden/items-3.json"),
        token: include_str!("../golden/refresh-token-3.txt"),
        commits: 3,
        parked: true,
        clients: true,
        erased: true,
        fold: 1,
    },
    // Views of another fold number, and the mails that were asked for, by somebody and by nobody.
    Then {
        items: include_str!("../golden/items-4.json"),
        token: include_str!("../golden/refresh-token-4.txt"),
        commits: 3,
        parked: true,
        clients: true,
        erased: true,
        fold: 2,
    },
];

const NEWEST: &Then = &EVER[EVER.len() - 1];

fn ada() -> Person {
    person(0xada, "ada@example.com")
}

/// Parked before there was a view.
fn bob() -> Person {
    person(0xb0b, "bob@example.com")
}

/// Parked with a view, after a reset was asked for.
fn eve() -> Person {
    person(0xe5e, "eve@example.com")
}

/// Erased.
fn ida() -> Person {
    person(0x1da, "ida@example.com")
}

fn person(number: u128, email: &str) -> Person {
    let id = |number| Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_0000 + number);
    let email = Email::parse(email).unwrap();
    Person { user: UserId::new(id(number)), email, credential: CredentialId::new(id(0xc0d)) }
}

fn session(number: u128) -> SessionId {
    SessionId::new(Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_05e5 + number))
}

fn keys() -> ServiceKeys {
    serde_json::from_str(KEYS).unwrap()
}

/// The story whose traces the golden items are: registered, signed in twice, refreshed once, guessed at, projected; and
/// two who are parked, one of whom forgot the password, as did nobody. The token is that of the session that was refreshed.
async fn story(world: &World) -> String {
    let ada = ada();
    let mut loaded = storage::Loaded::unborn(ada.user).unwrap();
    let registration = crate::fixture::registration(&ada);
    world.store.execute(&mut loaded, &registration).await.unwrap();
    let begun = world.store.sessions.begin(ada.user, session(0), Some("browser"), noon()).unwrap();
    world.store.execute(&mut loaded, &crate::fixture::sign_in(&ada, 1, &begun)).await.unwrap();
    let token = next(&world.store.sessions, &begun.token, second(1)).await;
    let another = world.store.sessions.begin(ada.user, session(1), None, noon()).unwrap();
    world.store.execute(&mut loaded, &crate::fixture::sign_in(&ada, 2, &another)).await.unwrap();
    world.project(&ada).await;
    for (person, version) in [(bob(), Version::NONE), (eve(), Version::new(2))] {
        let mut loaded = storage::Loaded::unborn(person.user).unwrap();
        world.store.execute(&mut loaded, &crate::fixture::registration(&person)).await.unwrap();
        if version > Version::NONE {
            let (email, ends) = (person.email.clone(), second(600));
            let asked =
                crate::fixture::intent(Command::RequestPasswordReset { email, ends }, Enclosed::Nothing);
            world.store.execute(&mut loaded, &asked).await.unwrap();
            world.project(&person).await;
        }
        world.store.views.park(person.user, version, &Broken::NoVault, noon()).await.unwrap();
    }
    world.store.log.bury(ida().user, noon()).await.unwrap();
    let nobody = world.store.identifiers.key.email(&Email::parse("nobody@example.com").unwrap());
    world.store.pretend_mail(&Guessed::Unknown(nobody.clone()), noon()).await.unwrap();
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
    let attributes = item.as_object().unwrap().iter();
    attributes.map(|(name, attribute)| (name.clone(), untyped_value(attribute))).collect()
}

fn untyped_value(value: &Value) -> AttributeValue {
    match value.as_object().unwrap().iter().next().unwrap() {
        (kind, Value::String(content)) if kind == "S" => text(content),
        (kind, Value::String(content)) if kind == "N" => AttributeValue::N(content.clone()),
        (kind, Value::String(content)) if kind == "B" => octets(STANDARD.decode(content).unwrap()),
        other => panic!("a value of an unexpected type: {other:?}"),
    }
}

/// Which kind of item it is, with the names and types of its attributes and the lengths of what is sealed in them, which
/// give away most changes of what is inside.
fn shape(table: &str, item: &Value) -> (String, BTreeMap<String, String>) {
    let sort_key = item["item"]["S"].as_str().unwrap_or_default();
    let kind = sort_key.split('-').next().unwrap_or_default();
    let owner =
        if item["user"]["S"].as_str().is_some_and(|user| user.contains('.')) { "unknown" } else { "" };
    let form = |value: &Value| match untyped_value(value) {
        AttributeValue::B(octets) => format!("B of {} octets", octets.as_ref().len()),
        _ => value.as_object().unwrap().keys().next().unwrap().clone(),
    };
    let forms = item.as_object().unwrap().iter().map(|(name, value)| (name.clone(), form(value)));
    (format!("{table} {kind} {owner}"), forms.collect())
}

fn shapes<'a>(
    items: impl IntoIterator<Item = (&'a str, &'a Vec<Value>)>,
) -> BTreeSet<(String, BTreeMap<String, String>)> {
    items.into_iter().flat_map(|(table, items)| items.iter().map(move |item| shape(table, item))).collect()
}

fn golden(then: &Then) -> BTreeMap<String, Vec<Value>> {
    serde_json::from_str(then.items).unwrap()
}

/// A world with the tables as they were then.
async fn world_of(then: &Then) -> World {
    let world = World::with(keys(), Lifetimes::default()).await;
    let tables = &world.tables;
    for (name, table) in [
        ("events", &tables.events),
        ("identifiers", &tables.identifiers),
        ("views", &tables.views),
        ("sessions", &tables.sessions),
    ] {
        for item in &golden(then)[name] {
            world.put(table, untyped(item)).await;
        }
    }
    world
}

#[tokio::test]
async fn what_was_ever_stored_is_still_read() {
    for then in &EVER {
        is_still_read(then).await;
    }
}

async fn is_still_read(then: &Then) {
    let world = world_of(then).await;
    let ada = ada();
    assert_eq!(world.store.find(&ada.email).await.unwrap(), Some(ada.user));
    let mut commits = Vec::new();
    world.store.log.history(ada.user, |commit| commits.push(commit.clone())).await.unwrap();
    assert_eq!(commits.len() as u64, then.commits);
    assert_eq!(commits[0].at, noon());
    assert!(
        matches!(&commits[0].events[0].event, UserEvent::UserRegistered { email, .. } if *email == ada.email)
    );
    for (attempt, (commit, number)) in (1..).zip(commits[1..].iter().zip(0..)) {
        let UserEvent::UserSignedIn { session: begun, password, .. } = &commit.events[0].event else {
            panic!("{commit:?}")
        };
        assert_eq!(*begun, session(number));
        assert_eq!(*password, VerifiedPassword { credential: ada.credential, attempt, device: None });
        let meta = &commit.events[0].meta;
        assert_eq!((meta.command.as_str(), meta.address.as_deref()), ("SignIn", Some("192.0.2.1")));
    }
    let folded = world.fold(&ada).await.unwrap();
    // A view of another fold is no snapshot, and its reader goes to the log.
    let shown = |folded: Snapshot| match folded.head.version {
        version if then.fold != FOLD => View::Foreign { version, fold: then.fold },
        _ => View::Of(folded),
    };
    let read = if then.fold == FOLD { Version::new(then.commits) } else { Version::NONE };
    assert_eq!(world.store.views.read(ada.user).await.unwrap(), shown(folded));
    for number in 0..u128::from(then.commits) - 1 {
        let acting = Some((session(number), second(2)));
        let (loaded, live) = world.store.load_acting(ada.user, acting).await.unwrap().unwrap();
        assert_eq!(loaded.snapshot().head.version, read);
        let vault = loaded.vault().unwrap();
        assert_eq!((vault.credential, world.store.verifier(vault).unwrap().as_str()), (ada.credential, PHC));
        assert_eq!(live.map(|live| live.auth_time.timestamp()), Some(noon().timestamp()));
    }
    let nobody = world.store.identifiers.key.email(&Email::parse("nobody@example.com").unwrap());
    // Mails are counted since then.
    if then.fold > 1 {
        for expected in [Pretended::Sent, Pretended::Sent, Pretended::TooManyMails] {
            assert_eq!(
                world.store.pretend_mail(&Guessed::Unknown(nobody.clone()), second(1)).await.unwrap(),
                expected
            );
        }
    }
    for guessed in [Guessed::User(ada.user), Guessed::Unknown(nobody)] {
        let counted = world.store.guesses.count(&guessed, 0, second(1)).await.unwrap();
        assert_eq!(counted, Counted::Attempt(2));
    }
    if then.parked {
        let views = world.store.views.read_all(&[bob().user, eve().user], true).await.unwrap();
        let mark = Parked { since: "2100-11-22T12:00:00.250Z".into(), reason: "no-vault".into() };
        assert!(views.iter().all(|view| view.parked.as_ref() == Some(&mark)), "{views:?}");
        assert!(matches!(views[0].view, View::Foreign { version: Version::NONE, .. }));
        assert_eq!(views[1].view, shown(world.fold(&eve()).await.unwrap()));
    }
    let listed = world.store.sessions.alive(ada.user, &[session(0)], second(2)).await.unwrap();
    assert_eq!(listed[0].agent.as_deref(), then.clients.then_some("browser"));
    assert_eq!(listed[0].refreshed, Some(second(1)));
    if then.erased {
        let erased = world.store.log.fold(ida().user).await.unwrap().outcome;
        assert!(matches!(erased, Err(Broken::Erased)), "{erased:?}");
        assert!(world.store.load(ida().user).await.unwrap().is_none());
    }
    // The token that was given out then is spent, and the user's log goes on.
    assert!(matches!(
        present(&world.store.sessions, then.token.trim(), second(60)).await,
        Rotation::Next { .. }
    ));
    world.sign_in(&ada, 9).await;
    assert_eq!(world.fold(&ada).await.unwrap().head.version, Version::new(then.commits + 1));
}

#[tokio::test]
async fn what_is_stored_today_has_the_form_of_the_newest_golden_items() {
    let world = World::with(keys(), Lifetimes::default()).await;
    let token = story(&world).await;
    let (today, then) = (items(&world).await, golden(NEWEST));
    let (now, newest) = (
        shapes(today.iter().map(|(table, items)| (*table, items))),
        shapes(then.iter().map(|(table, items)| (table.as_str(), items))),
    );
    assert_eq!(now, newest, "another form: put it into a new file");
    let kinds: BTreeSet<_> = newest.iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds.len(), 10, "one of each kind: {kinds:?}");
    // What follows from keys alone is the same, octet for octet.
    let identifiers =
        |items: &[Value]| items.iter().map(|item| item["identifier"].clone()).collect::<Vec<_>>();
    assert_eq!(identifiers(&today["identifiers"]), identifiers(&then["identifiers"]));
    // So is a refresh token but for its secret and its tag.
    let parts = |token: &str| {
        let [key, body, tag] = token.trim().split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
        let body = URL_SAFE_NO_PAD.decode(body).unwrap();
        (key.to_owned(), body[..body.len() - 32].to_vec(), body.len(), tag.len())
    };
    assert_eq!(parts(&token), parts(NEWEST.token));
}

#[test]
fn the_file_of_service_keys_is_written_as_it_was() {
    let written: Value = serde_json::to_value(keys()).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(KEYS).unwrap());
}

/// What each line of `recorded.jsonl` means: what a commit seals, one of a list.
fn recorded() -> Vec<Recorded> {
    let event = UserEvent::UserSignedOut { session: session(0) };
    let meta = |address: Option<&str>, agent: Option<&str>| Metadata {
        command: "SignOut".to_owned(),
        address: address.map(str::to_owned),
        agent: agent.map(str::to_owned),
    };
    [
        meta(None, None),
        meta(Some("192.0.2.1"), None),
        meta(None, Some("browser")),
        meta(Some("192.0.2.1"), Some("browser")),
    ]
    .into_iter()
    .map(|meta| Recorded { event: event.clone(), meta })
    .collect()
}

#[test]
fn what_was_recorded_of_an_event_is_still_read_and_is_recorded_the_same_way() {
    let read: Vec<Recorded> = RECORDED.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, recorded(), "say what each line of tests/golden/recorded.jsonl means");
    for recorded in recorded() {
        let line = serde_json::to_string(&recorded).unwrap();
        assert!(RECORDED.lines().any(|golden| golden == line), "not in tests/golden/recorded.jsonl: {line}");
    }
}

#[tokio::test]
#[ignore = "prints items to be put into tests/golden/ when a new form has been added"]
async fn print_the_items_of_a_new_form() {
    let world = World::with(keys(), Lifetimes::default()).await;
    let token = story(&world).await;
    println!("{}\n{token}", serde_json::to_string_pretty(&items(&world).await).unwrap());
}
