#[cfg(target_os = "linux")]
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
#[cfg(target_os = "linux")]
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use annals::local::engine::{EngineError, LocalEngine, Tidied};
use aws_sdk_dynamodb::types::AttributeValue;

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

async fn put(engine: &LocalEngine, item: &str) {
    let put = engine.client().put_item().table_name(engine.tables().events);
    put.item("user", text("ada")).item("item", text(item)).send().await.unwrap();
}

async fn items(engine: &LocalEngine) -> i32 {
    engine.client().scan().table_name(engine.tables().events).send().await.unwrap().count()
}

fn data_file(data: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(data.join("dynamodb.sqlite")).unwrap()
}

fn stream_records(data: &Path) -> i64 {
    data_file(data).query_row("SELECT COUNT(*) FROM _stream_records", [], |row| row.get(0)).unwrap()
}

async fn attach(data: &Path) -> Result<LocalEngine, EngineError> {
    LocalEngine::attach_or_open(data, Duration::from_mins(1), || ()).await
}

#[tokio::test]
async fn what_was_written_is_there_after_a_stop_and_a_start() {
    let data = tempfile::tempdir().unwrap();
    let engine = LocalEngine::open(data.path()).await.unwrap();
    put(&engine, "commit-0000000001").await;
    engine.stop().await;
    assert!(!data.path().join("engine.url").exists());

    let engine = LocalEngine::open(data.path()).await.unwrap();
    assert_eq!(items(&engine).await, 1);
}

#[tokio::test]
async fn what_a_killed_first_start_left_unfinished_is_thrown_away() {
    let data = tempfile::tempdir().unwrap();
    for rest in ["", "-wal", "-shm"] {
        std::fs::write(data.path().join(format!("dynamodb.sqlite.new{rest}")), "half of a table").unwrap();
    }
    assert!(!LocalEngine::has_data(data.path()));
    let engine = LocalEngine::open(data.path()).await.unwrap();
    put(&engine, "commit-0000000001").await;
    assert_eq!(items(&engine).await, 1);
    let mut left = std::fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.any(|name| name.to_string_lossy().contains(".new")));
}

#[tokio::test]
async fn data_in_use_is_refused_to_a_second_engine_by_name() {
    let data = tempfile::tempdir().unwrap();
    let _engine = LocalEngine::open(data.path()).await.unwrap();
    let refused = LocalEngine::open(data.path()).await.unwrap_err();
    assert!(matches!(refused, EngineError::DataInUse(folder) if folder == data.path()));
}

#[tokio::test]
async fn a_command_uses_the_engine_of_the_server_beside_it() {
    let data = tempfile::tempdir().unwrap();
    let server = LocalEngine::open(data.path()).await.unwrap();
    put(&server, "commit-0000000001").await;

    let command = attach(data.path()).await.unwrap();
    assert!(!command.is_own());
    assert_eq!(items(&command).await, 1);
    command.stop().await;
    assert_eq!(items(&server).await, 1, "the end of a command leaves the server alone");
}

#[tokio::test]
async fn a_command_waits_for_another_and_says_so_and_gives_up_in_the_end() {
    let data = tempfile::tempdir().unwrap();
    let first = attach(data.path()).await.unwrap();
    assert!(first.is_own());
    let mut told = 0;
    let within = Duration::from_millis(1_200);
    let refused = LocalEngine::attach_or_open(data.path(), within, || told += 1).await.unwrap_err();
    assert!(matches!(refused, EngineError::DataInUse(folder) if folder == data.path()));
    assert_eq!(told, 1);

    let second = async { attach(data.path()).await.unwrap() };
    let (second, ()) = tokio::join!(second, first.stop());
    assert!(second.is_own());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_engine_listens_where_only_the_owner_of_the_folder_knows() {
    let data = tempfile::tempdir().unwrap();
    let engine = LocalEngine::open(data.path()).await.unwrap();
    let other = LocalEngine::memory().await.unwrap();
    let address = |engine: &LocalEngine| -> SocketAddrV4 {
        engine.endpoint().strip_prefix("http://").unwrap().parse().unwrap()
    };
    let (one, another) = (address(&engine), address(&other));
    assert_ne!(one.ip(), another.ip());
    for address in [one, another] {
        assert!(address.ip().is_loopback() && address.ip().octets()[1] != 0, "{address}");
    }
    // Where a page would look, nobody answers; unless somebody else has the same port there, as seldom happens.
    let mut tries = 0;
    loop {
        let engine = LocalEngine::memory().await.unwrap();
        let port = address(&engine).port();
        let known = [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED];
        if known.iter().all(|known| TcpStream::connect((*known, port)).is_err()) {
            break;
        }
        tries += 1;
        assert!(tries < 5, "at the same port, every time");
    }
    let file = std::fs::metadata(data.path().join("engine.url")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_command_that_meets_a_starting_server_waits_for_its_address() {
    let data = tempfile::tempdir().unwrap();
    let server = LocalEngine::open(data.path()).await.unwrap();
    let address = data.path().join("engine.url");
    let known = std::fs::read_to_string(&address).unwrap();
    // As it is between the lock and the address of a server that is starting, its predecessor having been killed.
    let nobody = testkit::Nobody::new();
    std::fs::write(&address, format!("http://{}", nobody.address())).unwrap();

    let announced = async {
        tokio::task::yield_now().await;
        std::fs::write(&address, &known).unwrap();
    };
    let (command, ()) = tokio::join!(attach(data.path()), announced);
    assert_eq!(command.unwrap().endpoint(), server.endpoint());
}

#[tokio::test]
async fn an_address_left_behind_by_a_killed_server_is_not_believed() {
    let data = tempfile::tempdir().unwrap();
    let engine = LocalEngine::open(data.path()).await.unwrap();
    let left = engine.endpoint().to_owned();
    engine.stop().await;
    // Somebody else has the port by now, and answers.
    let port = left.strip_prefix("http://").unwrap();
    let _stranger = std::net::TcpListener::bind(port).unwrap();
    std::fs::write(data.path().join("engine.url"), &left).unwrap();

    let engine = attach(data.path()).await.unwrap();
    assert!(engine.is_own());
    assert_eq!(items(&engine).await, 0);
    assert!(!data.path().join("engine.url").exists(), "a command keeps its engine to itself");
}

#[tokio::test]
async fn the_search_for_the_last_sequence_number_uses_an_index() {
    let data = tempfile::tempdir().unwrap();
    let _engine = LocalEngine::open(data.path()).await.unwrap();
    // The engine's own query, as in `next_stream_sequence_number`.
    let plan: String = data_file(data.path())
        .query_row(
            "EXPLAIN QUERY PLAN SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1
             FROM _stream_records WHERE table_name = ?1",
            ["annals-events"],
            |row| row.get("detail"),
        )
        .unwrap();
    assert!(plan.contains("annals_stream_records_by_sequence"), "{plan}");
}

#[tokio::test]
async fn a_page_of_a_segment_of_the_log_uses_an_index_and_is_not_sorted() {
    let data = tempfile::tempdir().unwrap();
    let _engine = LocalEngine::open(data.path()).await.unwrap();
    // The engine's own query for a page of a scan in segments, as in `scan_items`.
    let file = data_file(data.path());
    let mut plan = file
        .prepare(
            "EXPLAIN QUERY PLAN SELECT pk, sk, item_json FROM \"annals-events\"
             WHERE (hash_prefix, pk, sk) > (?3, ?1, ?2) AND substr(hash_prefix, 1, 3) >= ?4
             AND substr(hash_prefix, 1, 3) <= ?5 ORDER BY hash_prefix ASC, pk ASC, sk ASC LIMIT 2000",
        )
        .unwrap();
    let steps: Vec<String> = plan
        .query_map(["S:ada", "S:vault", "abcdef", "000", "7ff"], |row| row.get("detail"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert!(steps[0].contains("SEARCH") && steps[0].contains("annals-events-by-segment"), "{steps:?}");
}

#[tokio::test]
async fn stream_records_are_removed_after_a_day() {
    let data = tempfile::tempdir().unwrap();
    let engine = LocalEngine::open(data.path()).await.unwrap();
    // More than are removed at once.
    for number in 1..=600 {
        put(&engine, &format!("commit-{number:010}")).await;
    }
    let day = Duration::from_hours(24);
    let kept = engine.tidy(SystemTime::now() + day - Duration::from_mins(10)).await.unwrap();
    assert_eq!(kept, Tidied { expired_items: 0, old_records: 0 });

    let tidied = engine.tidy(SystemTime::now() + day + Duration::from_mins(1)).await.unwrap();
    assert_eq!(tidied.old_records, 600);
    assert_eq!(stream_records(data.path()), 0);

    put(&engine, "commit-0000000601").await;
    assert_eq!(stream_records(data.path()), 1, "the stream goes on");
    assert_eq!(items(&engine).await, 601, "the log is untouched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_removed_while_commits_are_written() {
    let data = tempfile::tempdir().unwrap();
    let engine = LocalEngine::open(data.path()).await.unwrap();
    let later = SystemTime::now() + Duration::from_hours(48);
    let writing = futures::future::join_all((0..4).map(|writer| {
        let engine = &engine;
        async move {
            for number in 0..50 {
                put(engine, &format!("commit-{writer}-{number}")).await;
            }
        }
    }));
    let tidying = async {
        let mut removed = 0;
        while removed < 50 {
            removed += engine.tidy(later).await.unwrap().old_records;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), futures::future::join(writing, tidying)).await.unwrap();
    assert_eq!(items(&engine).await, 200, "every write was answered and is there");
}

#[tokio::test]
async fn expired_items_are_removed() {
    let engine = LocalEngine::memory().await.unwrap();
    let client = engine.client();
    let sessions = engine.tables().sessions;
    for (item, expires) in [("session-old", "1000000000"), ("session-new", "99999999999")] {
        let put = client.put_item().table_name(&sessions).item("user", text("ada")).item("item", text(item));
        put.item("expires", AttributeValue::N(expires.to_owned())).send().await.unwrap();
    }
    assert_eq!(engine.tidy(SystemTime::now()).await.unwrap().expired_items, 1);
    let left = client.scan().table_name(&sessions).send().await.unwrap();
    assert_eq!(left.items()[0]["item"], text("session-new"));
}

#[tokio::test]
async fn an_engine_in_memory_leaves_nothing_behind() {
    let engine = LocalEngine::memory().await.unwrap();
    put(&engine, "commit-0000000001").await;
    let folders = || {
        std::fs::read_dir(std::env::temp_dir()).unwrap().filter_map(|entry| {
            let path = entry.ok()?.path();
            (std::fs::read_to_string(path.join("engine.url")).ok()? == engine.endpoint()).then_some(path)
        })
    };
    let folder = folders().next().unwrap();
    engine.stop().await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = LocalEngine::open(&file.join("data")).await.unwrap_err();
    assert!(matches!(refused, EngineError::Folder(folder, _) if folder == file.join("data")));
}

#[tokio::test]
async fn a_file_that_is_not_the_engines_is_refused_and_left_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("dynamodb.sqlite");
    let text = "not a database, but long enough to be looked at as one".repeat(100);
    std::fs::write(&file, &text).unwrap();
    let refused = LocalEngine::open(data.path()).await.unwrap_err();
    assert!(matches!(refused, EngineError::Data(..)), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}
