//! Each kind of poison in a user's log, from the moment it is met to the moment it is gone: the user is parked at once
//! and listed with the reason, an alarm is logged, everybody else in the batch is projected, and a repair or the next
//! record frees the user, but not before the cause is gone.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::{UserId, Version};
use projector::handle;
use projector::replay::{Difference, Finding, LogNow, ParkedUser, Replay, StillParked};
use serde_json::Value;
use storage::View;
use testkit::commit_after;

use crate::ground::{Ground, Item, batch, now, v};

thread_local! {
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what is logged in the thread that logs it: a test runs in one of its own.
struct InThisThread;

impl Write for InThisThread {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.write(octets))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn start_logging() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(|| InThisThread).init();
    });
}

/// The alarms in this thread since this was asked last.
fn alarms() -> Vec<Value> {
    let lines = String::from_utf8(LOGGED.take()).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["alarm"].is_string()).collect()
}

/// A user with two commits, the first of which the view shows, beside two others.
struct Story {
    ground: Ground,
    user: UserId,
}

fn vault_key(user: UserId) -> Item {
    let mut key = Ground::commit_key(user, 1);
    key.insert("item".into(), AttributeValue::S("vault".into()));
    key
}

impl Story {
    async fn begin() -> Self {
        start_logging();
        let ground = Ground::new().await;
        let user = ground.registered().await;
        ground.caught_up(&[user]).await;
        ground.signed_in(user).await;
        Self { ground, user }
    }

    async fn commit(&self, version: u64) -> Item {
        self.ground.get(&self.ground.tables.events, Ground::commit_key(self.user, version)).await.unwrap()
    }

    async fn put(&self, item: Item) {
        self.ground.put(&self.ground.tables.events, item).await;
    }

    async fn delete(&self, key: Item) {
        self.ground.delete(&self.ground.tables.events, key).await;
    }

    /// Appends a commit as code that knows other events would.
    async fn append_of_newer_code(&self, events: &str) {
        let vault = self.ground.get(&self.ground.tables.events, vault_key(self.user)).await.unwrap();
        self.put(commit_after(&self.ground.keys, &vault, &self.commit(2).await, events)).await;
    }

    async fn listed(&self) -> Vec<StillParked> {
        let page = Replay::of(self.ground.model.clone()).parked(None).await.unwrap();
        assert!(page.next.is_none());
        page.users
    }

    async fn differences(&self) -> Vec<Difference> {
        let replay = Replay::of(self.ground.model.clone());
        replay.verify(&self.ground.store.identifiers).await.unwrap().differences
    }

    /// Lives through it: the poison is in the log; `cure` takes it away.
    async fn lived(self, code: &'static str, version: Option<u64>, cure: impl AsyncFnOnce(&Self)) {
        let (ground, user) = (&self.ground, self.user);
        let replay = Replay::of(ground.model.clone());
        let (before, after) = (ground.registered().await, ground.registered().await);
        let shown = ground.view(user).await;

        alarms();

        // Met, in the middle of a batch.
        let event = batch(&[(before, 1), (user, 2), (after, 1)]);
        assert!(handle(&ground.model, event, now()).await.batch_item_failures.is_empty());
        ground.assert_shown(before).await;
        ground.assert_shown(after).await;
        assert_eq!(ground.view(user).await, shown, "what could be read stays");
        let alarms = alarms();
        assert_eq!(alarms.len(), 1, "{alarms:?}");
        assert_eq!((&alarms[0]["alarm"], &alarms[0]["level"]), (&"parked".into(), &"ERROR".into()));
        assert_eq!((&alarms[0]["code"], &alarms[0]["user"]), (&code.into(), &user.to_string().into()));
        assert_eq!(alarms[0]["version"].as_u64(), version);

        // Listed, and named by a verification; no other record, rebuild or repair hides it.
        let since = ground.parked(user).await.unwrap().since;
        let parked = ParkedUser { user, since, reason: code.into() };
        let version = version.map(Version::new);
        let broken = [StillParked { parked: parked.clone(), log: LogNow::Broken { code, version } }];
        let finding = Finding::LogBroken { code, version };
        let difference = [Difference { user: Some(user), finding }];
        for round in ["met", "met again", "rebuilt", "repaired"] {
            match round {
                "met again" => {
                    handle(&ground.model, batch(&[(user, 1)]), now()).await;
                }
                "rebuilt" => {
                    let rebuilt = replay.rebuild(&ground.store.identifiers, now()).await.unwrap();
                    assert_eq!((rebuilt.done.parked, rebuilt.done.written), (1, 2));
                }
                "repaired" => {
                    let repaired = replay.repair(now()).await.unwrap();
                    assert_eq!((repaired.found.broken, repaired.done.parked, repaired.freed), (1, 1, 0));
                }
                _ => {}
            }
            assert_eq!(self.listed().await, broken, "{round}");
            assert_eq!(self.differences().await, difference, "{round}");
            assert_eq!(ground.view(user).await, shown, "{round}");
        }

        // The cause is gone: the list says so, and a repair frees the user.
        cure(&self).await;
        assert_eq!(self.listed().await, [StillParked { parked, log: LogNow::Readable }]);
        assert_eq!(self.differences().await, [Difference { user: Some(user), finding: Finding::ViewParked }]);
        let mark = ground.get(&ground.tables.views, Ground::view_key(user)).await.unwrap();
        let repaired = replay.repair(now()).await.unwrap();
        assert_eq!((repaired.found.parked, repaired.done.written), (1, 1));
        assert_eq!((self.listed().await, self.differences().await), (vec![], vec![]));
        ground.assert_shown(user).await;

        // So does any later record.
        ground.put(&ground.tables.views, mark).await;
        handle(&ground.model, batch(&[(user, 1)]), now()).await;
        assert_eq!((self.listed().await, self.differences().await), (vec![], vec![]));
        ground.assert_shown(user).await;
    }
}

#[tokio::test]
async fn an_unknown_event_parks_its_user_until_it_is_known_or_gone() {
    let story = Story::begin().await;
    story.append_of_newer_code(r#"[{"event":{"UserGrewWings":{}},"meta":{"command":"Later"}}]"#).await;
    let gone = async |story: &Story| story.delete(Ground::commit_key(story.user, 3)).await;
    story.lived("unknown-event", Some(3), gone).await;
}

#[tokio::test]
async fn a_known_event_with_a_field_of_newer_code_parks_its_user() {
    let story = Story::begin().await;
    let event = r#"{"UserSignedOut":{"session":"01935a00-0000-7000-8000-000000000001","why":"later"}}"#;
    story.append_of_newer_code(&format!(r#"[{{"event":{event},"meta":{{"command":"Later"}}}}]"#)).await;
    let gone = async |story: &Story| story.delete(Ground::commit_key(story.user, 3)).await;
    story.lived("unknown-event", Some(3), gone).await;
}

#[tokio::test]
async fn a_commit_sealed_in_a_newer_form_parks_its_user() {
    let story = Story::begin().await;
    let whole = story.commit(2).await;
    let mut sealed = whole["sealed"].as_b().unwrap().clone().into_inner();
    sealed[0] = 2;
    let mut newer = whole.clone();
    newer.insert("sealed".into(), AttributeValue::B(Blob::new(sealed)));
    story.put(newer).await;
    story.lived("newer-form", Some(2), async |story| story.put(whole).await).await;
}

#[tokio::test]
async fn a_broken_seal_parks_its_user_until_the_commit_is_put_back() {
    let story = Story::begin().await;
    let whole = story.ground.break_commit(story.user, 2).await;
    story.lived("seal", Some(2), async |story| story.put(whole).await).await;
}

#[tokio::test]
async fn a_commit_without_an_attribute_parks_its_user() {
    let story = Story::begin().await;
    let whole = story.commit(2).await;
    let mut torn = whole.clone();
    torn.remove("sealed").unwrap();
    story.put(torn).await;
    story.lived("attribute", Some(2), async |story| story.put(whole).await).await;
}

#[tokio::test]
async fn a_missing_commit_parks_its_user() {
    let story = Story::begin().await;
    story.ground.signed_in(story.user).await;
    let whole = story.commit(2).await;
    story.delete(Ground::commit_key(story.user, 2)).await;
    story.lived("gap", Some(2), async |story| story.put(whole).await).await;
}

#[tokio::test]
async fn a_missing_vault_parks_its_user_until_it_is_put_back() {
    let story = Story::begin().await;
    let vault = story.ground.get(&story.ground.tables.events, vault_key(story.user)).await.unwrap();
    story.delete(vault_key(story.user)).await;
    story.lived("no-vault", None, async |story| story.put(vault).await).await;
}

#[tokio::test]
async fn a_vault_that_is_removed_parks_its_user_without_another_commit() {
    let story = Story::begin().await;
    let (ground, user) = (&story.ground, story.user);
    ground.caught_up(&[user]).await;
    let vault = ground.get(&ground.tables.events, vault_key(user)).await.unwrap();
    story.delete(vault_key(user)).await;
    let removed = crate::ground::records(&[("REMOVE", user.to_string(), "vault".into())]);
    assert!(handle(&ground.model, removed, now()).await.batch_item_failures.is_empty());
    assert_eq!(ground.parked(user).await.unwrap().reason, "no-vault");
    story.put(vault).await;
    Replay::of(ground.model.clone()).repair(now()).await.unwrap();
    assert_eq!(story.listed().await, []);
    ground.assert_shown(user).await;
}

#[tokio::test]
async fn another_users_vault_parks_its_user() {
    let story = Story::begin().await;
    let other = story.ground.registered().await;
    let own = story.ground.get(&story.ground.tables.events, vault_key(story.user)).await.unwrap();
    let mut others = story.ground.get(&story.ground.tables.events, vault_key(other)).await.unwrap();
    // Nothing is to be said of the other in this story.
    for key in [vault_key(other), Ground::commit_key(other, 1)] {
        story.delete(key).await;
    }
    let identifier = story.ground.store.identifiers.key.email(&crate::ground::address(other));
    let identifier = AttributeValue::S(identifier.as_str().to_owned());
    let identifier = Item::from([("identifier".into(), identifier)]);
    story.ground.delete(&story.ground.tables.identifiers, identifier).await;
    others.extend(vault_key(story.user));
    story.put(others).await;
    story.lived("data-key", None, async |story| story.put(own).await).await;
}

#[tokio::test]
async fn a_torn_view_raises_an_alarm_and_is_made_again_at_once() {
    let story = Story::begin().await;
    let (ground, user) = (&story.ground, story.user);
    let other = ground.registered().await;
    alarms();
    for repaired in [false, true] {
        ground.tear_view(user).await;
        assert!(matches!(ground.view(user).await, View::Torn(_)));
        let finding = Finding::ViewTorn;
        assert!(story.differences().await.contains(&Difference { user: Some(user), finding }));
        assert_eq!(alarms(), Vec::<Value>::new());
        if repaired {
            let repaired = Replay::of(ground.model.clone()).repair(now()).await.unwrap();
            assert_eq!((repaired.found.torn, repaired.done.written), (1, 1));
        } else {
            handle(&ground.model, batch(&[(user, 2), (other, 1)]), now()).await;
            let alarms = alarms();
            assert_eq!((alarms.len(), &alarms[0]["alarm"]), (1, &"torn-view".into()), "{alarms:?}");
            assert_eq!(alarms[0]["user"], user.to_string());
        }
        ground.assert_shown(user).await;
        ground.assert_shown(other).await;
        assert_eq!(story.listed().await, []);
    }
}

#[tokio::test]
async fn a_user_parked_for_an_early_commit_stays_parked_while_the_log_grows() {
    let story = Story::begin().await;
    let (ground, user) = (&story.ground, story.user);
    ground.caught_up(&[user]).await;
    let whole = ground.break_commit(user, 1).await;
    let replay = Replay::of(ground.model.clone());
    replay.repair(now()).await.unwrap();
    assert_eq!(ground.parked(user).await.unwrap().reason, "seal");
    // The view shows commit 2, and what follows it can be read.
    let key = Ground::commit_key(user, 3);
    let vault = ground.get(&ground.tables.events, vault_key(user)).await.unwrap();
    let out = r#"{"UserSignedOut":{"session":"01935a00-0000-7000-8000-000000000001"}}"#;
    let plain = format!(r#"[{{"event":{out},"meta":{{"command":"SignOut"}}}}]"#);
    story.put(commit_after(&ground.keys, &vault, &story.commit(2).await, &plain)).await;
    assert!(ground.get(&ground.tables.events, key).await.is_some());
    handle(&ground.model, batch(&[(user, 3)]), now()).await;
    assert_eq!(ground.parked(user).await.unwrap().reason, "seal", "the cause is not gone");
    story.put(whole).await;
    handle(&ground.model, batch(&[(user, 3)]), now()).await;
    assert_eq!(ground.parked(user).await, None);
    ground.assert_shown(user).await;
}

#[tokio::test]
async fn a_parked_user_whose_log_was_cut_off_is_left_for_somebody_to_look_at() {
    let story = Story::begin().await;
    let (ground, user) = (&story.ground, story.user);
    ground.caught_up(&[user]).await;
    ground.model.views.park(user, v(2), &storage::Broken::NoVault, now()).await.unwrap();
    story.delete(Ground::commit_key(user, 2)).await;
    // Nor does it hold up the batch.
    assert!(handle(&ground.model, batch(&[(user, 2)]), now()).await.batch_item_failures.is_empty());
    let listed = story.listed().await;
    assert_eq!((listed.len(), listed[0].log), (1, LogNow::EndsBeforeView));
    let finding = Finding::LogEndsBeforeView { log: v(1), view: v(2) };
    assert_eq!(story.differences().await, [Difference { user: Some(user), finding }]);
}

#[tokio::test]
async fn a_mark_of_somebody_without_a_log_goes_with_a_repair() {
    let story = Story::begin().await;
    let ground = &story.ground;
    ground.caught_up(&[story.user]).await;
    let nobody = UserId::new(uuid::Uuid::from_u128(9));
    let mut stray = story.commit(1).await;
    stray.extend(Ground::commit_key(nobody, 900));
    story.put(stray).await;
    handle(&ground.model, batch(&[(nobody, 900)]), now()).await;
    assert!(ground.parked(nobody).await.is_some());
    story.delete(Ground::commit_key(nobody, 900)).await;
    assert_eq!(story.listed().await[0].log, LogNow::Absent);
    let replay = Replay::of(ground.model.clone());
    assert_eq!(replay.repair(now()).await.unwrap().freed, 1);
    assert_eq!((story.listed().await, story.differences().await), (vec![], vec![]));
    assert_eq!(ground.view(nobody).await, View::Absent);
}

#[tokio::test]
async fn all_the_parked_are_listed_page_by_page() {
    let ground = Ground::new().await;
    // A page is a megabyte at most, and a mark has some 150 octets.
    let users: Vec<UserId> = (1..=30).map(|number| UserId::new(uuid::Uuid::from_u128(number))).collect();
    for user in &users {
        let mut mark = Ground::view_key(*user);
        mark.insert("parked".into(), AttributeValue::S("2100-01-01T00:00:00.000Z".into()));
        mark.insert("parked_reason".into(), AttributeValue::S("x".repeat(100_000)));
        mark.insert("version".into(), AttributeValue::N("0".into()));
        mark.insert("fold".into(), AttributeValue::N("1".into()));
        ground.put(&ground.tables.views, mark).await;
    }
    let replay = Replay::of(ground.model.clone());
    let (mut listed, mut pages, mut from) = (Vec::new(), 0, None);
    loop {
        let page = replay.parked(from).await.unwrap();
        listed.extend(page.users.into_iter().map(|user| user.parked.user));
        pages += 1;
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    listed.sort_unstable();
    assert_eq!(listed, users);
    assert!(pages > 1, "{pages}");
}
