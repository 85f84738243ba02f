//! Rows of sessions that were patched, copied or made up: no session, and nothing to refresh.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{SessionId, Version};
use storage::{Lifetimes, NewSession, Rotation};

use crate::fixture::{Item, Person, World, bits, key, noon, octets, second, text};
use crate::sessions::{next, present, signed_in};

async fn alive(world: &World, person: &Person, session: SessionId) -> bool {
    let acting = Some((session, second(2)));
    let (_, loaded) = world.store.load_acting(person.user, acting).await.unwrap().unwrap();
    let read = world.store.read_acting(person.user, session, Version::NONE, second(2)).await.unwrap();
    assert_eq!(loaded.is_some(), read.is_some());
    loaded.is_some()
}

fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Ada with a session refreshed once, so that every attribute is there; its row, and its current token.
async fn refreshed() -> (World, Person, NewSession, Item, String) {
    let (world, ada, begun) = signed_in(Lifetimes::default()).await;
    let token = next(&world.store.sessions, &begun.token, second(1)).await;
    let row = world.session_row(&ada, begun.id).await.unwrap();
    (world, ada, begun, row, token)
}

#[tokio::test]
async fn a_row_with_any_attribute_patched_is_no_live_session() {
    let (world, ada, begun, row, _) = refreshed().await;
    assert!(alive(&world, &ada, begun.id).await);
    let mut names: Vec<_> = row.keys().map(String::as_str).collect();
    names.sort_unstable();
    let attributes = [
        "agent",
        "auth_time",
        "client",
        "expires",
        "generation",
        "item",
        "key",
        "previous",
        "rotated",
        "seal",
        "token",
        "user",
    ];
    assert_eq!(names, attributes);
    // What is shown of the client is under a seal of its own.
    for name in attributes.into_iter().filter(|name| !["user", "item", "client"].contains(name)) {
        let patched = match &row[name] {
            AttributeValue::N(digits) => number(digits.parse::<i64>().unwrap() + 1),
            AttributeValue::S(_) => text("00000000"),
            _ => octets([7; 32]),
        };
        for value in [Some(patched), None, Some(AttributeValue::Bool(true))] {
            world.patch(&world.tables.sessions, row.clone(), name, value.clone()).await;
            assert!(!alive(&world, &ada, begun.id).await, "{name} = {value:?}");
        }
    }
    // Without the token before, as if it had never been refreshed.
    let mut forgetful = row.clone();
    for name in ["previous", "rotated"] {
        forgetful.remove(name);
    }
    world.put(&world.tables.sessions, forgetful).await;
    assert!(!alive(&world, &ada, begun.id).await);
    world.put(&world.tables.sessions, row).await;
    assert!(alive(&world, &ada, begun.id).await);
}

#[tokio::test]
async fn patching_what_a_token_knows_gives_it_no_longer_life() {
    let (world, _, _, row, token) = refreshed().await;
    let sessions = &world.store.sessions;
    for (name, value) in [
        ("expires", number(i64::from(u32::MAX))),
        ("auth_time", number(second(100).timestamp())),
        ("generation", number(0)),
        ("key", text("00000000")),
        ("token", octets([7; 32])),
    ] {
        world.patch(&world.tables.sessions, row.clone(), name, Some(value)).await;
        for now in [second(30), second(8 * 24 * 3_600), second(31 * 24 * 3_600)] {
            let refused = present(sessions, &token, now).await;
            assert!(matches!(refused, Rotation::Ended), "{name} at {now}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn patching_what_was_before_gives_a_spent_token_no_second_life() {
    let (world, ada, begun, row, token) = refreshed().await;
    let sessions = &world.store.sessions;
    for (name, value) in [
        ("rotated", Some(number(second(3_600).timestamp_millis()))),
        ("previous", Some(row["token"].clone())),
        ("previous", None),
        ("rotated", None),
        ("agent", Some(octets([7; 32]))),
        ("seal", Some(octets([7; 32]))),
    ] {
        world.patch(&world.tables.sessions, row.clone(), name, value.clone()).await;
        let spent = present(sessions, &begun.token, second(3_600)).await;
        assert!(matches!(spent, Rotation::Ended), "{name} = {value:?}: {spent:?}");
        assert!(!alive(&world, &ada, begun.id).await);
    }
    // The token before, made the current one, by its tag: the rest of the row is not what that token knows.
    world.patch(&world.tables.sessions, row.clone(), "token", Some(row["previous"].clone())).await;
    assert!(matches!(present(sessions, &begun.token, second(3)).await, Rotation::Ended));
    assert!(matches!(present(sessions, &token, second(3)).await, Rotation::Ended));
}

#[tokio::test]
async fn a_row_copied_to_another_session_or_user_is_none() {
    let (world, ada, begun, row, token) = refreshed().await;
    let eve = world.register("eve@example.com").await;
    let eves = world.sign_in(&eve, 1).await;
    let eves_row = world.session_row(&eve, eves.id).await.unwrap();
    // To another session of hers, to Eve, and to Eve's own session.
    let invented = SessionId::new(bits());
    for (person, session) in [(&ada, invented), (&eve, begun.id), (&eve, eves.id), (&eve, invented)] {
        let mut copy = row.clone();
        copy.extend(key(person, &format!("session-{session}")));
        world.put(&world.tables.sessions, copy).await;
        assert!(!alive(&world, person, session).await);
    }
    let refused = present(&world.store.sessions, &eves.token, second(2)).await;
    assert!(matches!(refused, Rotation::Ended), "{refused:?}");
    // Eve's genuine row in place of Ada's.
    let mut copy = eves_row;
    copy.extend(key(&ada, &format!("session-{}", begun.id)));
    world.put(&world.tables.sessions, copy).await;
    assert!(!alive(&world, &ada, begun.id).await);
    assert!(matches!(present(&world.store.sessions, &token, second(2)).await, Rotation::Ended));
}

#[tokio::test]
async fn a_row_that_was_made_up_is_none() {
    let (world, ada, begun, row, _) = refreshed().await;
    let invented = SessionId::new(bits());
    let mut made_up = row.clone();
    made_up.extend(key(&ada, &format!("session-{invented}")));
    for name in ["agent", "previous", "seal", "token"] {
        made_up.insert(name.to_owned(), octets([0; 32]));
    }
    world.put(&world.tables.sessions, made_up).await;
    assert!(!alive(&world, &ada, invented).await);
    world.put(&world.tables.sessions, key(&ada, &format!("session-{}", begun.id))).await;
    assert!(!alive(&world, &ada, begun.id).await);
    assert!(matches!(present(&world.store.sessions, &begun.token, noon()).await, Rotation::Ended));
}
