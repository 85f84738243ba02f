use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{ADA, Client, PASSWORD, emails};
use crate::process::{CHEAP, Data, Server, entries, program, until};

async fn stops_gracefully_by(signal: &str) {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    client.populate(emails(5)).await;

    // A registration that is under way: the server has begun to read its body.
    let mut under_way = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let body = format!(r#"{{"email":"{ADA}","password":"{PASSWORD}"}}"#);
    let head = format!(
        "POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    under_way.write_all(head.as_bytes()).await.unwrap();
    let mut read_on = [0; 25];
    under_way.read_exact(&mut read_on).await.unwrap();
    assert_eq!(&read_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    server.signal(signal);
    until("a server that takes no more", || std::net::TcpStream::connect(server.address()).is_err()).await;
    under_way.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    under_way.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");

    let ended = server.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.err.contains("ERROR"), "{ended:?}");
    assert!(!data.path().join("engine.url").exists());
    // Nothing is left to a projector that does not run: it holds at once.
    let dry_run = data.run(&["rebuild", "--dry-run", "--json"]).await.json();
    assert_eq!((&dry_run["users"], &dry_run["equal"]), (&6.into(), &6.into()), "{dry_run}");
    let verified = data.run(&["verify", "--json"]).await;
    assert_eq!((verified.code, &verified.json()["events"]), (Some(0), &11.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_requests_and_projection_finish() {
    stops_gracefully_by("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_lets_requests_and_projection_finish() {
    stops_gracefully_by("INT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_server_at_once() {
    for (first, second, code) in [("TERM", "INT", 130), ("INT", "TERM", 143), ("TERM", "TERM", 143)] {
        let data = Data::new();
        let server = data.serve().await;
        // A request that never comes to its end, for which the server would wait.
        let mut under_way = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let head = "POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                    Content-Length: 9\r\nExpect: 100-continue\r\n\r\n";
        under_way.write_all(head.as_bytes()).await.unwrap();
        under_way.read_exact(&mut [0; 25]).await.unwrap();

        server.signal(first);
        until("a server that takes no more", || std::net::TcpStream::connect(server.address()).is_err())
            .await;
        server.signal(second);
        let ended = server.ended().await;
        assert_eq!(ended.code, Some(code), "{first}, {second}: {ended:?}");
        // As after a kill: the next one finds everything in order.
        assert_eq!(data.run(&["verify"]).await.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_on_which_nothing_happens_do_not_hold_the_end_up() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    assert_eq!(client.get("/health").await.status, 200, "a connection is kept for the next request");
    let _silent = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let stopped = std::time::Instant::now();
    assert_eq!(server.stop().await.code, Some(0));
    assert!(stopped.elapsed().as_secs() < 5, "{:?}", stopped.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_memory_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["serve", "--memory", "--port", "0", "--argon2", CHEAP]).env("TMPDIR", temporary.path());
    let server = Server::start(command).await;
    assert!(!entries(temporary.path()).is_empty(), "the data are somewhere");
    assert_eq!(Client::of(&server).register(ADA).await.status, 201);
    let ended = server.stop().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(entries(temporary.path()), [""; 0]);
}
