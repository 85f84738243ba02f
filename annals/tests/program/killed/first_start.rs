use std::path::Path;
use std::time::{Duration, Instant};

use super::{Home, Random};
use crate::client::{ADA, Client};

const KEYS: &str = "service-keys.json";
const DATA: &str = "dynamodb.sqlite";
/// The data while their tables are made.
const UNFINISHED: &str = "dynamodb.sqlite.new";

/// What the first start had come to when it was killed.
#[derive(Debug, Default)]
struct Stages {
    nothing: u32,
    keys: u32,
    data: u32,
}

/// Kills a first start at a random moment within this time of its beginning, or of the appearance of one of these.
fn kill_first_start(home: &Home, awaited: &[&str], within: Duration, random: &mut Random) {
    let mut command = home.serve();
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let paths: Vec<_> = awaited.iter().map(|name| home.data.path().join(name)).collect();
    while !paths.is_empty() && !paths.iter().any(|path| path.exists()) {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before any of {awaited:?} was there");
        std::thread::yield_now();
    }
    std::thread::sleep(random.within_ms(u64::try_from(within.as_millis()).unwrap()));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The deployment that the keys in a folder are of: they are there whole, and open to their owner only, or not at all.
fn deployment(folder: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join(KEYS);
    let text = std::fs::read(&path).ok()?;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let keys: serde_json::Value = serde_json::from_slice(&text).expect("half of the keys");
    let mut names: Vec<&String> = keys.as_object().unwrap().keys().collect();
    names.sort();
    let all = [
        "deployment",
        "identifiers",
        "one_time",
        "pepper",
        "refresh",
        "signing",
        "verifiers",
        "views",
        "wrapping",
    ];
    assert_eq!(names, all);
    Some(keys["deployment"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_is_killed_at_any_moment_is_followed_by_one_that_succeeds() {
    let mut random = Random::seeded("first start");
    let mut stages = Stages::default();
    // How long a first start takes here and now.
    let began = Instant::now();
    Home::new().start().await.kill();
    let whole = began.elapsed();
    for round in 0..30 {
        let home = Home::new();
        let mut before = None;
        // Once or twice: the second start finds what the first one left.
        for _ in 0..=random.below(2) {
            let (awaited, within): (&[&str], _) = match round % 4 {
                0 => (&[], whole / 2),
                1 => (&[KEYS], whole / 8),
                2 => (&[UNFINISHED, DATA], whole),
                _ => (&[DATA], whole / 2),
            };
            kill_first_start(&home, awaited, within, &mut random);
            let found = home.data.path().exists().then(|| deployment(&home.data.path())).flatten();
            let has_data = home.data.path().join(DATA).exists();
            assert!(found.is_some() || !has_data, "data that no keys open");
            assert!(before.is_none() || before == found, "the keys were replaced");
            match (&found, has_data) {
                (None, _) => stages.nothing += 1,
                (Some(_), false) => stages.keys += 1,
                (Some(_), true) => stages.data += 1,
            }
            before = found;
        }

        let server = home.start().await;
        let client = Client::of(&server);
        let kept = deployment(&home.data.path());
        assert!(kept.is_some() && (before.is_none() || before == kept), "the keys were replaced");
        // Everything is there: the tables, the streams, the index of the parked.
        let user = client.populate([ADA.to_owned()]).await;
        assert_eq!(home.verified().await, (1, 2), "round {round}");
        server.kill();
        let server = home.start().await;
        let signed_in = Client::of(&server).login(ADA).await;
        assert_eq!(signed_in.text_of("user_id"), user[0], "round {round}");
        assert_eq!(deployment(&home.data.path()), kept);
    }
    println!("{stages:?}");
    assert!(stages.data > 0 && stages.keys > 0, "every kill came too early or too late: {stages:?}");
}
