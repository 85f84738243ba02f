use aws_sdk_dynamodb::types::AttributeValue;
use domain::{Email, FOLD, UserId};
use projector::replay::{Difference, Finding, ParkedUser, ParkedUsers, Replay, VerifyReport};
use storage::Replacing;
use uuid::Uuid;

use crate::ground::{Ground, Item, address, now, until, v};

async fn verified(ground: &Ground) -> VerifyReport {
    Replay::of(ground.model.clone()).verify(&ground.store.identifiers).await.unwrap()
}

/// Verifies, and expects these differences and no others.
async fn assert_found(ground: &Ground, mut expected: Vec<(Option<UserId>, Finding)>) {
    let report = verified(ground).await;
    assert_eq!(report.holds(), expected.is_empty());
    assert_eq!(report.total, expected.len() as u64, "{report:?}");
    for difference in &report.differences {
        let place = expected
            .iter()
            .position(|(user, finding)| *user == difference.user && *finding == difference.finding);
        expected.swap_remove(place.unwrap_or_else(|| panic!("not expected: {difference:?}")));
    }
}

fn identifier_row(ground: &Ground, of: UserId, leads_to: UserId) -> Item {
    let identifier = ground.store.identifiers.key.email(&address(of));
    Item::from([
        ("identifier".into(), AttributeValue::S(identifier.as_str().to_owned())),
        ("user".into(), AttributeValue::S(leads_to.to_string())),
    ])
}

#[tokio::test]
async fn what_agrees_is_found_to_agree() {
    let ground = Ground::new().await;
    let users = ground.many_registered(5).await;
    ground.signed_in(users[0]).await;
    ground.caught_up(&users).await;
    let report = verified(&ground).await;
    assert!(report.holds(), "{report:?}");
    assert_eq!((report.covered.users, report.covered.commits, report.covered.events), (5, 6, 6));
}

#[tokio::test]
async fn every_kind_of_wrong_view_is_found() {
    let ground = Ground::new().await;
    let users = ground.many_registered(9).await;
    ground.caught_up(&users).await;
    let views = &ground.tables.views;
    ground.delete(views, Ground::view_key(users[0])).await;
    ground.signed_in(users[1]).await;
    ground.tear_view(users[2]).await;
    ground.delete(views, Ground::view_key(users[3])).await;
    ground.model_of_fold(FOLD - 1).catch_up(users[3], v(1), now()).await.unwrap();
    ground.model_of_fold(FOLD + 1).catch_up(users[4], v(1), now()).await.unwrap();
    ground.model.views.park(users[5], v(1), &storage::Broken::NoVault, now()).await.unwrap();
    let mut wrong = ground.fold(users[6]).await;
    wrong.user = ground.fold(users[7]).await.user;
    ground.model.views.put(users[6], &wrong, Replacing::OlderOrEqual).await.unwrap();
    let nobody = UserId::new(Uuid::from_u128(1));
    ground.model.views.put(nobody, &wrong, Replacing::Older).await.unwrap();

    assert_found(
        &ground,
        vec![
            (Some(users[0]), Finding::ViewAbsent),
            (Some(users[1]), Finding::ViewBehind { log: v(2), view: v(1) }),
            (Some(users[2]), Finding::ViewTorn),
            (Some(users[3]), Finding::ViewOfLowerFold),
            (Some(users[4]), Finding::ViewOfHigherFold),
            (Some(users[5]), Finding::ViewParked),
            (Some(users[6]), Finding::ViewDiffers),
            (Some(nobody), Finding::ViewWithoutLog),
        ],
    )
    .await;
}

#[tokio::test]
async fn every_kind_of_wrong_log_is_found_with_its_first_broken_commit() {
    let ground = Ground::new().await;
    let users = ground.many_registered(5).await;
    for user in &users {
        ground.signed_in(*user).await;
        ground.signed_in(*user).await;
    }
    ground.caught_up(&users).await;
    let events = &ground.tables.events;
    ground.delete(events, Ground::commit_key(users[0], 3)).await;
    ground.delete(events, Ground::commit_key(users[1], 2)).await;
    ground.break_commit(users[2], 2).await;
    let mut vault = Ground::commit_key(users[3], 1);
    vault.insert("item".into(), AttributeValue::S("vault".into()));
    ground.delete(events, vault).await;

    let broken = |code, version| Finding::LogBroken { code, version };
    assert_found(
        &ground,
        vec![
            (Some(users[0]), Finding::LogEndsBeforeView { log: v(2), view: v(3) }),
            (Some(users[1]), broken("gap", Some(v(2)))),
            (Some(users[2]), broken("seal", Some(v(2)))),
            (Some(users[3]), broken("no-vault", None)),
        ],
    )
    .await;
}

#[tokio::test]
async fn items_that_belong_to_nobody_are_found() {
    let ground = Ground::new().await;
    let users = ground.many_registered(2).await;
    ground.caught_up(&users).await;
    let (events, views) = (&ground.tables.events, &ground.tables.views);
    ground.delete(events, Ground::commit_key(users[0], 1)).await;
    ground.delete(views, Ground::view_key(users[0])).await;
    let identifier = ground.store.identifiers.key.email(&address(users[0]));
    let identifier = AttributeValue::S(identifier.as_str().to_owned());
    ground.delete(&ground.tables.identifiers, Item::from([("identifier".into(), identifier)])).await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    // An id in another form is another key than the one that is looked up.
    let in_another_form = users[1].to_string().replace('-', "");
    for user in ["nobody", &in_another_form] {
        let whole = ground.get(events, Ground::commit_key(users[1], 1)).await.unwrap();
        ground.put(events, whole.into_iter().chain([("user".into(), text(user))]).collect()).await;
        let whole = ground.get(views, Ground::view_key(users[1])).await.unwrap();
        ground.put(views, whole.into_iter().chain([("user".into(), text(user))]).collect()).await;
    }
    for item in ["a note", "commit-0000000000"] {
        let key = [("user".into(), text(&users[1].to_string())), ("item".into(), text(item))];
        ground.put(events, Item::from(key)).await;
    }

    assert_found(
        &ground,
        vec![
            (Some(users[0]), Finding::VaultWithoutLog),
            (None, Finding::LogItemMalformed),
            (None, Finding::LogItemMalformed),
            (None, Finding::LogItemMalformed),
            (None, Finding::LogItemMalformed),
            (None, Finding::ViewMalformed),
            (None, Finding::ViewMalformed),
        ],
    )
    .await;
}

#[tokio::test]
async fn identifiers_are_compared_both_ways() {
    let ground = Ground::new().await;
    let users = ground.many_registered(4).await;
    ground.caught_up(&users).await;
    let identifiers = &ground.tables.identifiers;
    let missing = ground.store.identifiers.key.email(&address(users[0]));
    let key = Item::from([("identifier".into(), AttributeValue::S(missing.as_str().to_owned()))]);
    ground.delete(identifiers, key).await;
    ground.put(identifiers, identifier_row(&ground, users[1], users[2])).await;
    let nobody = UserId::new(Uuid::from_u128(1));
    ground.put(identifiers, identifier_row(&ground, nobody, nobody)).await;
    let malformed = Item::from([("identifier".into(), AttributeValue::S("1.x".into()))]);
    ground.put(identifiers, malformed).await;

    assert_found(
        &ground,
        vec![
            (Some(users[0]), Finding::IdentifierMissing),
            (Some(users[1]), Finding::IdentifierOfAnother { found: users[2] }),
            (Some(users[2]), Finding::IdentifierWithoutUser),
            (Some(nobody), Finding::IdentifierWithoutUser),
            (None, Finding::IdentifierMalformed),
        ],
    )
    .await;
}

#[tokio::test]
async fn addresses_are_followed_from_user_to_user_both_ways() {
    let ground = Ground::new().await;
    let users = ground.many_registered(4).await;
    ground.caught_up(&users).await;
    let elsewhere = Email::parse("elsewhere@example.com").unwrap();
    ground.moved(users[0], &elsewhere).await;
    ground.moved(users[1], &address(users[0])).await;
    ground.signed_in(users[2]).await;
    let newcomer = ground.yielded(users[2]).await;
    ground.caught_up(&users).await;
    ground.caught_up(&[newcomer]).await;
    assert_found(&ground, vec![]).await;

    let identifiers = &ground.tables.identifiers;
    // Whoever moved on, or yielded, has no address but by their log.
    ground.put(identifiers, identifier_row(&ground, users[1], users[1])).await;
    ground.put(identifiers, identifier_row(&ground, users[0], users[0])).await;
    ground.put(identifiers, identifier_row(&ground, users[2], users[2])).await;
    let missing = ground.store.identifiers.key.email(&elsewhere);
    let key = Item::from([("identifier".into(), AttributeValue::S(missing.as_str().to_owned()))]);
    ground.delete(identifiers, key).await;
    assert_found(
        &ground,
        vec![
            (Some(users[0]), Finding::IdentifierMissing),
            (Some(users[1]), Finding::IdentifierOfAnother { found: users[0] }),
            (Some(newcomer), Finding::IdentifierOfAnother { found: users[2] }),
            (Some(users[0]), Finding::IdentifierWithoutUser),
            (Some(users[1]), Finding::IdentifierWithoutUser),
            (Some(users[2]), Finding::IdentifierWithoutUser),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_parked_are_listed_with_the_time_and_the_reason() {
    let ground = Ground::new().await;
    let users = ground.many_registered(3).await;
    ground.caught_up(&users[..2]).await;
    ground.break_commit(users[2], 1).await;
    ground.caught_up(&users[2..]).await;
    let report = verified(&ground).await;
    let parked = ground.parked(users[2]).await.unwrap();
    let listed = ParkedUser { user: users[2], since: parked.since, reason: "seal".into() };
    assert_eq!(report.parked, ParkedUsers { total: 1, users: vec![listed] });
    assert_eq!(report.total, 1, "{report:?}");
}

#[tokio::test]
async fn a_view_that_the_projector_is_about_to_bring_up_to_date_is_no_difference() {
    let ground = Ground::new().await;
    let users = ground.many_registered(3).await;
    let (client, meter) = ground.engine.metered();
    let replay = Replay::of(ground.model_of(&client)).in_segments(1);
    let project = async {
        // The second batch, of identifiers, is asked for when the views have been found missing.
        until(|| meter.taken().requests.iter().filter(|name| *name == "BatchGetItem").count() >= 2).await;
        ground.caught_up(&users).await;
    };
    let (report, ()) = tokio::join!(replay.verify(&ground.store.identifiers), project);
    let report = report.unwrap();
    assert!(report.holds(), "{report:?}");
}

#[tokio::test]
async fn differences_are_listed_up_to_a_bound_and_counted_beyond() {
    let ground = Ground::new().await;
    ground.registered().await;
    let wrong = Item::from([("user".into(), AttributeValue::S("nobody".into()))]);
    for index in 0..1_010 {
        let mut row = wrong.clone();
        row.insert("identifier".into(), AttributeValue::S(format!("1.{index}")));
        ground.put(&ground.tables.identifiers, row).await;
    }
    Replay::of(ground.model.clone()).repair(now()).await.unwrap();
    let report = verified(&ground).await;
    assert_eq!((report.total, report.differences.len()), (1_010, 1_000));
}

#[test]
fn a_difference_reads_well_in_a_script() {
    let difference = Difference {
        user: Some(UserId::new(Uuid::from_u128(7))),
        finding: Finding::LogBroken { code: "seal", version: Some(v(2)) },
    };
    assert_eq!(
        serde_json::to_string(&difference).unwrap(),
        r#"{"user":"00000000-0000-0000-0000-000000000007","kind":"log_broken","code":"seal","version":2}"#
    );
}
