use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{Email, UserId, Version};
use projector::ReadModel;
use projector::replay::{Contested, Difference, Finding, Mended, Replay, ReplayError, RestoreReport};
use storage::tables::Tables;
use storage::{Broken, Guessed, Lifetimes, Store, View};
use uuid::Uuid;

use crate::ground::{Ground, Item, address, now, until, v};

/// Every item of the four tables at one moment.
struct Backup {
    events: Vec<Item>,
    identifiers: Vec<Item>,
    views: Vec<Item>,
    sessions: Vec<Item>,
}

/// The people of a deployment that is lost in the middle of its work.
struct People {
    /// There from the beginning; signs in and out.
    ada: UserId,
    bob: UserId,
    /// Registers between the first moment and the second.
    cyd: UserId,
    /// Registers between the second moment and the third.
    dan: UserId,
    /// Of whose registration only the commit got into the backup.
    eve: UserId,
    /// And of whose only the vault.
    fay: UserId,
    /// Whose first commit is damaged, for whatever reason.
    gus: UserId,
}

/// A deployment brought back as of different moments, in tables of its own.
struct Restored {
    tables: Tables,
    model: ReadModel,
    store: Store,
}

async fn backup(ground: &Ground) -> Backup {
    let Tables { events, identifiers, views, sessions } = &ground.tables;
    Backup {
        events: ground.dump(events).await,
        identifiers: ground.dump(identifiers).await,
        views: ground.dump(views).await,
        sessions: ground.dump(sessions).await,
    }
}

/// Three moments in the life of a deployment.
async fn history(ground: &Ground) -> (People, [Backup; 3]) {
    let ada = ground.registered().await;
    let first = ground.signed_in(ada).await;
    let bob = ground.registered().await;
    let gus = ground.registered().await;
    ground.signed_in(gus).await;
    ground.caught_up(&[ada, bob, gus]).await;
    ground.store.guesses.count(&Guessed::User(ada), 1, now()).await.unwrap();
    let beginning = backup(ground).await;

    ground.signed_in(ada).await;
    let (cyd, eve, fay) = (ground.registered().await, ground.registered().await, ground.registered().await);
    ground.signed_in(bob).await;
    let middle = backup(ground).await;

    ground.signed_out(ada, first).await;
    ground.signed_in(cyd).await;
    let dan = ground.registered().await;
    ground.signed_in(dan).await;
    ground.caught_up(&[ada, bob, cyd, dan, eve, fay, gus]).await;
    let end = backup(ground).await;
    (People { ada, bob, cyd, dan, eve, fay, gus }, [beginning, middle, end])
}

fn has(item: &Item, user: UserId, sort_key: &str) -> bool {
    let of = AttributeValue::S(user.to_string());
    item["user"] == of && item["item"].as_s().unwrap() == sort_key
}

impl Restored {
    async fn from(
        ground: &Ground,
        events: &[Item],
        identifiers: &[Item],
        views: &[Item],
        sessions: &[Item],
    ) -> Self {
        let tables = Box::pin(ground.engine.tables()).await;
        for (table, items) in [
            (&tables.events, events),
            (&tables.identifiers, identifiers),
            (&tables.views, views),
            (&tables.sessions, sessions),
        ] {
            for item in items {
                ground.put(table, item.clone()).await;
            }
        }
        let store = Store::new(&ground.client, &tables, &ground.keys, Lifetimes::default());
        Self { model: ground.model_in(&tables), store, tables }
    }

    /// Events of the second moment, without half of what was being written just then; identifiers of this moment, and
    /// wrong ones among them; views of the last moment, and so ahead of the log; sessions of the first.
    async fn of_moments(
        ground: &Ground,
        people: &People,
        moments: &[Backup; 3],
        identifiers: &Backup,
    ) -> Self {
        let torn =
            |item: &&Item| !has(item, people.eve, "vault") && !has(item, people.fay, "commit-0000000001");
        let events: Vec<Item> = moments[1].events.iter().filter(torn).cloned().collect();
        let restored =
            Self::from(ground, &events, &identifiers.identifiers, &moments[2].views, &moments[0].sessions)
                .await;
        let first = Ground::commit_key(people.gus, 1);
        ground.delete(&restored.tables.events, first).await;
        restored.point(ground, people.bob, UserId::new(Uuid::from_u128(77))).await;
        restored
    }

    /// Makes the address of one user lead to another.
    async fn point(&self, ground: &Ground, of: UserId, to: UserId) {
        let identifier = self.store.identifiers.key.email(&address(of));
        let item = Item::from([
            ("identifier".into(), AttributeValue::S(identifier.as_str().to_owned())),
            ("user".into(), AttributeValue::S(to.to_string())),
            ("command".into(), AttributeValue::S(Uuid::from_u128(5).to_string())),
        ]);
        ground.put(&self.tables.identifiers, item).await;
    }

    async fn restore(&self) -> Result<RestoreReport, ReplayError> {
        let replay = Replay::of(self.model.clone()).in_segments(2);
        replay.restore(&self.store.identifiers, &self.store.sessions, now()).await
    }

    async fn dry_run(&self) -> RestoreReport {
        let replay = Replay::of(self.model.clone()).in_segments(2);
        replay.restore_dry_run(&self.store.identifiers, &self.store.sessions).await.unwrap()
    }

    async fn owner(&self, of: UserId) -> Option<UserId> {
        self.store.find(&address(of)).await.unwrap()
    }

    async fn dump(&self, ground: &Ground) -> [Vec<Item>; 4] {
        let Tables { events, identifiers, views, sessions } = &self.tables;
        [
            ground.dump(events).await,
            ground.dump(identifiers).await,
            ground.dump(views).await,
            ground.dump(sessions).await,
        ]
    }

    /// Everything that must hold after a restore, whatever was brought back.
    async fn assert_right(&self, ground: &Ground, people: &People) {
        let verified =
            Replay::of(self.model.clone()).verify(&self.store.identifiers).await.unwrap().differences;
        let gap = Finding::LogBroken { code: "gap", version: Some(v(1)) };
        assert_eq!(verified, [Difference { user: Some(people.gus), finding: gap }], "and nothing else");

        let [events, identifiers, views, sessions] = self.dump(ground).await;
        assert!(sessions.is_empty());
        // Each address of the log leads to its user and to nobody else; all others are free.
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        for item in &identifiers {
            let text = |name: &str| item[name].as_s().unwrap().clone();
            assert_eq!(owners.insert(text("identifier"), text("user")), None);
        }
        let mut expected = BTreeSet::new();
        for user in [people.ada, people.bob, people.cyd] {
            assert_eq!(self.owner(user).await, Some(user));
            expected.insert(user.to_string());
            let snapshot = self.model.log.fold(user).await.unwrap().outcome.unwrap();
            assert_eq!(self.model.views.read(user).await.unwrap(), View::Of(snapshot), "as the log says");
            // The identifier is as the registration made it, with its command.
            let commit = events.iter().find(|item| has(item, user, "commit-0000000001")).unwrap();
            let item = identifiers.iter().find(|item| item["user"] == commit["user"]).unwrap();
            assert_eq!(item["command"], commit["command"]);
        }
        // Whether that of a broken log is there depends on the moment; if so, it stays.
        owners.retain(|_, user| *user != people.gus.to_string());
        assert_eq!(owners.into_values().collect::<BTreeSet<_>>(), expected);
        assert_eq!(identifiers.len() - expected.len(), usize::from(self.owner(people.gus).await.is_some()));
        for gone in [people.dan, people.eve, people.fay] {
            assert_eq!(self.owner(gone).await, None, "the address is free");
            assert!(views.iter().all(|view| view["user"].as_s().unwrap() != &gone.to_string()));
            assert!(self.store.load(gone).await.unwrap().is_none(), "no user");
        }
        let eve = self.model.log.fold(people.eve).await.unwrap().outcome;
        assert_eq!(eve.unwrap_err(), Broken::Erased);
        assert!(!events.iter().any(|item| item["user"].as_s().unwrap() == &people.fay.to_string()));
        let parked = self.model.views.read_all(&[people.gus], true).await.unwrap().pop().unwrap().parked;
        assert_eq!(parked.unwrap().reason, "gap");
    }
}

#[tokio::test]
async fn tables_of_different_moments_become_one_deployment_again() {
    let ground = Ground::new().await;
    let (people, moments) = history(&ground).await;
    for (moment, made, corrected, freed) in [
        // Identifiers from before the log: cyd's is missing; bob's is wrong.
        (&moments[0], 1, 1, 0),
        // From behind it: dan's, eve's and fay's lead to nobody whom the log knows.
        (&moments[2], 0, 1, 3),
    ] {
        let restored = Restored::of_moments(&ground, &people, &moments, moment).await;
        let views_deleted = moments[2].views.len() as u64;
        let before = restored.dump(&ground).await;
        let mended = Mended {
            users_buried: 1,
            vaults_deleted: 1,
            identifiers_made: made,
            identifiers_corrected: corrected,
            identifiers_freed: freed,
            ..Mended::default()
        };
        let would = restored.dry_run().await;
        assert_eq!(
            (would.mended, would.views_deleted, would.sessions_deleted),
            (mended.clone(), views_deleted, 3)
        );
        assert_eq!((restored.dump(&ground).await, would.rebuilt), (before, None), "only looked");

        let report = restored.restore().await.unwrap();
        assert_eq!(
            (&report.mended, report.views_deleted, report.sessions_deleted),
            (&mended, views_deleted, 3)
        );
        assert!(!report.holds(), "one log is broken, and is told of");
        let rebuilt = report.rebuilt.unwrap().done;
        assert_eq!((rebuilt.written, rebuilt.parked, rebuilt.erased, rebuilt.beyond_log), (3, 1, 1, 0));
        restored.assert_right(&ground, &people).await;

        // Once more changes nothing but the views, which say the same.
        let before = restored.dump(&ground).await;
        let again = restored.restore().await.unwrap();
        assert_eq!((again.mended, again.sessions_deleted), (Mended::default(), 0));
        let after = restored.dump(&ground).await;
        assert_eq!((&after[0], &after[1]), (&before[0], &before[1]));
        restored.assert_right(&ground, &people).await;
    }
}

#[tokio::test]
async fn the_restored_go_on_and_the_lost_begin_again() {
    let ground = Ground::new().await;
    let (people, moments) = history(&ground).await;
    let restored = Restored::of_moments(&ground, &people, &moments, &moments[2]).await;
    restored.restore().await.unwrap();
    // Old sessions are gone, the log's too; a new one begins, and its view follows.
    for user in [people.ada, people.bob, people.cyd] {
        let session = ground.signed_in_by(&restored.store, user).await;
        let version = restored.model.log.fold(user).await.unwrap().outcome.unwrap().head.version;
        restored.model.catch_up(user, version, now()).await.unwrap();
        let read = restored.store.read_acting(user, session, version, now()).await.unwrap().unwrap();
        assert_eq!(read.user.account().unwrap().email, Some(address(user)));
    }
    // The count of guesses begins at the last success, which the log knows: none of the free ones is used up.
    let base = 1;
    for attempt in 1..=5 {
        let counted = restored.store.guesses.count(&Guessed::User(people.ada), base, now()).await.unwrap();
        assert_eq!(counted, storage::Counted::Attempt(base + attempt));
    }
    // Those whom the log does not know register anew: with the same id, where an idempotency key asks for it.
    for user in [people.dan, people.fay] {
        ground.registered_as(&restored.store, user, address(user)).await;
        assert_eq!(restored.owner(user).await, Some(user));
    }
    let another = UserId::new(Uuid::from_u128(4711));
    ground.registered_as(&restored.store, another, address(people.eve)).await;
    assert_eq!(restored.owner(people.eve).await, Some(another));
}

#[tokio::test]
async fn a_restore_killed_anywhere_is_finished_by_the_next() {
    let ground = Ground::new().await;
    let (people, moments) = history(&ground).await;
    let mut finished = false;
    let mut kills = 0;
    for requests in (1_usize..).map(|round| round * 7) {
        let mut restored = Restored::of_moments(&ground, &people, &moments, &moments[kills % 3]).await;
        let (client, meter) = ground.engine.metered();
        let whole = restored.store.clone();
        restored.store = Store::new(&client, &restored.tables, &ground.keys, Lifetimes::default());
        let log = restored.store.log.clone();
        let model =
            std::mem::replace(&mut restored.model, ReadModel { log, views: restored.store.views.clone() });
        let ended = tokio::select! {
            biased;
            () = until(|| meter.taken().requests.len() >= requests) => false,
            report = restored.restore() => {
                report.unwrap();
                true
            }
        };
        (restored.store, restored.model) = (whole, model);
        kills += usize::from(!ended);
        restored.restore().await.unwrap();
        restored.assert_right(&ground, &people).await;
        if ended {
            finished = true;
            break;
        }
    }
    assert!(finished && kills >= 4, "{kills}");
}

#[tokio::test]
async fn an_address_that_two_have_is_left_and_told_of() {
    let ground = Ground::new().await;
    let (ada, bob) = (ground.registered().await, ground.registered().await);
    // In other tables, somebody has bob's address; their log gets among ours.
    let twin = UserId::new(Uuid::from_u128(4711));
    let others = Box::pin(ground.engine.tables()).await;
    let store = Store::new(&ground.client, &others, &ground.keys, Lifetimes::default());
    ground.registered_as(&store, twin, address(bob)).await;
    let mut events = ground.dump(&ground.tables.events).await;
    events.extend(ground.dump(&others.events).await);
    let identifiers = ground.dump(&ground.tables.identifiers).await;
    let restored = Restored::from(&ground, &events, &identifiers, &[], &[]).await;

    let contested = vec![Contested { user: twin, found: Some(bob) }];
    for mended in [restored.dry_run().await.mended, restored.restore().await.unwrap().mended] {
        assert_eq!((mended.contested_total, &mended.contested), (1, &contested));
        assert_eq!((mended.identifiers_corrected, mended.identifiers_freed), (0, 0));
    }
    assert_eq!((restored.owner(ada).await, restored.owner(bob).await), (Some(ada), Some(bob)));
    assert!(!restored.restore().await.unwrap().holds());

    // Nor is it taken from somebody whose log cannot be read.
    let events: Vec<Item> = events.into_iter().filter(|item| !has(item, bob, "commit-0000000001")).collect();
    let restored = Restored::from(&ground, &events, &identifiers, &[], &[]).await;
    ground.put(&restored.tables.events, gap(&ground, bob).await).await;
    assert_eq!(restored.restore().await.unwrap().mended.contested, contested);
    assert_eq!(restored.owner(bob).await, Some(bob));
}

#[tokio::test]
async fn addresses_that_changed_hands_lead_to_whoever_has_them_by_the_log() {
    let ground = Ground::new().await;
    let (ada, bob, cyd) = (ground.registered().await, ground.registered().await, ground.registered().await);
    let before = ground.dump(&ground.tables.identifiers).await;
    let elsewhere = Email::parse("elsewhere@example.com").unwrap();
    ground.moved(ada, &elsewhere).await;
    ground.moved(bob, &address(ada)).await;
    let newcomer = ground.yielded(cyd).await;
    let events = ground.dump(&ground.tables.events).await;
    let after = ground.dump(&ground.tables.identifiers).await;

    let restored = Restored::from(&ground, &events, &before, &[], &[]).await;
    for report in [restored.dry_run().await.mended, restored.restore().await.unwrap().mended] {
        assert_eq!(report.identifiers_made, 1, "{report:?}");
        assert_eq!(report.identifiers_corrected, 2, "{report:?}");
        assert_eq!((report.identifiers_freed, report.contested_total), (1, 0), "{report:?}");
    }
    // As they were, with the ids of the commands that took them.
    assert_eq!(ground.dump(&restored.tables.identifiers).await, after);
    assert_eq!(restored.owner(ada).await, Some(bob));
    assert_eq!(restored.owner(bob).await, None);
    assert_eq!(restored.owner(cyd).await, Some(newcomer));
    assert_eq!(restored.store.find(&elsewhere).await.unwrap(), Some(ada));
    let again = restored.restore().await.unwrap();
    assert!(again.holds(), "{again:?}");
    assert_eq!(again.mended, Mended::default());
}

#[tokio::test]
async fn who_has_done_more_than_register_is_not_taken_for_half_a_registration() {
    let ground = Ground::new().await;
    let (ada, bob) = (ground.registered().await, ground.registered().await);
    ground.signed_in(ada).await;
    let [events, identifiers] =
        [ground.dump(&ground.tables.events).await, ground.dump(&ground.tables.identifiers).await];
    // No transaction that a backup holds half of takes the vault of somebody with a second commit.
    let without = |item: &&Item| !has(item, ada, "vault") && !has(item, bob, "vault");
    let damaged: Vec<Item> = events.iter().filter(without).cloned().collect();
    let restored = Restored::from(&ground, &damaged, &identifiers, &[], &[]).await;

    let mended = Mended { users_buried: 1, identifiers_freed: 1, ..Mended::default() };
    assert_eq!(restored.dry_run().await.mended, mended);
    let report = restored.restore().await.unwrap();
    assert_eq!((&report.mended, report.holds()), (&mended, false));
    let finding = Finding::LogBroken { code: "no-vault", version: None };
    assert_eq!(report.rebuilt.unwrap().verified.differences, [Difference { user: Some(ada), finding }]);
    assert_eq!((restored.owner(ada).await, restored.owner(bob).await), (Some(ada), None));

    // It was found after all.
    let vault = events.into_iter().find(|item| has(item, ada, "vault")).unwrap();
    ground.put(&restored.tables.events, vault).await;
    assert!(restored.restore().await.unwrap().holds());
    assert!(restored.store.load(ada).await.unwrap().is_some());
}

#[tokio::test]
async fn a_log_that_is_not_there_takes_nothing_with_it() {
    let ground = Ground::new().await;
    let user = ground.registered().await;
    ground.signed_in(user).await;
    ground.caught_up(&[user]).await;
    let moment = backup(&ground).await;
    for (identifiers, views) in [(&moment.identifiers[..], &[][..]), (&[], &moment.views)] {
        let restored = Restored::from(&ground, &[], identifiers, views, &moment.sessions).await;
        let before = restored.dump(&ground).await;
        assert!(matches!(restored.restore().await, Err(ReplayError::LogEmpty)));
        assert_eq!(restored.dump(&ground).await, before);
    }
    // Nobody has ever registered.
    let restored = Restored::from(&ground, &[], &[], &[], &[]).await;
    assert!(restored.restore().await.unwrap().holds());
}

/// A commit that has lost the one before it.
async fn gap(ground: &Ground, user: UserId) -> Item {
    ground.signed_in(user).await;
    ground.get(&ground.tables.events, Ground::commit_key(user, 2)).await.unwrap()
}

#[tokio::test]
async fn who_is_erased_has_no_view_and_is_not_parked() {
    let ground = Ground::new().await;
    let users = ground.many_registered(3).await;
    ground.caught_up(&users).await;
    for user in &users {
        let mut vault = Ground::commit_key(*user, 1);
        vault.insert("item".into(), AttributeValue::S("vault".into()));
        ground.delete(&ground.tables.events, vault).await;
        ground.model.log.bury(*user, now()).await.unwrap();
        let identifier = ground.store.identifiers.key.email(&address(*user));
        ground.store.identifiers.set_free(&identifier, *user).await.unwrap();
    }
    let replay = Replay::of(ground.model.clone());
    let findings = replay.verify(&ground.store.identifiers).await.unwrap();
    assert!(findings.differences.iter().all(|found| found.finding == Finding::ViewOfErased), "{findings:?}");
    assert_eq!(findings.total, 3);

    // The projector, a repair and a rebuild each take the view away.
    ground.model.catch_up(users[0], Version::NONE, now()).await.unwrap();
    assert_eq!(ground.view(users[0]).await, View::Absent);
    let repaired = replay.repair(now()).await.unwrap();
    assert_eq!((repaired.found.erased, repaired.found.broken, repaired.done.erased), (3, 0, 2));
    assert!(replay.verify(&ground.store.identifiers).await.unwrap().holds());
    let rebuilt = replay.rebuild(&ground.store.identifiers, now()).await.unwrap();
    assert_eq!((rebuilt.done.erased, rebuilt.done.parked, rebuilt.verified.holds()), (3, 0, true));
}
