use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::process::{Data, Server};

/// The answer to exactly these octets.
async fn answer_to(server: &Server, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn with_hosts(server: &Server, hosts: &[&str]) -> String {
    let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
    answer_to(server, &format!("GET /health HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n")).await
}

#[track_caller]
fn is_misdirected(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&problem["type"], &problem["status"]),
        (&"urn:annals:problem:misdirected".into(), &421.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_answers_to_the_names_of_this_machine_at_any_port_and_to_no_other() {
    let server = Data::new().serve().await;
    let own = server.address().to_owned();
    // Another port is where a tunnel or a container puts this one.
    for host in [
        own.as_str(),
        "localhost",
        "LocalHost",
        "127.0.0.1",
        "[::1]",
        "localhost:1",
        "127.0.0.1:65535",
        "[::1]:80",
    ] {
        let answer = with_hosts(&server, &[host]).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    for host in [
        "example.com",
        "localhost.example.com",
        "127.0.0.1.nip.io",
        "127.0.0.2",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[::]",
        "::1",
        "127.1",
        "2130706433",
        "localhost.",
        "",
        "a b",
        "localhost/",
        "localhost, example.com",
        "localh\u{f6}st",
    ] {
        is_misdirected(&with_hosts(&server, &[host]).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_missing_or_said_twice_is_no_host() {
    let server = Data::new().serve().await;
    is_misdirected(&with_hosts(&server, &[]).await);
    is_misdirected(&with_hosts(&server, &["localhost", "localhost"]).await);
    is_misdirected(&with_hosts(&server, &["localhost", "example.com"]).await);
    let absolute = "GET http://example.com/health HTTP/1.1\r\nConnection: close\r\n\r\n";
    is_misdirected(&answer_to(&server, absolute).await);
}
