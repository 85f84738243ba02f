//! Any attribute of any item in any form that DynamoDB has: what somebody put there is refused by its type, quoted
//! nowhere, and concerns nobody else.

use std::fmt::Debug;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::Version;
use proptest::collection::{btree_set, vec};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::{TestCaseResult, TestRunner};
use storage::{
    Broken, CountError, Counted, Guessed, NewSession, Parked, ReadError, Rotation, Scanned, Snapshot, View,
};

use crate::fixture::{Item, Person, World, commit_key, key, second, sign_in, sign_out, view_key};

/// Stands in what is put into the tables, and may show in no error.
const MARK: &str = "marked-by-the-test";

/// The items of a user, by what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Commit(u64),
    /// An item that nobody of ours would put into a user's log.
    Stray(&'static str),
    Vault,
    View,
    Session,
    Guesses,
    Identifier,
}

#[derive(Debug, Clone)]
enum Change {
    Set(Index, AttributeValue),
    Remove(Index),
    Add(String, AttributeValue),
    /// One attribute under the name of another.
    Swap(Index, Index),
    Flip(Index, Index, u8),
    CutOff(Index, Index),
}

fn values() -> impl Strategy<Value = AttributeValue> {
    let text = prop_oneof![
        "[ -~]{0,40}",
        "\\PC{0,20}",
        Just(MARK.to_owned()),
        Just("x".repeat(60_000)),
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9][.0-9Z+-]{0,7}",
        "commit-[0-9]{10}",
    ];
    let numbers = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        "-?[1-9][0-9]{0,37}",
        "-?[1-9][.][0-9]{1,20}E-?[1-9][0-9]",
        select(vec![
            "0",
            "-1",
            "1",
            "4294967296",
            "18446744073709551616",
            "253402300800000",
            "9999999999999999"
        ])
        .prop_map(str::to_owned),
    ];
    let octets = prop_oneof![
        vec(any::<u8>(), 0..80),
        // The form and the key of a sealed value, and then anything.
        vec(any::<u8>(), 0..80).prop_map(|rest| [&[1, 8], &b"0000000a"[..], &rest].concat()),
        Just(vec![0; 90_000]),
    ];
    let leaf = prop_oneof![
        3 => text.prop_map(AttributeValue::S),
        3 => numbers.prop_map(AttributeValue::N),
        3 => octets.prop_map(|octets| AttributeValue::B(Blob::new(octets))),
        1 => any::<bool>().prop_map(AttributeValue::Bool),
        1 => Just(AttributeValue::Null(true)),
        1 => btree_set("[a-z]{1,8}", 1..4).prop_map(|set| AttributeValue::Ss(set.into_iter().collect())),
        1 => btree_set(1..1_000_u32, 1..4)
            .prop_map(|set| AttributeValue::Ns(set.iter().map(ToString::to_string).collect())),
        1 => btree_set(vec(any::<u8>(), 1..5), 1..4)
            .prop_map(|set| AttributeValue::Bs(set.into_iter().map(Blob::new).collect())),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let fields = vec(("[a-z]{1,8}", inner.clone()), 0..3);
        prop_oneof![
            vec(inner, 0..3).prop_map(AttributeValue::L),
            fields.prop_map(|fields| AttributeValue::M(fields.into_iter().collect())),
        ]
    })
}

fn changes() -> impl Strategy<Value = (Which, Vec<Change>)> {
    let which = select(vec![
        Which::Commit(1),
        Which::Commit(2),
        Which::Commit(3),
        Which::Stray("commit-0000000004"),
        Which::Stray("commit-0000000009"),
        Which::Stray("commit-1"),
        Which::Stray("vaults"),
        Which::Stray("zzz"),
        Which::Vault,
        Which::Vault,
        Which::View,
        Which::View,
        Which::Session,
        Which::Session,
        Which::Guesses,
        Which::Guesses,
        Which::Identifier,
    ]);
    let change = prop_oneof![
        4 => (any::<Index>(), values()).prop_map(|(name, value)| Change::Set(name, value)),
        2 => any::<Index>().prop_map(Change::Remove),
        1 => ("[a-z_]{1,12}", values()).prop_map(|(name, value)| Change::Add(name, value)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Swap(from, to)),
        2 => (any::<Index>(), any::<Index>(), any::<u8>()).prop_map(|(name, at, octet)| Change::Flip(name, at, octet)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(name, at)| Change::CutOff(name, at)),
    ];
    (which, vec(change, 1..4))
}

/// Changes what is no part of the key.
fn changed(mut item: Item, changes: Vec<Change>) -> Item {
    for change in changes {
        let mut names: Vec<String> = item.keys().cloned().collect();
        names.retain(|name| !["user", "item", "identifier"].contains(&&**name) || is_pointer(&item, name));
        names.sort_unstable();
        if names.is_empty() {
            return item;
        }
        let name = |index: Index| names[index.index(names.len())].clone();
        match change {
            Change::Set(index, value) => {
                item.insert(name(index), value);
            }
            Change::Remove(index) => {
                item.remove(&name(index));
            }
            // Kept out of the sparse index, whose key it would have to fit.
            Change::Add(added, value) => {
                item.entry(format!("x{added}")).or_insert(value);
            }
            Change::Swap(from, to) => {
                if let (Some(one), Some(other)) = (item.remove(&name(from)), item.remove(&name(to))) {
                    item.insert(name(from), other);
                    item.insert(name(to), one);
                }
            }
            Change::Flip(index, at, octet) => with_octets(&mut item, &name(index), |octets| {
                if !octets.is_empty() {
                    let at = at.index(octets.len());
                    octets[at] = octet;
                }
            }),
            Change::CutOff(index, at) => with_octets(&mut item, &name(index), |octets| {
                octets.truncate(at.index(octets.len() + 1));
            }),
        }
    }
    item
}

/// Whether the attribute `user` is what an identifier leads to, and not part of a key.
fn is_pointer(item: &Item, name: &str) -> bool {
    name == "user" && item.contains_key("identifier")
}

fn with_octets(item: &mut Item, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    match item.get_mut(name) {
        Some(AttributeValue::B(blob)) => {
            let mut octets = blob.as_ref().to_vec();
            change(&mut octets);
            *blob = Blob::new(octets);
        }
        Some(AttributeValue::S(text)) => {
            let mut octets = text.clone().into_bytes();
            change(&mut octets);
            *text = String::from_utf8_lossy(&octets).into_owned();
        }
        _ => {}
    }
}

/// Two users with everything they can have.
struct Town {
    world: World,
    ada: Person,
    bob: Person,
    session: NewSession,
    bobs_session: NewSession,
    /// What they add up to, when nobody interferes.
    folded: [Snapshot; 2],
}

impl Town {
    async fn new() -> Self {
        let world = World::start().await;
        let (ada, bob) = (world.register("ada@example.com").await, world.register("bob@example.com").await);
        let mut sessions = Vec::new();
        for person in [&ada, &bob] {
            world.sign_in(person, 1).await;
            sessions.push(world.sign_in(person, 2).await);
            world.store.guesses.count(&Guessed::User(person.user), 2, second(1)).await.unwrap();
        }
        let folded = [world.project(&ada).await, world.project(&bob).await];
        let bobs_session = sessions.pop().unwrap();
        let session = sessions.pop().unwrap();
        Self { world, ada, bob, session, bobs_session, folded }
    }

    fn place(&self, which: Which) -> (&str, Item) {
        let (tables, ada) = (&self.world.tables, &self.ada);
        match which {
            Which::Commit(version) => (&tables.events, key(ada, &commit_key(version))),
            Which::Stray(item) => (&tables.events, key(ada, item)),
            Which::Vault => (&tables.events, key(ada, "vault")),
            Which::View => (&tables.views, view_key(ada)),
            Which::Session => (&tables.sessions, key(ada, &format!("session-{}", self.session.id))),
            Which::Guesses => (&tables.sessions, key(ada, "guesses")),
            Which::Identifier => {
                let identifier = self.world.store.identifiers.key.email(&ada.email);
                let key = AttributeValue::S(identifier.as_str().to_owned());
                (&tables.identifiers, Item::from([("identifier".to_owned(), key)]))
            }
        }
    }

    /// Puts a changed item in place of Ada's own, and looks at what comes of it.
    async fn case(&self, which: Which, changes: Vec<Change>) -> TestCaseResult {
        let (table, place) = self.place(which);
        let before = self.world.get(table, place.clone()).await;
        // A stray item starts from a good commit under another key.
        let mut start = match &before {
            Some(item) => item.clone(),
            None => self.world.commit(&self.ada, 3).await,
        };
        start.extend(place.clone());
        let item = changed(start, changes);
        self.world.put(table, item).await;

        let harm = self.reads(which).await;
        let others = self.others_go_on().await;
        match before {
            Some(item) => self.world.put(table, item).await,
            None => self.world.delete(table, place).await,
        }
        harm.and(others)
    }

    async fn reads(&self, which: Which) -> TestCaseResult {
        let (store, ada) = (&self.world.store, &self.ada);
        let [expected, _] = &self.folded;
        let folded = self.world.fold(ada).await;
        match &folded {
            Ok(snapshot) => prop_assert_eq!(snapshot, expected, "another user came of it"),
            Err(broken) => {
                prop_assert!(
                    matches!(which, Which::Commit(_) | Which::Stray(_) | Which::Vault),
                    "{:?}",
                    broken
                );
                prop_assert_eq!(self.world.broken(ada).await, broken.clone());
                quotes_nothing(broken)?;
            }
        }
        let mut snapshot = Snapshot::default();
        let advanced = typed(store.log.advance(ada.user, &mut snapshot, None).await)?;
        prop_assert_eq!(advanced.map(|_| ()), folded.clone().map(|_| ()));

        let view = store.views.read(ada.user).await.unwrap();
        match &view {
            View::Of(snapshot) => prop_assert_eq!(snapshot, expected),
            View::Absent | View::Foreign { .. } | View::Torn(_) => {
                prop_assert!(which == Which::View, "{:?}", view);
            }
        }
        let page = store.views.page(None).await.unwrap();
        prop_assert_eq!((page.views.len(), page.malformed), (2, 0));
        let (parked, _): (Vec<(_, Parked)>, _) = store.views.parked(None).await.unwrap();
        prop_assert!(parked.is_empty(), "{parked:?}");

        let acting = Some((self.session.id, second(2)));
        let loaded = typed(store.load_acting(ada.user, acting).await)?;
        if let Ok(Some((loaded, alive))) = &loaded {
            prop_assert!(alive.is_none_or(|alive| alive.id == self.session.id));
            prop_assert!(alive.is_some() || which == Which::Session, "the session is alive");
            if let Err(broken) = store.verifier(loaded.vault().unwrap()) {
                prop_assert_eq!(which, Which::Vault);
                quotes_nothing(&broken)?;
            }
            let mut loaded = loaded.clone();
            if typed(store.freshen(&mut loaded).await)?.is_ok() && which != Which::View {
                prop_assert_eq!(loaded.snapshot(), expected);
            }
        } else {
            prop_assert!(which == Which::Vault, "{:?}", loaded);
        }
        for at_least in [Version::NONE, Version::new(3), Version::new(9)] {
            let read = typed(store.read_acting(ada.user, self.session.id, at_least, second(2)).await)?;
            if let Ok(Some(read)) = read {
                prop_assert_eq!(&read, expected);
            }
        }
        self.looks_up(which).await?;
        self.counts().await?;
        self.refuses_to_write(which, folded.err()).await
    }

    async fn looks_up(&self, which: Which) -> TestCaseResult {
        let (store, ada) = (&self.world.store, &self.ada);
        let identifier = store.identifiers.key.email(&ada.email);
        let found = typed(store.find(&ada.email).await)?;
        prop_assert!(found == Ok(Some(ada.user)) || which == Which::Identifier, "{:?}", found);
        let all = store.identifiers.find_all(std::slice::from_ref(&identifier)).await.unwrap();
        prop_assert_eq!(all.get(&identifier).copied(), found.ok().flatten());
        let page = store.identifiers.page(None).await.unwrap();
        prop_assert_eq!(page.entries.len() as u64 + page.malformed, 2);
        Ok(())
    }

    async fn counts(&self) -> TestCaseResult {
        let counted = self.world.store.guesses.count(&Guessed::User(self.ada.user), 2, second(900)).await;
        match counted {
            // After the last success; how many there were is what somebody who writes the table can set.
            Ok(Counted::Attempt(number)) => prop_assert!(number > 2, "{number}"),
            Ok(Counted::TooEarly { wait }) => prop_assert!(wait.num_minutes() <= 15, "{wait}"),
            Ok(Counted::Exhausted) => prop_assert!(false, "a user is no device"),
            Err(CountError::Broken(broken)) => quotes_nothing(&broken)?,
            Err(CountError::Unavailable(error)) => {
                prop_assert!(false, "{error:?}");
            }
        }
        Ok(())
    }

    /// A command says what is broken, or does what it should; a token that was given out is spent, or its session gone.
    async fn refuses_to_write(&self, which: Which, broken: Option<Broken>) -> TestCaseResult {
        let (world, ada) = (&self.world, &self.ada);
        let token = world.store.sessions.parse(&self.session.token).unwrap();
        let rotated = world.store.sessions.rotate(&token, Some("browser"), second(2)).await.unwrap();
        if which != Which::Session {
            prop_assert!(matches!(rotated, Rotation::Next { .. }), "{:?}", rotated);
        }
        if broken.is_some()
            && let Ok(Some(mut loaded)) = typed(world.store.load(ada.user).await)?
        {
            let before = world.log_items(ada).await;
            let refused = world.store.execute(&mut loaded, &sign_in(ada, 9, &world.begin(ada))).await;
            // A view that is whole is a snapshot: a log that is broken before it is appended to all the same.
            if refused.is_err() {
                prop_assert_eq!(world.log_items(ada).await, before);
                quotes_nothing(&refused)?;
            } else {
                let appended: Vec<String> =
                    world.log_items(ada).await.into_iter().filter(|item| !before.contains(item)).collect();
                for item in appended {
                    world.delete(&world.tables.events, key(ada, &item)).await;
                }
            }
        }
        Ok(())
    }

    async fn others_go_on(&self) -> TestCaseResult {
        let (store, bob) = (&self.world.store, &self.bob);
        let [_, expected] = &self.folded;
        prop_assert_eq!(&self.world.fold(bob).await.unwrap(), expected);
        prop_assert_eq!(store.views.read(bob.user).await.unwrap(), View::Of(expected.clone()));
        prop_assert_eq!(store.find(&bob.email).await.unwrap(), Some(bob.user));
        let acting = Some((self.bobs_session.id, second(2)));
        let (loaded, alive) = store.load_acting(bob.user, acting).await.unwrap().unwrap();
        prop_assert!(alive.is_some());
        prop_assert!(store.verifier(loaded.vault().unwrap()).is_ok());
        let scanned: Vec<Scanned> = self.world.scan().await;
        let outcome = scanned.into_iter().find(|scanned| scanned.user == bob.user).unwrap().outcome;
        prop_assert_eq!(&outcome.unwrap(), expected);
        Ok(())
    }
}

/// A refusal is of the item, not of the moment: nobody is told to try again.
fn typed<T>(read: Result<T, ReadError>) -> Result<Result<T, Broken>, proptest::test_runner::TestCaseError> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(ReadError::Broken(broken)) => Ok(Err(broken)),
        Err(ReadError::Unavailable(error)) => {
            Err(proptest::test_runner::TestCaseError::fail(format!("{error:?}")))
        }
    }
}

fn quotes_nothing(error: &impl Debug) -> TestCaseResult {
    let shown = format!("{error:?}");
    prop_assert!(!shown.contains(MARK) && shown.len() < 400, "{shown}");
    Ok(())
}

#[test]
fn whatever_is_put_into_an_item_is_refused_by_its_type_and_concerns_nobody_else() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let town = runtime.block_on(Town::new());
    let cases = ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(cases)
        .run(&changes(), |(which, changes)| runtime.block_on(town.case(which, changes)));
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    // And when all is put back, nothing is left of it.
    runtime.block_on(async {
        let Town { world, ada, session, .. } = town;
        assert!(world.fold(&ada).await.is_ok());
        assert!(world.execute(&ada, &sign_out(session.id)).await.is_ok());
    });
}
