//! Nothing personal or secret lies in a table or a stream record.

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodbstreams::types::{AttributeValue as StreamValue, ShardIteratorType};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use domain::{Command, DisplayName, Email};
use storage::{Broken, Enclosed, Guessed, Loaded};

use crate::fixture::{
    Person, World, change_password, intent, registration, rename, second, sign_in, sign_in_rehashed,
    sign_out, somebody,
};
use crate::sessions::next;

const ADDRESS: &str = "marked.mailbox@marked-domain.example";
const NAME: &str = "Marked Displayname";
const AGENT: &str = "MarkedAgent/1.0";
const HOST: &str = "192.0.2.77";
const PHC: &str = "$argon2id$v=19$m=19456,t=2,p=1$TWFya2VkU2FsdE1hcmtlZA$TWFya2VkSGFzaE1hcmtlZEhhc2g";
const NEW_PHC: &str = "$argon2id$v=19$m=19456,t=2,p=1$TWFya2VkTmV3U2FsdA$TWFya2VkTmV3SGFzaE1hcmtlZA";

/// Every way in which a mark may have been written down.
fn forms(mark: &str) -> Vec<Vec<u8>> {
    let hex = hex(mark.as_bytes());
    let mut forms = vec![mark.as_bytes().to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    // In base64 a text looks different at each of three places; its ends depend on its neighbours.
    for shift in 0..3 {
        let shifted = [&b"xxx"[..shift], mark.as_bytes()].concat();
        for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            let inner = &text.as_bytes()[(shift * 4).div_ceil(3)..text.len() - 2];
            forms.push(inner.to_vec());
        }
    }
    forms
}

/// The octets of a value.
fn octets(value: &AttributeValue) -> Vec<u8> {
    match value {
        AttributeValue::B(blob) => blob.as_ref().to_vec(),
        AttributeValue::S(text) | AttributeValue::N(text) => text.clone().into_bytes(),
        other => panic!("an attribute of an unexpected type: {other:?}"),
    }
}

fn contains(octets: &[u8], form: &[u8]) -> bool {
    octets.windows(form.len()).any(|window| window == form)
}

async fn story(world: &World) -> (Person, Vec<String>) {
    let ada = Person { email: Email::parse(ADDRESS).unwrap(), ..somebody("ada@example.com") };
    let marked = |mut intent: storage::Intent| {
        intent.agent = Some(AGENT.to_owned());
        intent.address = Some(HOST.to_owned());
        intent
    };
    let mut register = registration(&ada);
    register.enclosed = Enclosed::Verifier(PHC.to_owned().into());
    if let Command::Register { name, .. } = &mut register.command {
        *name = Some(DisplayName::parse(NAME).unwrap());
    }
    world.store.execute(&mut Loaded::unborn(ada.user).unwrap(), &marked(register)).await.unwrap();
    let mut tokens = Vec::new();
    for attempt in 1..=3 {
        let id = domain::SessionId::new(crate::fixture::bits());
        let session = world.store.sessions.begin(ada.user, id, Some(AGENT), second(0)).unwrap();
        let mut loaded = world.load(&ada).await;
        let mut signs_in = sign_in_rehashed(&loaded, &ada, attempt, &session);
        if let Enclosed::SessionAndVerifier { verifier, .. } = &mut signs_in.enclosed {
            *verifier = PHC.to_owned().into();
        }
        world.store.execute(&mut loaded, &marked(signs_in)).await.unwrap();
        let first = world.store.sessions.parse(&session.token).unwrap();
        world.store.sessions.rotate(&first, Some(AGENT), second(1)).await.unwrap();
        tokens.push(session.token.clone());
        if attempt == 1 {
            world.execute(&ada, &marked(sign_out(id))).await.unwrap();
        }
    }
    let last = world.sign_in(&ada, 4).await;
    let mut change = change_password(&ada, 5, last.id);
    change.enclosed = Enclosed::NewVerifier { verifier: NEW_PHC.to_owned().into(), acting: last.id };
    world.execute(&ada, &marked(change)).await.unwrap();
    tokens.push(next(&world.store.sessions, &last.token, second(2)).await);
    let reused = intent(
        Command::EndReusedSession { session: domain::SessionId::new(crate::fixture::bits()) },
        Enclosed::Nothing,
    );
    world.execute(&ada, &marked(reused)).await.unwrap();
    world.execute(&ada, &marked(rename(last.id, &format!("{NAME} again")))).await.unwrap();
    world.project(&ada).await;
    for guessed in [Guessed::User(ada.user), Guessed::Unknown(world.store.identifiers.key.email(&ada.email))]
    {
        world.store.guesses.count(&guessed, 0, second(0)).await.unwrap();
    }
    world
        .store
        .views
        .park(ada.user, world.fold(&ada).await.unwrap().head.version, &Broken::NoVault, second(3))
        .await
        .unwrap();
    (ada, tokens)
}

/// The attributes of every stream record, in keys and images.
async fn stream(world: &World) -> Vec<Vec<u8>> {
    let streams = world.engine.streams_client();
    let table = world.raw.describe_table().table_name(&world.tables.events).send().await.unwrap();
    let arn = table.table().unwrap().latest_stream_arn().unwrap().to_owned();
    let described = streams.describe_stream().stream_arn(&arn).send().await.unwrap();
    let mut values = Vec::new();
    for shard in described.stream_description().unwrap().shards() {
        let iterator = streams
            .get_shard_iterator()
            .stream_arn(&arn)
            .shard_id(shard.shard_id().unwrap())
            .shard_iterator_type(ShardIteratorType::TrimHorizon);
        let mut iterator = iterator.send().await.unwrap().shard_iterator;
        while let Some(at) = iterator {
            let page = streams.get_records().shard_iterator(at).send().await.unwrap();
            let records = page.records();
            for record in records {
                let change = record.dynamodb().unwrap();
                assert!(change.new_image().is_none() && change.old_image().is_none());
                for value in change.keys().unwrap().values() {
                    let StreamValue::S(text) = value else { panic!("a key of an unexpected type") };
                    values.push(text.clone().into_bytes());
                }
            }
            iterator = if records.is_empty() { None } else { page.next_shard_iterator.clone() };
        }
    }
    values
}

#[tokio::test]
async fn no_mark_of_a_user_is_found_in_any_table_or_stream_record() {
    let world = World::start().await;
    let (ada, tokens) = story(&world).await;
    let tables = &world.tables;
    let mut values = stream(&world).await;
    assert!(values.len() >= 14, "keys of every commit and the vault: {}", values.len());
    for table in [&tables.events, &tables.identifiers, &tables.views, &tables.sessions] {
        let items = world.all(table).await;
        assert!(!items.is_empty(), "{table} is empty");
        values.extend(items.iter().flat_map(|item| item.values().map(octets)));
    }
    let secrets = tokens.iter().map(|token| token.split('.').nth(1).unwrap()[70..].to_owned());
    let marks = [
        ADDRESS,
        "marked.mailbox",
        NAME,
        AGENT,
        HOST,
        PHC,
        NEW_PHC,
        "MarkedHash",
        "MarkedNewHash",
        "TWFya2Vk",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(secrets);
    for mark in marks {
        for form in forms(&mark) {
            let found = values.iter().find(|value| contains(value, &form));
            assert!(
                found.is_none(),
                "{mark} was found in {:?}",
                found.map(|value| String::from_utf8_lossy(value))
            );
        }
    }
    // The search finds what is there, and the story did leave its traces in the log.
    let user = ada.user.to_string();
    assert!(values.iter().any(|value| contains(value, user.as_bytes())));
    let mut read = String::new();
    world
        .store
        .log
        .history(ada.user, |commit| read.push_str(&serde_json::to_string(&commit.events).unwrap()))
        .await
        .unwrap();
    for mark in [ADDRESS, NAME, AGENT, HOST] {
        assert!(read.contains(mark), "{mark} is not in the log either");
    }
}

#[test]
fn a_mark_is_recognised_in_every_form() {
    let hay = format!("..{AGENT}..");
    let hex = hex(hay.as_bytes());
    let found = |octets: &[u8]| forms(AGENT).iter().any(|form| contains(octets, form));
    assert!(found(hay.as_bytes()) && found(hex.as_bytes()) && found(hex.to_uppercase().as_bytes()));
    for before in 0..3 {
        let hay = format!("{}{AGENT}{}", "-".repeat(before), "tail");
        assert!(found(STANDARD_NO_PAD.encode(&hay).as_bytes()), "behind {before}");
        assert!(found(URL_SAFE_NO_PAD.encode(&hay).as_bytes()), "behind {before}");
    }
    assert!(!found(b"nothing of the kind"));
}

#[tokio::test]
async fn what_is_printed_for_debugging_shows_no_mark_and_no_token() {
    let world = World::start().await;
    let ada = Person { email: Email::parse(ADDRESS).unwrap(), ..somebody("ada@example.com") };
    let mut register = registration(&ada);
    register.enclosed = Enclosed::Verifier(PHC.to_owned().into());
    register.agent = Some(AGENT.to_owned());
    register.address = Some(HOST.to_owned());
    if let Command::Register { name, .. } = &mut register.command {
        *name = Some(DisplayName::parse(NAME).unwrap());
    }
    let mut loaded = Loaded::unborn(ada.user).unwrap();
    let appended = world.store.execute(&mut loaded, &register).await.unwrap();
    let session = world.begin(&ada);
    let signs_in = sign_in(&ada, 1, &session);
    world.store.execute(&mut loaded, &signs_in).await.unwrap();
    let mut change = change_password(&ada, 2, session.id);
    change.enclosed = Enclosed::NewVerifier { verifier: NEW_PHC.to_owned().into(), acting: session.id };
    world.execute(&ada, &change).await.unwrap();
    let parsed = world.store.sessions.parse(&session.token).unwrap();
    let rotation = world.store.sessions.rotate(&parsed, Some(AGENT), second(1)).await.unwrap();
    let mut commits = Vec::new();
    world.store.log.history(ada.user, |commit| commits.push(commit.clone())).await.unwrap();
    let loaded = world.load(&ada).await;
    let printed = format!(
        "{register:?} {loaded:?} {appended:?} {session:?} {signs_in:?} {change:?} {rotation:?} {commits:?} {:?} {:?}",
        world.store, world.keys
    );
    let storage::Rotation::Next { token: successor, .. } = rotation else { panic!("not rotated") };
    for mark in [ADDRESS, NAME, AGENT, HOST, PHC, NEW_PHC, &session.token, &successor] {
        assert!(!printed.contains(mark), "{mark} is printed");
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |hex, octet| format!("{hex}{octet:02x}"))
}
