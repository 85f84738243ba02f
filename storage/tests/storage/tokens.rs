//! Texts that are no refresh tokens, or none of ours.

use storage::keys::ServiceKeys;
use storage::{ClientId, Lifetimes, Rotation, TokenError};

use crate::fixture::{World, second};
use crate::sessions::{present, signed_in};

#[tokio::test]
async fn no_octet_of_a_token_can_be_changed_and_none_left_out() {
    let (world, _, begun) = signed_in(Lifetimes::default()).await;
    let (sessions, token) = (&world.store.sessions, begun.token.as_str());
    world.meter.reset();
    for index in 0..token.len() {
        assert!(sessions.parse(&token[..index]).is_err(), "cut off at {index}");
        for other in [b'A', b'a', b'0', b'_', b'.', b'=', b' ', token.as_bytes()[index] ^ 1] {
            let mut changed = token.as_bytes().to_vec();
            if changed[index] == other {
                continue;
            }
            changed[index] = other;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            assert!(sessions.parse(&changed).is_err(), "octet {index} is {}", char::from(other));
        }
    }
    let padded = format!("{token}=");
    let (twice, longer) = (format!("{token}{token}"), format!("{token}.x"));
    let spaced = format!(" {token}");
    for other in ["", ".", "..", "...", "a.b.c", &padded, &twice, &longer, &spaced, &"x".repeat(10_000)] {
        assert!(sessions.parse(other).is_err(), "{other:?}");
    }
    assert_eq!(world.meter.taken().requests, Vec::<String>::new(), "garbage asks no table");
    assert!(matches!(present(sessions, token, second(1)).await, Rotation::Next { .. }), "and ends nothing");
}

#[tokio::test]
async fn a_token_of_another_deployment_or_of_an_unknown_key_is_none() {
    let (world, _, begun) = signed_in(Lifetimes::default()).await;
    // The same keys under another deployment's name.
    let mut keys = world.keys.clone();
    keys.deployment.push('2');
    let elsewhere = world.store_of(&keys, Lifetimes::default());
    assert_eq!(elsewhere.sessions.parse(&begun.token).err(), Some(TokenError::Forged));
    let strangers = world.store_of(&ServiceKeys::random().unwrap(), Lifetimes::default());
    assert_eq!(strangers.sessions.parse(&begun.token).err(), Some(TokenError::UnknownKey));
    // Another secret under the same id.
    let mut keys = world.keys.clone();
    let secret = ServiceKeys::random().unwrap().refresh.current().1.clone();
    keys.refresh = storage::keys::Ring::of(keys.refresh.current().0.clone(), secret);
    let guessed = world.store_of(&keys, Lifetimes::default());
    assert_eq!(guessed.sessions.parse(&begun.token).err(), Some(TokenError::Forged));
}

#[tokio::test]
async fn a_genuine_token_spends_no_session_but_its_own() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let (one, two) = (world.sign_in(&ada, 1).await, world.sign_in(&ada, 2).await);
    // The readable part of one with the tag of the other.
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (first, second_) = (parts(&one.token), parts(&two.token));
    let spliced = format!("{}.{}.{}", first[0], first[1], second_[2]);
    assert_eq!(world.store.sessions.parse(&spliced).err(), Some(TokenError::Forged));
    // Prepared and never begun: genuine, and of no session.
    let never = world.begin(&ada);
    assert!(matches!(present(&world.store.sessions, &never.token, second(1)).await, Rotation::Ended));
    let before = world.session_row(&ada, two.id).await;
    present(&world.store.sessions, &one.token, second(1)).await;
    assert_eq!(world.session_row(&ada, two.id).await, before);
    assert_eq!(world.session_rows(&ada).await.len(), 2);
}

#[tokio::test]
async fn a_token_and_its_successors_are_their_clients_and_nobody_elses() {
    let (world, ada, own) = signed_in(Lifetimes::default()).await;
    let sessions = &world.store.sessions;
    assert!(sessions.parse(&own.token).unwrap().client().is_own());
    let client = ClientId::parse(&"x".repeat(32)).unwrap();
    let id = domain::SessionId::new(crate::fixture::bits());
    let begun = sessions.begin_for(&client, ada.user, id, Some("browser"), second(0)).unwrap();
    world.execute(&ada, &crate::fixture::sign_in(&ada, 2, &begun)).await.unwrap();
    let next = crate::sessions::next(sessions, &begun.token, second(1)).await;
    for token in [&begun.token, &next] {
        assert_eq!(sessions.parse(token).unwrap().client(), &client);
        // The client is under the tag, and stands in the readable part: another one is a forgery.
        let mut parts = token.split('.').map(str::to_owned).collect::<Vec<_>>();
        parts[1].pop();
        assert!(sessions.parse(&parts.join(".")).is_err());
    }
    let (spent, current) = (sessions.parse(&begun.token).unwrap(), sessions.parse(&next).unwrap());
    let goes_on = async |token, now| sessions.goes_on_with(token, now).await.unwrap();
    assert_eq!((goes_on(&spent, second(2)).await, goes_on(&current, second(2)).await), (false, true));
    assert!(!goes_on(&current, current.good_until()).await, "not refreshed in time");
    assert!(sessions.lives(ada.user, id, second(2)).await.unwrap());
    world.execute(&ada, &crate::fixture::sign_out(id)).await.unwrap();
    assert!(!goes_on(&current, second(2)).await && !sessions.lives(ada.user, id, second(2)).await.unwrap());
}
