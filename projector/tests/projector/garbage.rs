//! Any attribute of any item in another form than ours: the projector, `verify`, `repair` and `rebuild` come through,
//! say whom it concerns, and go on with everybody else.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::UserId;
use projector::replay::Replay;
use projector::{CaughtUp, handle};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::{TestCaseResult, TestRunner};

use crate::ground::{Ground, Item, address, batch, now, v};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Commit(u64),
    Stray(&'static str),
    Vault,
    View,
    Identifier,
}

fn values() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        "[ -~]{0,30}".prop_map(AttributeValue::S),
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".prop_map(AttributeValue::S),
        any::<i64>().prop_map(|number| AttributeValue::N(number.to_string())),
        select(vec!["0", "1", "4294967296", "18446744073709551616", "-1.5E-9"])
            .prop_map(|number| AttributeValue::N(number.to_owned())),
        vec(any::<u8>(), 0..60).prop_map(|octets| AttributeValue::B(Blob::new(octets))),
        Just(AttributeValue::B(Blob::new(vec![0; 60_000]))),
        any::<bool>().prop_map(AttributeValue::Bool),
        Just(AttributeValue::Null(true)),
        vec("[a-z]{1,5}".prop_map(AttributeValue::S), 0..3).prop_map(AttributeValue::L),
    ]
}

/// An item, and what becomes of its attributes that are no keys: another value, or none.
fn changes() -> impl Strategy<Value = (Which, Vec<(Index, Option<AttributeValue>)>)> {
    let which = select(vec![
        Which::Commit(1),
        Which::Commit(2),
        Which::Stray("commit-0000000003"),
        Which::Stray("commit-0000000009"),
        Which::Stray("zzz"),
        Which::Vault,
        Which::View,
        Which::View,
        Which::Identifier,
    ]);
    let change = (any::<Index>(), prop_oneof![3 => values().prop_map(Some), 1 => Just(None)]);
    (which, vec(change, 1..4))
}

fn changed(mut item: Item, changes: Vec<(Index, Option<AttributeValue>)>) -> Item {
    let is_key = |item: &Item, name: &str| match name {
        "item" | "identifier" => true,
        "user" => !item.contains_key("identifier"),
        _ => false,
    };
    for (index, value) in changes {
        let mut names: Vec<String> = item.keys().filter(|name| !is_key(&item, name)).cloned().collect();
        names.sort_unstable();
        let Some(name) = names.get(index.index(names.len().max(1))) else { return item };
        match value {
            Some(value) => item.insert(name.clone(), value),
            None => item.remove(name),
        };
    }
    item
}

struct Town {
    ground: Ground,
    ada: UserId,
    bob: UserId,
}

impl Town {
    async fn new() -> Self {
        let ground = Ground::new().await;
        let (ada, bob) = (ground.registered().await, ground.registered().await);
        for user in [ada, bob] {
            ground.signed_in(user).await;
        }
        ground.caught_up(&[ada, bob]).await;
        Self { ground, ada, bob }
    }

    fn place(&self, which: Which) -> (&str, Item) {
        let item = |item: &str| {
            let (user, item) = (AttributeValue::S(self.ada.to_string()), AttributeValue::S(item.to_owned()));
            Item::from([("user".into(), user), ("item".into(), item)])
        };
        let tables = &self.ground.tables;
        match which {
            Which::Commit(version) => (&tables.events, Ground::commit_key(self.ada, version)),
            Which::Stray(name) => (&tables.events, item(name)),
            Which::Vault => (&tables.events, item("vault")),
            Which::View => (&tables.views, Ground::view_key(self.ada)),
            Which::Identifier => {
                let identifier = self.ground.store.identifiers.key.email(&address(self.ada));
                let key = AttributeValue::S(identifier.as_str().to_owned());
                (&tables.identifiers, Item::from([("identifier".into(), key)]))
            }
        }
    }

    async fn case(&self, which: Which, changes: Vec<(Index, Option<AttributeValue>)>) -> TestCaseResult {
        let (table, place) = self.place(which);
        let before = self.ground.get(table, place.clone()).await;
        let mut start = match &before {
            Some(item) => item.clone(),
            None => self.ground.get(table, Ground::commit_key(self.ada, 2)).await.unwrap(),
        };
        start.extend(place.clone());
        self.ground.put(table, changed(start, changes)).await;
        let harm = self.looked_after(which).await;
        match before {
            // A view is made anew; what is in the log and the identifiers has no other source.
            Some(_) if which == Which::View => {}
            Some(item) => self.ground.put(table, item).await,
            None => self.ground.delete(table, place).await,
        }
        harm?;
        self.healed().await
    }

    async fn looked_after(&self, which: Which) -> TestCaseResult {
        let Self { ground, ada, bob } = self;
        let event = batch(&[(*ada, 2), (*bob, 2)]);
        let failed = handle(&ground.model, event, now()).await.batch_item_failures;
        prop_assert!(failed.is_empty(), "{failed:?}");
        let caught_up = ground.model.catch_up(*ada, v(2), now()).await.unwrap();
        // What lies behind the end of the log that is read, or is no part of it, the projector has no need to see.
        let is_parked = ground.parked(*ada).await.is_some();
        prop_assert_eq!(caught_up == CaughtUp::Parked, is_parked, "{:?}", caught_up);
        prop_assert!(!is_parked || which != Which::Identifier);

        let replay = || Replay::of(ground.model.clone());
        let report = replay().verify(&ground.store.identifiers).await.unwrap();
        for difference in &report.differences {
            prop_assert!(difference.user != Some(*bob), "{difference:?}");
            let shown = format!("{difference:?} {:?}", report.parked);
            prop_assert!(shown.len() < 600, "{shown}");
        }
        let repaired = replay().repair(now()).await.unwrap();
        prop_assert!(repaired.covered.users >= 1, "{repaired:?}");
        prop_assert!(replay().dry_run().await.is_ok());
        ground.assert_shown(*bob).await;
        prop_assert!(ground.parked(*bob).await.is_none());
        Ok(())
    }

    /// With the item put back, a repair and a rebuild of what says something else leave nothing behind.
    async fn healed(&self) -> TestCaseResult {
        let replay = || Replay::of(self.ground.model.clone());
        replay().repair(now()).await.unwrap();
        let report = replay().verify(&self.ground.store.identifiers).await.unwrap();
        prop_assert!(report.holds(), "{report:?}");
        prop_assert!(self.ground.parked(self.ada).await.is_none());
        self.ground.assert_shown(self.ada).await;
        Ok(())
    }
}

#[test]
fn whatever_is_put_into_an_item_concerns_its_user_only_and_is_healed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let town = runtime.block_on(Town::new());
    let cases = ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(cases)
        .run(&changes(), |(which, changes)| runtime.block_on(town.case(which, changes)));
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
