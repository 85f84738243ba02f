//! The stored form of a commit, written down a second time and independently: what one with all keys could make.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hkdf};
use aws_sdk_dynamodb::types::AttributeValue;

use crate::fixture::{Item, Person, World, commit_key, octets, text};

/// A commit to follow `before`, holding this text instead of events.
pub(crate) async fn commit_of(world: &World, person: &Person, before: (u64, &Item), plain: &str) -> Item {
    let data_key = data_key(world, person, &world.vault(person).await);
    let id = data_key_id(&data_key);
    let (version, before) = before;
    let (item, at, command) = (commit_key(version + 1), "2100-11-22T12:00:00.250Z", person.user.to_string());
    let additional = parts(&[
        world.keys.deployment.as_bytes(),
        b"commit",
        person.user.as_bytes(),
        item.as_bytes(),
        id.as_bytes(),
        at.as_bytes(),
        command.as_bytes(),
        &hash(person, version, before),
    ]);
    let mut body = plain.as_bytes().to_vec();
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, &data_key).unwrap();
    let additional = Aad::from([&[1], &additional[..]].concat());
    let nonce = cipher.seal_in_place_append_tag(additional, &mut body).unwrap();
    let sealed = [&[1, 8], id.as_bytes(), nonce.as_ref(), &body].concat();
    Item::from([
        ("user".to_owned(), text(&person.user.to_string())),
        ("item".to_owned(), text(&item)),
        ("command".to_owned(), text(&command)),
        ("at".to_owned(), text(at)),
        ("sealed".to_owned(), octets(sealed)),
    ])
}

/// The hash of a stored commit, by which the next one names it.
fn hash(person: &Person, version: u64, commit: &Item) -> Vec<u8> {
    let data = parts(&[
        person.user.as_bytes(),
        commit_key(version).as_bytes(),
        commit["command"].as_s().unwrap().as_bytes(),
        commit["at"].as_s().unwrap().as_bytes(),
        blob(&commit["sealed"]),
    ]);
    digest::digest(&digest::SHA256, &data).as_ref().to_vec()
}

/// Unwraps the data key in a vault.
fn data_key(world: &World, person: &Person, vault: &Item) -> Vec<u8> {
    let (id, secret) = world.keys.wrapping.current();
    let mut key = [0; 32];
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, secret.expose())
        .expand(&[b"annals data-key ", person.user.as_bytes()], hkdf::HKDF_SHA256)
        .unwrap()
        .fill(&mut key)
        .unwrap();
    let additional = parts(&[
        world.keys.deployment.as_bytes(),
        b"data-key",
        person.user.as_bytes(),
        b"vault",
        id.as_str().as_bytes(),
    ]);
    let wrapped = blob(&vault["data_key"]);
    let (head, rest) = wrapped.split_at(2 + id.as_str().len());
    assert_eq!(head, [&[1, u8::try_from(id.as_str().len()).unwrap()], id.as_str().as_bytes()].concat());
    let (nonce, body) = rest.split_at(12);
    let mut body = body.to_vec();
    RandomizedNonceKey::new(&AES_256_GCM, &key)
        .unwrap()
        .open_in_place(
            Nonce::try_assume_unique_for_key(nonce).unwrap(),
            Aad::from([&[1], &additional[..]].concat()),
            &mut body,
        )
        .unwrap()
        .to_vec()
}

fn data_key_id(key: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, &[b"annals data key id", key].concat());
    hex(&hash.as_ref()[..4])
}

/// Each part behind its length in eight octets.
fn parts(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes()[..], part].concat()).collect()
}

fn blob(value: &AttributeValue) -> &[u8] {
    value.as_b().unwrap().as_ref()
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |hex, octet| format!("{hex}{octet:02x}"))
}
