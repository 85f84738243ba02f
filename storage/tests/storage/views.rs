//! What may replace what in the read model.

use domain::{FOLD, Version};
use storage::{Broken, Parked, Put, Replacing, Snapshot, View};

use crate::fixture::{Person, World, noon, second, text, view_key};

/// Ada's log at its first three versions.
async fn three() -> (World, Person, [Snapshot; 3]) {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let first = world.fold(&ada).await.unwrap();
    world.sign_in(&ada, 1).await;
    let second = world.fold(&ada).await.unwrap();
    world.sign_in(&ada, 2).await;
    let third = world.fold(&ada).await.unwrap();
    (world, ada, [first, second, third])
}

async fn put(world: &World, person: &Person, snapshot: &Snapshot, replacing: Replacing) -> Put {
    world.store.views.put(person.user, snapshot, replacing).await.unwrap()
}

fn number(number: u64) -> aws_sdk_dynamodb::types::AttributeValue {
    aws_sdk_dynamodb::types::AttributeValue::N(number.to_string())
}

#[tokio::test]
async fn a_document_replaces_those_that_know_less() {
    let (world, ada, [first, second, third]) = three().await;
    assert_eq!(world.store.views.read(ada.user).await.unwrap(), View::Absent);
    for (snapshot, replacing, put_) in [
        (&second, Replacing::Older, Put::Written),
        (&second, Replacing::Older, Put::Lost),
        (&second, Replacing::OlderOrEqual, Put::Written),
        (&first, Replacing::Older, Put::Lost),
        (&first, Replacing::OlderOrEqual, Put::Lost),
        (&third, Replacing::Older, Put::Written),
    ] {
        assert_eq!(put(&world, &ada, snapshot, replacing.clone()).await, put_, "{replacing:?}");
    }
    assert_eq!(world.store.views.read(ada.user).await.unwrap(), View::Of(third));
}

#[tokio::test]
async fn a_document_of_a_lower_fold_gives_way_unless_it_knows_more_and_a_higher_one_never() {
    const LOWER: u32 = FOLD - 1;
    const HIGHER: u32 = FOLD + 1;
    let (world, ada, [first, second, third]) = three().await;
    put(&world, &ada, &second, Replacing::Older).await;
    let good = world.view(&ada).await;
    for (fold, snapshot, expected) in [
        (LOWER, &first, Put::Lost),
        (LOWER, &second, Put::Written),
        (LOWER, &third, Put::Written),
        (HIGHER, &first, Put::Lost),
        (HIGHER, &second, Put::Lost),
        (HIGHER, &third, Put::Lost),
    ] {
        for replacing in [Replacing::Older, Replacing::OlderOrEqual] {
            world.patch(&world.tables.views, good.clone(), "fold", Some(number(fold.into()))).await;
            assert_eq!(put(&world, &ada, snapshot, replacing).await, expected, "fold {fold}");
        }
    }
}

#[tokio::test]
async fn a_torn_view_is_replaced_as_it_was_read_and_not_otherwise() {
    let (world, ada, [_, second, third]) = three().await;
    put(&world, &ada, &second, Replacing::Older).await;
    // It claims a version that no document can pass.
    world.patch(&world.tables.views, world.view(&ada).await, "version", Some(number(u64::MAX))).await;
    assert_eq!(put(&world, &ada, &third, Replacing::Older).await, Put::Lost);
    let View::Torn(torn) = world.store.views.read(ada.user).await.unwrap() else { panic!("not torn") };
    world.patch(&world.tables.views, world.view(&ada).await, "version", Some(number(u64::MAX - 1))).await;
    assert_eq!(put(&world, &ada, &third, Replacing::Torn(torn)).await, Put::Lost, "it has changed");
    let View::Torn(torn) = world.store.views.read(ada.user).await.unwrap() else { panic!("not torn") };
    assert_eq!(put(&world, &ada, &third, Replacing::Torn(torn)).await, Put::Written);
    // One that lacks everything.
    world.put(&world.tables.views, view_key(&ada)).await;
    let View::Torn(torn) = world.store.views.read(ada.user).await.unwrap() else { panic!("not torn") };
    assert_eq!(put(&world, &ada, &third, Replacing::Torn(torn)).await, Put::Written);
    assert_eq!(world.store.views.read(ada.user).await.unwrap(), View::Of(third));
}

#[tokio::test]
async fn a_parked_user_is_marked_until_a_later_document_comes() {
    let (world, ada, [_, second, third]) = three().await;
    let views = &world.store.views;
    let parked = async || views.read_all(&[ada.user], true).await.unwrap().remove(0);
    // Without a view: nothing but the mark.
    views.park(ada.user, Version::NONE, &Broken::NoVault, noon()).await.unwrap();
    let mark = |since: &str, reason: &str| Some(Parked { since: since.into(), reason: reason.into() });
    assert_eq!(parked().await.parked, mark("2100-11-22T12:00:00.250Z", "no-vault"));
    assert!(matches!(parked().await.view, View::Foreign { version: Version::NONE, .. }));
    // Again: the time stays.
    let later = Broken::UnknownEvent(Version::new(3));
    views.park(ada.user, Version::NONE, &later, crate::fixture::second(9)).await.unwrap();
    assert_eq!(parked().await.parked, mark("2100-11-22T12:00:00.250Z", "unknown-event"));
    let put = async |snapshot: &Snapshot, marks: u64| {
        views.put_after(ada.user, snapshot, Replacing::Older, marks).await.unwrap()
    };
    assert_eq!(put(&second, parked().await.marks).await, Put::Written);
    assert_eq!((parked().await.parked, parked().await.view), (None, View::Of(second.clone())));
    // A view that has moved on since is not marked; the one that was read is, and stays of use.
    views.park(ada.user, Version::new(1), &later, noon()).await.unwrap();
    assert_eq!(parked().await.parked, None);
    views.park(ada.user, Version::new(2), &later, noon()).await.unwrap();
    assert_eq!((parked().await.parked.is_some(), parked().await.view), (true, View::Of(second)));
    assert_eq!(put(&third, parked().await.marks).await, Put::Written);
    assert_eq!(parked().await.parked, None);
}

/// The trace is that of `models::catch_up` without its guard `MarkRead`.
#[tokio::test]
async fn a_document_made_of_a_log_read_before_a_mark_does_not_take_the_mark_away() {
    let (world, ada, [first, second, third]) = three().await;
    let views = &world.store.views;
    let stored = async || views.read_all(&[ada.user], true).await.unwrap().remove(0);
    let put = async |snapshot: &Snapshot, replacing: Replacing, marks: u64| {
        views.put_after(ada.user, snapshot, replacing, marks).await.unwrap()
    };
    for (version, before, after) in [(1, &first, &second), (2, &second, &third)] {
        // Whoever puts this one has read the view and the log by now; then another meets what it cannot read.
        let marks = stored().await.marks;
        assert_eq!(put(before, Replacing::Older, marks).await, Put::Written);
        views.park(ada.user, Version::new(version), &Broken::NoVault, noon()).await.unwrap();
        for replacing in [Replacing::Older, Replacing::OlderOrEqual] {
            assert_eq!(put(after, replacing.clone(), marks).await, Put::Lost, "{replacing:?}");
            assert_eq!(put(after, replacing, 0).await, Put::Lost);
        }
        assert!(stored().await.parked.is_some());
        // Who has seen the mark, and the log after it, does.
        assert_eq!(put(before, Replacing::OlderOrEqual, stored().await.marks).await, Put::Written);
        assert!(stored().await.parked.is_none());
    }
    assert_eq!(stored().await.marks, 2, "no two marks of a user are alike");
    assert_eq!(put(&third, Replacing::Older, 1).await, Put::Lost);
}

#[tokio::test]
async fn a_count_of_marks_that_is_none_makes_a_torn_view() {
    let (world, ada, [_, second, third]) = three().await;
    put(&world, &ada, &second, Replacing::Older).await;
    let update = world.raw.update_item().table_name(&world.tables.views);
    let update = update.key("user", text(&ada.user.to_string())).update_expression("SET marks = :marks");
    update.expression_attribute_values(":marks", text("many")).send().await.unwrap();
    let View::Torn(torn) = world.store.views.read(ada.user).await.unwrap() else { panic!("it is of use") };
    assert_eq!(put(&world, &ada, &third, Replacing::Torn(torn)).await, Put::Written);
    assert_eq!(world.store.views.read(ada.user).await.unwrap(), View::Of(third));
}

#[tokio::test]
async fn the_parked_are_found_without_a_scan() {
    let (world, ada, [_, second_version, _]) = three().await;
    put(&world, &ada, &second_version, Replacing::Older).await;
    let bob = world.register("bob@example.com").await;
    world.store.views.park(bob.user, Version::NONE, &Broken::NoVault, second(1)).await.unwrap();
    let index = world.raw.scan().table_name(&world.tables.views).index_name("parked").send().await.unwrap();
    let parked: Vec<_> = index.items().iter().map(|item| item["user"].clone()).collect();
    assert_eq!(parked, [text(&bob.user.to_string())]);
}

#[tokio::test]
async fn only_the_view_that_was_read_is_swept() {
    let (world, ada, [_, second, third]) = three().await;
    let views = &world.store.views;
    put(&world, &ada, &second, Replacing::Older).await;
    let seen = views.read_all(&[ada.user], true).await.unwrap().remove(0);
    put(&world, &ada, &third, Replacing::Older).await;
    assert_eq!(views.sweep(&seen).await.unwrap(), Put::Lost);
    assert_eq!(views.read(ada.user).await.unwrap(), View::Of(third));
    let page = views.page(None).await.unwrap();
    assert!(page.next.is_none());
    assert_eq!((page.views.len(), page.malformed), (1, 0));
    assert_eq!(views.sweep(&page.views[0]).await.unwrap(), Put::Written);
    assert_eq!(views.read(ada.user).await.unwrap(), View::Absent);
    // Torn ones, too.
    world.put(&world.tables.views, view_key(&ada)).await;
    views.sweep(&views.page(None).await.unwrap().views[0]).await.unwrap();
    assert_eq!(views.read(ada.user).await.unwrap(), View::Absent);
}

#[tokio::test]
async fn what_was_marked_since_it_was_read_is_not_swept() {
    let (world, ada, [_, second, _]) = three().await;
    let views = &world.store.views;
    let stored = async || views.read_all(&[ada.user], true).await.unwrap().remove(0);
    for document in [None, Some(second)] {
        let version = document.as_ref().map_or(Version::NONE, |document| document.head.version);
        if let Some(document) = &document {
            put(&world, &ada, document, Replacing::Older).await;
        } else {
            views.park(ada.user, version, &Broken::NoVault, noon()).await.unwrap();
        }
        let seen = stored().await;
        views.park(ada.user, version, &Broken::NoVault, noon()).await.unwrap();
        views.sweep(&seen).await.unwrap();
        assert!(stored().await.parked.is_some(), "{version}");
        views.sweep(&stored().await).await.unwrap();
        assert_eq!(stored().await.view, View::Absent);
    }
}

#[tokio::test]
async fn many_views_are_read_in_the_order_they_were_asked_for() {
    let (world, ada, [first, ..]) = three().await;
    put(&world, &ada, &first, Replacing::Older).await;
    let mut users: Vec<_> = (0..250).map(|_| domain::UserId::new(crate::fixture::bits())).collect();
    users.insert(200, ada.user);
    world.meter.reset();
    let read = world.store.views.read_all(&users, false).await.unwrap();
    assert_eq!(world.meter.taken().requests.len(), 3);
    assert_eq!(read.iter().map(|stored| stored.user).collect::<Vec<_>>(), users);
    let found: Vec<_> = read.iter().filter(|stored| stored.view != View::Absent).collect();
    assert_eq!((found.len(), &found[0].view), (1, &View::Of(first)));
}
