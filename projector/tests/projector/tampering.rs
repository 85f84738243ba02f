//! What one who can write the tables and has no service key may do to a log, and what a verification says of it: whose
//! log it is, the first broken link, and the kind. Each time the other users stay as they are.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::UserId;
use projector::replay::{Difference, Finding, Replay};

use crate::ground::{Ground, Item, v};

/// A user with four commits, all shown by the view, beside another one with as many.
struct Log {
    ground: Ground,
    user: UserId,
    other: UserId,
}

impl Log {
    async fn written() -> Self {
        let ground = Ground::new().await;
        let (user, other) = (ground.registered().await, ground.registered().await);
        for _ in 0..3 {
            ground.signed_in(user).await;
            ground.signed_in(other).await;
        }
        ground.caught_up(&[user, other]).await;
        Self { ground, user, other }
    }

    async fn commit(&self, version: u64) -> Item {
        self.commit_of(self.user, version).await
    }

    async fn commit_of(&self, user: UserId, version: u64) -> Item {
        self.ground.get(&self.ground.tables.events, Ground::commit_key(user, version)).await.unwrap()
    }

    /// Puts an item of whatever place in the place of this commit.
    async fn put(&self, mut item: Item, version: u64) {
        item.extend(Ground::commit_key(self.user, version));
        self.ground.put(&self.ground.tables.events, item).await;
    }

    async fn drop(&self, version: u64) {
        self.ground.delete(&self.ground.tables.events, Ground::commit_key(self.user, version)).await;
    }

    /// Verifies: this is found, of this user, and nothing else, by a scan in one segment as in eight.
    async fn is_found(&self, finding: Finding) {
        for segments in [1, 8] {
            let replay = Replay::of(self.ground.model.clone()).in_segments(segments);
            let report = replay.verify(&self.ground.store.identifiers).await.unwrap();
            let expected = Difference { user: Some(self.user), finding: finding.clone() };
            assert_eq!(report.differences, [expected]);
        }
        self.ground.assert_shown(self.other).await;
    }

    async fn breaks_at(&self, version: u64, code: &'static str) {
        self.is_found(Finding::LogBroken { code, version: Some(v(version)) }).await;
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

#[tokio::test]
async fn a_commit_whose_content_is_replaced_is_the_first_broken_link() {
    let log = Log::written().await;
    let mut forged = log.commit(2).await;
    forged.insert("sealed".into(), log.commit(3).await["sealed"].clone());
    log.put(forged, 2).await;
    log.breaks_at(2, "seal").await;
}

#[tokio::test]
async fn a_commit_moved_to_another_number_is_the_first_broken_link() {
    let log = Log::written().await;
    log.put(log.commit(2).await, 3).await;
    log.breaks_at(3, "seal").await;
    // At the end of the log, too.
    let log = Log::written().await;
    log.put(log.commit(4).await, 5).await;
    log.breaks_at(5, "seal").await;
}

#[tokio::test]
async fn a_commit_moved_to_another_user_is_the_first_broken_link() {
    let log = Log::written().await;
    log.put(log.commit_of(log.other, 3).await, 3).await;
    log.breaks_at(3, "seal").await;
}

#[tokio::test]
async fn two_commits_in_each_others_places_break_at_the_first() {
    let log = Log::written().await;
    let (second, third) = (log.commit(2).await, log.commit(3).await);
    log.put(second, 3).await;
    log.put(third, 2).await;
    log.breaks_at(2, "seal").await;
}

#[tokio::test]
async fn a_commit_dropped_from_the_middle_is_the_first_broken_link() {
    for version in 1..=3 {
        let log = Log::written().await;
        log.drop(version).await;
        log.breaks_at(version, "gap").await;
    }
}

#[tokio::test]
async fn a_commit_with_another_time_or_command_is_the_first_broken_link() {
    for (name, value) in
        [("at", "2100-01-01T00:00:00.002Z"), ("command", "01935a00-0000-7000-8000-ffffffffffff")]
    {
        let log = Log::written().await;
        let mut edited = log.commit(3).await;
        assert_ne!(edited.insert(name.into(), text(value)), Some(text(value)));
        log.put(edited, 3).await;
        log.breaks_at(3, "seal").await;
    }
}

#[tokio::test]
async fn a_commit_without_a_part_is_the_first_broken_link_also_before_others() {
    for name in ["at", "command", "sealed"] {
        let log = Log::written().await;
        let mut torn = log.commit(2).await;
        torn.remove(name).unwrap();
        log.put(torn, 2).await;
        log.drop(3).await;
        log.breaks_at(2, "attribute").await;
    }
}

#[tokio::test]
async fn a_cut_off_tail_is_named_with_the_ends_of_log_and_view() {
    let log = Log::written().await;
    log.drop(4).await;
    log.is_found(Finding::LogEndsBeforeView { log: v(3), view: v(4) }).await;
    log.drop(3).await;
    log.is_found(Finding::LogEndsBeforeView { log: v(2), view: v(4) }).await;
}

#[tokio::test]
async fn a_tail_cut_off_and_grown_anew_is_found_by_the_view() {
    let log = Log::written().await;
    let view = log.ground.get(&log.ground.tables.views, Ground::view_key(log.user)).await.unwrap();
    for version in [3, 4] {
        log.drop(version).await;
    }
    log.ground.delete(&log.ground.tables.views, Ground::view_key(log.user)).await;
    for grown in 3..=6 {
        log.ground.signed_in(log.user).await;
        if grown < 4 {
            continue;
        }
        log.ground.put(&log.ground.tables.views, view.clone()).await;
        log.is_found(Finding::LogWentAnotherWay { log: v(grown), view: v(4) }).await;
        log.ground.delete(&log.ground.tables.views, Ground::view_key(log.user)).await;
    }
}

#[tokio::test]
async fn an_older_commit_put_back_breaks_the_link_behind_it() {
    let log = Log::written().await;
    let old = log.commit(3).await;
    for version in [3, 4] {
        log.drop(version).await;
    }
    log.ground.delete(&log.ground.tables.views, Ground::view_key(log.user)).await;
    log.ground.signed_in(log.user).await;
    log.ground.signed_in(log.user).await;
    log.ground.caught_up(&[log.user]).await;
    log.put(old, 3).await;
    log.breaks_at(4, "seal").await;
}

#[tokio::test]
async fn a_vault_of_another_user_opens_no_log() {
    let log = Log::written().await;
    let vault = |user: UserId| {
        let mut key = Ground::commit_key(user, 1);
        key.insert("item".into(), text("vault"));
        key
    };
    let mut others = log.ground.get(&log.ground.tables.events, vault(log.other)).await.unwrap();
    others.extend(vault(log.user));
    log.ground.put(&log.ground.tables.events, others).await;
    log.is_found(Finding::LogBroken { code: "data-key", version: None }).await;
}

#[test]
fn a_log_that_went_another_way_reads_well_in_a_script() {
    let finding = Finding::LogWentAnotherWay { log: v(5), view: v(4) };
    let difference = Difference { user: None, finding };
    let json = r#"{"kind":"log_went_another_way","log":5,"view":4}"#;
    assert_eq!(serde_json::to_string(&difference).unwrap(), json);
}
