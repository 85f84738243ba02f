//! Keys in the Parameter Store: made once, read in one request, and changed by two at once without a loss.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use storage::keys::{
    Change, ChangeError, KeySetting, KeySource, KeyState, KeysError, ParameterStore, PublicKeys, Ring,
    RingName, Secret, ServiceKeys,
};
use testkit::Parameters;

use crate::fixture::noon;

const PREFIX: &str = "/annals/stack/keys/";

fn store(parameters: &Parameters) -> ParameterStore {
    ParameterStore::new(&parameters.sdk(), PREFIX.to_owned())
}

fn source(parameters: &Parameters) -> KeySource {
    KeySetting::prefix(PREFIX).unwrap().source(&parameters.sdk())
}

async fn made() -> Parameters {
    let parameters = Parameters::start().await;
    store(&parameters).make(&ServiceKeys::random().unwrap()).await.unwrap();
    parameters.asked();
    parameters
}

fn minutes(minutes: i64) -> DateTime<Utc> {
    noon() + TimeDelta::minutes(minutes)
}

#[tokio::test]
async fn keys_are_made_once_and_what_is_there_is_never_changed() {
    let parameters = Parameters::start().await;
    let keys = ServiceKeys::random().unwrap();
    let done = store(&parameters).make(&keys).await.unwrap();
    assert_eq!((done.made.len(), done.kept.len()), (10, 0));
    let values = parameters.values();
    assert_eq!(values[&format!("{PREFIX}deployment")], serde_json::to_string(&keys.deployment).unwrap());
    let whole = serde_json::to_value(&keys).unwrap();
    assert_eq!(values[&format!("{PREFIX}one-time")], whole["one_time"].to_string());
    let public = serde_json::to_string(&PublicKeys::of(&keys.signing).unwrap()).unwrap();
    assert_eq!(values[&format!("{PREFIX}public")], public);

    let again = store(&parameters).make(&ServiceKeys::random().unwrap()).await.unwrap();
    assert_eq!((again.made.len(), again.kept.len()), (0, 10));
    assert_eq!(parameters.values(), values);

    // Who was killed on the way left some of them: the rest is made, and fits.
    for lacking in ["public", "pepper", "deployment"] {
        parameters.remove(&format!("{PREFIX}{lacking}"));
    }
    let rest = store(&parameters).make(&ServiceKeys::random().unwrap()).await.unwrap();
    assert_eq!((rest.made.len(), rest.kept.len()), (3, 7));
    let completed = parameters.values();
    assert_eq!(completed[&format!("{PREFIX}public")], public, "of the signing keys that were there");
    for kept in ["signing", "identifiers", "wrapping"] {
        assert_eq!(completed[&format!("{PREFIX}{kept}")], values[&format!("{PREFIX}{kept}")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_make_keys_at_once_agree_on_one_set() {
    let parameters = Parameters::start().await;
    let all = (0..4).map(|_| async {
        store(&parameters).make(&ServiceKeys::random().unwrap()).await.unwrap();
        let keys = source(&parameters).whole().await.unwrap();
        serde_json::to_string(&keys).unwrap()
    });
    let seen: BTreeSet<String> = join_all(all).await.into_iter().collect();
    assert_eq!(seen.len(), 1);
    let keys = source(&parameters).whole().await.unwrap();
    let public: PublicKeys = serde_json::from_str(&parameters.values()[&format!("{PREFIX}public")]).unwrap();
    assert_eq!(public, PublicKeys::of(&keys.signing).unwrap());
}

#[tokio::test]
async fn all_keys_are_read_in_one_request_and_a_function_asks_for_its_own_only() {
    let parameters = made().await;
    source(&parameters).open(noon).await.unwrap();
    assert_eq!(parameters.asked(), ["AmazonSSM.GetParameters"]);
    let keep = |names: &[&str]| {
        for name in parameters.values().keys() {
            if !names.iter().any(|kept| *name == format!("{PREFIX}{kept}")) {
                parameters.remove(name);
            }
        }
    };
    keep(&["deployment", "wrapping", "views", "one-time", "public"]);
    source(&parameters).open_for_mail(noon).await.unwrap();
    keep(&["deployment", "wrapping", "views", "public"]);
    source(&parameters).open_for_projection(noon).await.unwrap();
    keep(&["public"]);
    source(&parameters).open_public(noon).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_or_malformed_is_named_and_never_quoted() {
    let parameters = made().await;
    for name in ["pepper", "refresh"] {
        parameters.remove(&format!("{PREFIX}{name}"));
    }
    let error = source(&parameters).open(noon).await.unwrap_err();
    let missing = format!("there is no parameter {PREFIX}refresh, {PREFIX}pepper");
    assert!(matches!(&error, KeysError::Missing(_)) && error.to_string() == missing, "{error}");

    let parameters = made().await;
    for malformed in ["MARKED", "\"MARKED\"", "{\"current\":\"MARKED\",\"keys\":{\"a\":\"MARKED\"}}"] {
        parameters.put(&format!("{PREFIX}pepper"), malformed);
        let error = source(&parameters).open(noon).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("/annals/stack/keys/pepper is malformed"), "{shown}");
        assert!(!shown.contains("MARKED"), "{shown}");
    }
}

#[tokio::test]
async fn a_store_that_refuses_stops_a_start_and_no_process_that_runs() {
    let parameters = made().await;
    let keys = source(&parameters).open(noon).await.unwrap();
    parameters.refuse(Some(("AccessDeniedException", "no")));
    let refused = source(&parameters).open(noon).await;
    assert!(matches!(refused, Err(KeysError::Request(..))));
    let stranger = storage::keys::KeyId::parse("stranger").unwrap();
    assert!(keys.refresh.get(&stranger).is_none());
    let (id, _) = keys.refresh.current();
    assert!(keys.refresh.get(&id).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_read_from_the_store_within_the_same_request() {
    let parameters = made().await;
    let keys = source(&parameters).open(noon).await.unwrap();
    source(&parameters).change(RingName::Refresh, &Change::RotateNow, noon()).await.unwrap();
    let now = source(&parameters).whole().await.unwrap().ring(RingName::Refresh, noon());
    let made = now.iter().find(|key| key.state == KeyState::Current).unwrap();
    parameters.asked();
    assert!(keys.refresh.get(&made.id).is_some());
    assert_eq!(keys.refresh.current().0, made.id);
    let stranger = storage::keys::KeyId::parse("stranger").unwrap();
    assert!(keys.refresh.get(&stranger).is_none());
    assert_eq!(parameters.asked(), ["AmazonSSM.GetParameters"], "once a minute");
}

#[tokio::test]
async fn a_ring_is_rotated_ahead_of_its_use_and_the_public_keys_follow() {
    let parameters = made().await;
    let source = source(&parameters);
    let before = source.whole().await.unwrap();
    let keys = source.change(RingName::Signing, &Change::Rotate, noon()).await.unwrap();
    let [current, next] = &keys[..] else { panic!("{keys:?}") };
    assert_eq!((current.state, next.state), (KeyState::Current, KeyState::Next));
    assert_eq!(next.since, Some(noon() + TimeDelta::hours(2)));
    let after = source.whole().await.unwrap();
    assert_eq!(after.signing.current_at(minutes(119)).0, before.signing.current().0);
    assert_eq!(after.signing.current_at(minutes(121)).0, &next.id);
    let public =
        || serde_json::from_str::<PublicKeys>(&parameters.values()[&format!("{PREFIX}public")]).unwrap();
    assert_eq!(public(), PublicKeys::of(&after.signing).unwrap());
    let again = source.change(RingName::Signing, &Change::Rotate, minutes(1)).await;
    assert!(matches!(again, Err(ChangeError::NextAlready { .. })));
    let current = source.change(RingName::Signing, &Change::Retire(next.id.clone()), minutes(180)).await;
    assert!(matches!(current, Err(ChangeError::Current { .. })));
    let retired = Change::Retire(before.signing.current().0.clone());
    source.change(RingName::Signing, &retired, minutes(180)).await.unwrap();
    assert_eq!(public().keys.len(), 1);
    let gone = source.change(RingName::Signing, &retired, minutes(180)).await;
    assert!(matches!(gone, Err(ChangeError::NoSuchKey { .. })));
}

#[tokio::test]
async fn two_who_rotate_a_ring_at_once_lose_no_key() {
    let parameters = made().await;
    let source = source(&parameters);
    let before = source.whole().await.unwrap();
    let theirs = storage::keys::KeyId::parse("theirs").unwrap();
    let ring: Ring<Secret> =
        before.wrapping.with_next(theirs.clone(), Secret::random().unwrap(), minutes(9), noon());
    parameters.put_meanwhile(&format!("{PREFIX}wrapping"), &serde_json::to_string(&ring).unwrap());
    source.change(RingName::Wrapping, &Change::Rotate, noon()).await.unwrap();
    let after = source.whole().await.unwrap().wrapping;
    assert_eq!(after.keys(noon()).len(), 3);
    assert_eq!(after.get(&theirs).unwrap().expose(), ring.get(&theirs).unwrap().expose());
}

#[tokio::test]
async fn of_two_who_rotate_signing_keys_at_once_the_slower_one_publishes_those_of_both() {
    let parameters = made().await;
    let source = source(&parameters);
    let before = source.whole().await.unwrap().signing;
    let theirs = ServiceKeys::random().unwrap().signing;
    let (id, secret) = theirs.current();
    let ring = before.with_next(id.clone(), secret.clone(), minutes(120), noon());
    let (signing, public) = (format!("{PREFIX}signing"), format!("{PREFIX}public"));
    let published = serde_json::to_string(&PublicKeys::of(&ring).unwrap()).unwrap();
    // The first writing is ahead of the ring's; all of theirs happens between the ring's and the last one.
    parameters.put_before(&public, &[]);
    let ring = serde_json::to_string(&ring).unwrap();
    parameters.put_before(&public, &[(&signing, &ring), (&public, &published)]);
    source.change(RingName::Signing, &Change::Rotate, noon()).await.unwrap();
    let stored = PublicKeys::of(&source.whole().await.unwrap().signing).unwrap();
    assert!(stored.keys.iter().any(|key| key.kid == *id), "they wrote last");
    assert_eq!(serde_json::from_str::<PublicKeys>(&parameters.values()[&public]).unwrap(), stored);
}

/// Everything but the public keys.
fn secrets(parameters: &Parameters) -> BTreeMap<String, String> {
    let mut values = parameters.values();
    values.remove(&format!("{PREFIX}public"));
    values
}

#[tokio::test]
async fn public_keys_that_are_not_those_that_sign_are_put_right_by_making_keys_again() {
    let parameters = made().await;
    let source = source(&parameters);
    let public = format!("{PREFIX}public");
    let outdated = parameters.values()[&public].clone();
    assert!(source.publishes_what_signs().await.unwrap());
    source.change(RingName::Signing, &Change::Rotate, noon()).await.unwrap();
    let (fitting, before) = (parameters.values()[&public].clone(), secrets(&parameters));
    for wrong in [outdated.as_str(), "{\"keys\":[]}", "nonsense"] {
        parameters.put(&public, wrong);
        assert!(!source.publishes_what_signs().await.unwrap(), "{wrong}");
        let again = store(&parameters).make(&ServiceKeys::random().unwrap()).await.unwrap();
        assert_eq!(
            (again.made.len(), again.kept.len(), again.mended.as_slice()),
            (0, 9, &[public.clone()][..])
        );
        assert_eq!((&parameters.values()[&public], secrets(&parameters)), (&fitting, before.clone()));
    }
    let again = store(&parameters).make(&ServiceKeys::random().unwrap()).await.unwrap();
    assert_eq!((again.kept.len(), again.mended.len()), (10, 0));
    parameters.remove(&public);
    assert!(!source.publishes_what_signs().await.unwrap());
}

#[tokio::test]
async fn who_died_changing_signing_keys_is_followed_by_who_publishes_them() {
    let parameters = made().await;
    let source = source(&parameters);
    let public = format!("{PREFIX}public");
    let first = source.whole().await.unwrap().signing.current().0.clone();
    let outdated = parameters.values()[&public].clone();
    source.change(RingName::Signing, &Change::Rotate, noon()).await.unwrap();
    let with_next = parameters.values()[&public].clone();
    // The ring is written, and what came after is not: whoever asks for the same again hears that it is done.
    parameters.put(&public, &outdated);
    let again = source.change(RingName::Signing, &Change::Rotate, noon()).await;
    assert!(matches!(again, Err(ChangeError::NextAlready { .. })));
    assert_eq!(parameters.values()[&public], with_next);
    let retired = Change::Retire(first.clone());
    source.change(RingName::Signing, &retired, minutes(180)).await.unwrap();
    parameters.put(&public, &with_next);
    let again = source.change(RingName::Signing, &retired, minutes(180)).await;
    assert!(matches!(again, Err(ChangeError::NoSuchKey { .. })));
    let left: PublicKeys = serde_json::from_str(&parameters.values()[&public]).unwrap();
    assert!(left.keys.len() == 1 && left.keys[0].kid != first, "a key that was retired verifies nothing");
}
