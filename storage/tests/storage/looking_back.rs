//! A history from its end backwards, page by page.

use domain::{UserId, Version};
use storage::{Broken, Commit, ReadError};

use crate::fixture::{Person, World, commit_key, key, noon, octets, rename, somebody};

/// Somebody whose log has so many commits.
async fn long_known(world: &World, commits: u64) -> Person {
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    for number in 3..=commits {
        world.execute(&ada, &rename(session.id, &format!("name {number}"))).await.unwrap();
    }
    ada
}

async fn page(world: &World, ada: &Person, before: Option<u64>, limit: u8) -> Result<Vec<Commit>, Broken> {
    let loaded = world.load(ada).await;
    match world.store.look_back(&loaded, before.map(Version::new), limit).await {
        Ok(commits) => Ok(commits),
        Err(ReadError::Broken(broken)) => Err(broken),
        Err(ReadError::Unavailable(error)) => panic!("{error}"),
    }
}

fn versions(commits: &[Commit]) -> Vec<u64> {
    commits.iter().map(|commit| commit.version.number()).collect()
}

#[tokio::test]
async fn page_by_page_a_history_is_the_log_backwards() {
    let world = World::start().await;
    let ada = long_known(&world, 12).await;
    let mut whole = Vec::new();
    world.store.log.history(ada.user, |commit| whole.push(commit.clone())).await.unwrap();
    whole.reverse();
    for projected in [false, true] {
        for limit in [1, 2, 5, 11, 12, 13, 100] {
            let (mut shown, mut before) = (Vec::new(), None);
            loop {
                let page = page(&world, &ada, before, limit).await.unwrap();
                assert!(page.len() <= usize::from(limit));
                let Some(oldest) = page.last() else { break };
                before = Some(oldest.version.number());
                shown.extend(page);
            }
            assert_eq!(shown, whole, "{limit} a page");
        }
        if !projected {
            world.project(&ada).await;
        }
    }
    for (before, expected) in [(0, &[][..]), (1, &[]), (2, &[1]), (3, &[2, 1]), (13, &[12, 11, 10])] {
        assert_eq!(versions(&page(&world, &ada, Some(before), 3).await.unwrap()), expected);
    }
    for beyond in [14, 9_999_999_999, 10_000_000_000, u64::MAX] {
        assert_eq!(versions(&page(&world, &ada, Some(beyond), 2).await.unwrap()), [12, 11]);
    }
}

#[tokio::test]
async fn a_page_of_large_commits_takes_several_requests_and_is_whole() {
    let world = World::start().await;
    let ada = world.register("ada@example.com").await;
    let session = world.sign_in(&ada, 1).await;
    // Three of them are less than the megabyte of a page, and four are more: DynamoDB Local puts four on one.
    for number in 3..=12 {
        let mut intent = rename(session.id, &format!("name {number}"));
        intent.agent = Some("a".repeat(340_000));
        world.execute(&ada, &intent).await.unwrap();
    }
    let loaded = world.load(&ada).await;
    world.meter.reset();
    let page = world.store.look_back(&loaded, None, 11).await.unwrap();
    assert_eq!(versions(&page), (2..=12).rev().collect::<Vec<_>>());
    let requests = world.meter.taken().requests;
    assert!(requests.len() >= 3 && requests.iter().all(|name| name == "Query"), "{requests:?}");
}

#[tokio::test]
async fn a_page_with_a_commit_that_does_not_open_is_refused_and_others_are_shown() {
    let world = World::start().await;
    let ada = long_known(&world, 9).await;
    let bob = world.register("bob@example.com").await;
    let good = world.commit(&ada, 5).await;
    let bobs = world.commit(&bob, 1).await;
    let mut torn = good["sealed"].as_b().unwrap().as_ref().to_vec();
    *torn.last_mut().unwrap() ^= 1;
    for sealed in [octets(torn), bobs["sealed"].clone(), octets([])] {
        world.patch(&world.tables.events, good.clone(), "sealed", Some(sealed)).await;
        // It does not open, and the one after it is chained to what it was.
        for (before, limit, broken) in
            [(None, 4, 6), (None, 100, 6), (Some(7), 1, 6), (Some(6), 1, 5), (Some(6), 9, 5)]
        {
            let error = page(&world, &ada, before, limit).await.unwrap_err();
            assert_eq!(error.version(), Some(Version::new(broken)), "{error}");
        }
        assert_eq!(versions(&page(&world, &ada, None, 3).await.unwrap()), [9, 8, 7]);
        assert_eq!(versions(&page(&world, &ada, Some(5), 9).await.unwrap()), [4, 3, 2, 1]);
    }
    world.put(&world.tables.events, good).await;
    assert_eq!(page(&world, &ada, None, 100).await.unwrap().len(), 9, "and put back all is well");
}

#[tokio::test]
async fn a_commit_that_is_missing_is_missed() {
    let world = World::start().await;
    let ada = long_known(&world, 9).await;
    let first = world.commit(&ada, 1).await;
    world.delete(&world.tables.events, key(&ada, &commit_key(1))).await;
    let gap = Broken::Gap { expected: Version::new(1), found: Version::new(2) };
    assert_eq!(page(&world, &ada, None, 100).await, Err(gap.clone()));
    assert_eq!(page(&world, &ada, Some(3), 1).await, Err(gap));
    assert!(page(&world, &ada, Some(2), 1).await.is_err());
    world.put(&world.tables.events, first).await;
    let fifth = world.commit(&ada, 5).await;
    world.delete(&world.tables.events, key(&ada, &commit_key(5))).await;
    for (before, limit) in [(None, 4), (None, 100), (Some(7), 1)] {
        let gap = Broken::Gap { expected: Version::new(5), found: Version::new(4) };
        assert_eq!(page(&world, &ada, before, limit).await, Err(gap));
    }
    world.put(&world.tables.events, fifth).await;
    // The end of the log shows only against the view.
    world.project(&ada).await;
    world.delete(&world.tables.events, key(&ada, &commit_key(9))).await;
    let cut = Broken::Gap { expected: Version::new(9), found: Version::new(8) };
    assert_eq!(page(&world, &ada, None, 5).await, Err(cut.clone()));
    assert_eq!(page(&world, &ada, Some(99), 5).await, Err(cut));
    assert_eq!(versions(&page(&world, &ada, Some(9), 2).await.unwrap()), [8, 7]);
}

#[tokio::test]
async fn a_commit_of_somebody_else_opens_in_nobodys_history() {
    let world = World::start().await;
    let ada = long_known(&world, 4).await;
    let eve = somebody("eve@example.com");
    let mut copied = world.commit(&ada, 4).await;
    copied.insert("item".to_owned(), crate::fixture::text(&commit_key(5)));
    world.put(&world.tables.events, copied).await;
    let error = page(&world, &ada, None, 3).await.unwrap_err();
    assert_eq!(error.version(), Some(Version::new(5)));
    let nobody: UserId = eve.user;
    assert!(
        world
            .store
            .load_acting(nobody, Some((domain::SessionId::new(crate::fixture::bits()), noon())))
            .await
            .unwrap()
            .is_none()
    );
}
