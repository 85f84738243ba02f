//! The stored form of a commit, written down a second time and independently: what one with all keys could make, or
//! code that is newer than this.

use std::collections::HashMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hkdf};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use storage::keys::ServiceKeys;
use uuid::Uuid;

type Item = HashMap<String, AttributeValue>;

/// The commit that follows `before` in the log to which this vault belongs, holding this text instead of events.
pub fn commit_after(keys: &ServiceKeys, vault: &Item, before: &Item, plain: &str) -> Item {
    let user = text(&vault["user"]);
    let user_id = Uuid::parse_str(user).expect("a user id");
    let data_key = data_key(keys, user_id, vault);
    let id = data_key_id(&data_key);
    let version: u64 = text(&before["item"])["commit-".len()..].parse().expect("a commit");
    let item = format!("commit-{:010}", version + 1);
    let (at, command) = ("2100-11-22T12:00:00.250Z", user);
    let additional = parts(&[
        keys.deployment.as_bytes(),
        b"commit",
        user_id.as_bytes(),
        item.as_bytes(),
        id.as_bytes(),
        at.as_bytes(),
        command.as_bytes(),
        &hash(user_id, before),
    ]);
    let mut body = plain.as_bytes().to_vec();
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, &data_key).expect("a key");
    let additional = Aad::from([&[1], &additional[..]].concat());
    let nonce = cipher.seal_in_place_append_tag(additional, &mut body).expect("sealed");
    let sealed = [&[1, 8], id.as_bytes(), nonce.as_ref(), &body].concat();
    Item::from([
        ("user".to_owned(), AttributeValue::S(user.to_owned())),
        ("item".to_owned(), AttributeValue::S(item)),
        ("command".to_owned(), AttributeValue::S(command.to_owned())),
        ("at".to_owned(), AttributeValue::S(at.to_owned())),
        ("sealed".to_owned(), AttributeValue::B(Blob::new(sealed))),
    ])
}

/// The hash of a stored commit, by which the next one names it.
fn hash(user: Uuid, commit: &Item) -> Vec<u8> {
    let data = parts(&[
        user.as_bytes(),
        text(&commit["item"]).as_bytes(),
        text(&commit["command"]).as_bytes(),
        text(&commit["at"]).as_bytes(),
        blob(&commit["sealed"]),
    ]);
    digest::digest(&digest::SHA256, &data).as_ref().to_vec()
}

/// Unwraps the data key in a vault.
fn data_key(keys: &ServiceKeys, user: Uuid, vault: &Item) -> Vec<u8> {
    let (id, secret) = keys.wrapping.current();
    let mut key = [0; 32];
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, secret.expose())
        .expand(&[b"annals data-key ", user.as_bytes()], hkdf::HKDF_SHA256)
        .expect("a key")
        .fill(&mut key)
        .expect("a key");
    let additional =
        parts(&[keys.deployment.as_bytes(), b"data-key", user.as_bytes(), b"vault", id.as_str().as_bytes()]);
    let wrapped = blob(&vault["data_key"]);
    let (head, rest) = wrapped.split_at(2 + id.as_str().len());
    assert_eq!(
        head,
        [&[1, u8::try_from(id.as_str().len()).expect("a short id")], id.as_str().as_bytes()].concat()
    );
    let (nonce, body) = rest.split_at(12);
    let mut body = body.to_vec();
    RandomizedNonceKey::new(&AES_256_GCM, &key)
        .expect("a key")
        .open_in_place(
            Nonce::try_assume_unique_for_key(nonce).expect("a nonce"),
            Aad::from([&[1], &additional[..]].concat()),
            &mut body,
        )
        .expect("the vault of these keys")
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
    value.as_b().expect("octets").as_ref()
}

fn text(value: &AttributeValue) -> &str {
    value.as_s().expect("a text")
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |hex, octet| format!("{hex}{octet:02x}"))
}
