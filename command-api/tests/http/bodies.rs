//! Bodies as a whole: what is not one JSON object of at most 16 KiB.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use axum::body::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::{BodyStream, Full, StreamBody};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{ADA, App, PASSWORD};

const ROUTES: [&str; 3] = ["/register", "/login", "/token/refresh"];

fn good(route: &str) -> Value {
    match route {
        "/token/refresh" => json!({"refresh_token": "k.a.b"}),
        _ => json!({"email": ADA, "password": PASSWORD}),
    }
}

/// A good body, padded with white space to so many octets.
fn padded(route: &str, octets: usize) -> String {
    let mut text = good(route).to_string();
    text.push_str(&" ".repeat(octets - text.len()));
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_json_is_refused() {
    let app = App::start().await;
    let deep = format!("{{\"email\":{}", "[".repeat(10_000));
    let bodies: [&[u8]; 17] = [
        b"",
        b" ",
        b"{",
        b"email=ada%40example.com",
        b"{\"email\":\"ada@example.com\"} {}",
        b"{\"email\":\"ada@example.com\"}\0",
        b"{\"email\":\"ada@example.com\",}",
        b"{email:\"ada@example.com\"}",
        b"{'email':'ada@example.com'}",
        b"{\"email\":\"\\ud800\"}",
        b"{\"email\":\"\\udc00\\ud800\"}",
        b"{\"\\ud800\":\"\"}",
        b"{\"email\":\"\xff\"}",
        b"{\"email\":\"\xed\xa0\x80\"}",
        b"{\"email\":\"a\nb\"}",
        b"\xef\xbb\xbf{\"email\":\"ada@example.com\"}",
        deep.as_bytes(),
    ];
    for route in ROUTES {
        for body in bodies {
            let answer = app.post_octets(route, body.to_vec()).await;
            assert_eq!(answer.status, 400, "{route} {:?}: {answer:?}", String::from_utf8_lossy(body));
            answer.is_problem(400, "not-json");
        }
        let none =
            app.send(app.request(Method::POST, route).header("content-type", "application/json")).await;
        none.is_problem(400, "not-json");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_no_object_is_not_acceptable() {
    let app = App::start().await;
    for route in ROUTES {
        for body in ["[]", "[{}]", "\"text\"", "1", "true", "null"] {
            let answer = app.post_octets(route, body).await;
            answer.is_problem(422, "invalid");
            assert_eq!(answer.json()["errors"], json!([{"field": "", "detail": "must be a JSON object"}]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_at_most_sixteen_kibibytes() {
    let app = App::start().await;
    for route in ROUTES {
        let fits = app.post_octets(route, padded(route, 16 * 1024)).await;
        assert_ne!(fits.status, 413, "{fits:?}");
        for octets in [16 * 1024 + 1, 17 * 1024, 10_000_000] {
            app.post_octets(route, padded(route, octets)).await.is_problem(413, "too-large");
        }
        // Whatever it holds, and whatever it says it is.
        app.post_octets(route, vec![0xff; 10_000_000]).await.is_problem(413, "too-large");
        let form = app.request(Method::POST, route).body(vec![b'x'; 17 * 1024]);
        app.send(form).await.is_problem(413, "too-large");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_length_has_the_same_limit() {
    let app = App::start().await;
    for (chunks, status) in [(16, 401), (17, 413), (10_000, 413)] {
        let first = padded("/login", 1024);
        let chunks = std::iter::once(first).chain(std::iter::repeat_n(" ".repeat(1024), chunks - 1));
        let chunks = stream::iter(chunks).flat_map(|chunk| BodyStream::new(Full::new(Bytes::from(chunk))));
        let body = reqwest::Body::wrap(StreamBody::new(chunks));
        let answer = app.post_octets("/login", body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_not_acted_on() {
    let app = App::start().await;
    let (address, body) = (app.address, good("/register").to_string());
    let sent = move || {
        let mut connection = TcpStream::connect(address).unwrap();
        let head = "POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        let chunk = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\nno length\r\n", body.len());
        connection.write_all(format!("{head}{chunk}").as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = tokio::task::spawn_blocking(sent).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("urn:annals:problem:not-json"), "{answer}");
    assert!(app.items(&app.tables.events).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_asked_for_does_no_harm() {
    let app = App::start().await;
    app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    let large = || vec![b'x'; 10_000_000];
    let sent = |method, path| app.request(method, path).bearer_auth(&token).body(large());
    app.send(sent(Method::POST, "/nowhere")).await.is_problem(404, "not-found");
    app.send(sent(Method::POST, "/me")).await.is_problem(405, "method-not-allowed");
    assert_eq!(app.send(sent(Method::GET, "/me")).await.status, 200);
    let anonymous = app.request(Method::POST, "/logout").body(large());
    app.send(anonymous).await.is_problem(401, "no-token");
    assert_eq!(app.send(sent(Method::POST, "/logout")).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_json_is_taken() {
    let app = App::start().await;
    app.register().await;
    let body = json!({"email": ADA, "password": PASSWORD}).to_string();
    let sent =
        |kind: &str| app.request(Method::POST, "/login").header("content-type", kind).body(body.clone());
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/problem+json",
        "application/jsonp",
        "text/json",
        "text/plain; application/json",
        "",
    ] {
        let answer = app.send(sent(kind)).await;
        assert_eq!(answer.status, 415, "{kind}: {answer:?}");
        answer.is_problem(415, "unsupported-media-type");
    }
    let none = app.request(Method::POST, "/login").body(body.clone());
    app.send(none).await.is_problem(415, "unsupported-media-type");
    for kind in
        ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x=y"]
    {
        assert_eq!(app.send(sent(kind)).await.status, 200, "{kind}");
    }
}
