//! Mails of the local server: in the outbox, on its pages, and once.

use serde_json::{Value, json};

use crate::client::{ADA, Client, PASSWORD};
use crate::process::{CHEAP, Data, Server, entries, until};

/// An answer of a page, or of its JSON.
async fn page(server: &Server, path: &str, accept: &str) -> (u16, reqwest::header::HeaderMap, String) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.get(format!("{}{path}", server.url)).header("Accept", accept).send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone(), answer.text().await.unwrap())
}

async fn mails(server: &Server) -> Vec<Value> {
    let (status, _, text) = page(server, "/outbox", "application/json").await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Waits until so many mails are there, the last one first.
async fn arrived(server: &Server, how_many: usize) -> Vec<Value> {
    for _ in 0..6_000 {
        let mails = mails(server).await;
        if mails.len() >= how_many {
            return mails;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("in vain: {how_many} mails");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_brings_a_mail_into_the_outbox_that_its_pages_show() {
    let data = Data::new();
    let server = data.serve().await;
    assert!(server.out().contains(&format!("read them at {}/outbox\n", server.url)), "{}", server.out());
    let (status, _, empty) = page(&server, "/outbox", "text/html").await;
    assert!(status == 200 && empty.contains("There are no mails."), "{empty}");
    assert_eq!(mails(&server).await, [] as [Value; 0]);

    assert_eq!(Client::of(&server).register(ADA).await.status, 201);
    let mail = arrived(&server, 1).await.remove(0);
    assert_eq!((&mail["to"], &mail["from"]), (&json!(ADA), &json!("Annals <annals@localhost.localdomain>")));
    let (id, token) = (mail["id"].as_str().unwrap(), mail["token"].as_str().unwrap());
    assert_eq!(mail["link"], json!(format!("{}/outbox/verify#token={token}", server.url)));
    assert!(mail["text"].as_str().unwrap().contains(mail["link"].as_str().unwrap()));
    assert!(data.path().join(format!("outbox/{id}.eml")).exists());

    let (status, headers, list) = page(&server, "/outbox", "text/html").await;
    assert!(
        status == 200 && list.contains(ADA) && list.contains(&format!("href=\"/outbox/{id}\"")),
        "{list}"
    );
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );

    let (status, headers, shown) = page(&server, &format!("/outbox/{id}"), "text/html").await;
    assert_eq!(status, 200);
    assert!(headers["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"));
    assert!(shown.contains(&format!("href=\"{}\"", mail["link"].as_str().unwrap())), "{shown}");
    assert!(shown.contains(&format!("curl -s {}/email/verify", server.url)), "{shown}");
    assert!(shown.contains("sandbox=\"allow-popups allow-popups-to-escape-sandbox\""), "{shown}");
    assert!(!shown.contains("<script") && shown.contains("Please confirm"), "{shown}");
    let (_, _, one) = page(&server, &format!("/outbox/{id}"), "application/json").await;
    assert_eq!(serde_json::from_str::<Value>(&one).unwrap(), mail);

    let (status, headers, html) = page(&server, &format!("/outbox/{id}/html"), "text/html").await;
    assert!(status == 200 && html.contains("<a href="), "{html}");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("sandbox ") && !policy.contains("allow-scripts"), "{policy}");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    let (status, _, landing) = page(&server, "/outbox/verify", "text/html").await;
    assert!(status == 200 && landing.contains("/email/verify"), "{landing}");
    for missing in ["/outbox/1", "/outbox/..%2Fservice-keys", "/outbox/%2e%2e", "/outbox/1/html"] {
        assert_eq!(page(&server, missing, "text/html").await.0, 404, "{missing}");
    }
}

/// The request that a page says to send: its path and its body.
fn command_on(page: &str, server: &Server) -> (String, Value) {
    let page = page.replace("&#34;", "\"").replace("&#39;", "'");
    let (_, command) =
        page.split_once(&format!("<pre>curl -s {}", server.url)).unwrap_or_else(|| panic!("{page}"));
    let (path, rest) = command.split_once(" -H 'Content-Type: application/json' -d '").unwrap();
    (path.to_owned(), serde_json::from_str(rest.split_once('\'').unwrap().0).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_of_a_mail_says_to_send_does_what_the_mail_is_for() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    assert_eq!(client.register(ADA).await.status, 201);
    arrived(&server, 1).await;
    assert_eq!(client.try_post("/password/forgot", json!({ "email": ADA })).await.unwrap().status, 202);
    for mail in arrived(&server, 2).await.iter().rev() {
        let id = mail["id"].as_str().unwrap();
        let (_, _, shown) = page(&server, &format!("/outbox/{id}"), "text/html").await;
        let (path, mut body) = command_on(&shown, &server);
        assert_eq!(body["token"], mail["token"]);
        let landing = mail["link"].as_str().unwrap().strip_prefix(&server.url).unwrap();
        let (_, _, landing) = page(&server, landing.split('#').next().unwrap(), "text/html").await;
        let (landed, placeholder) = command_on(&landing, &server);
        let names = |body: &Value| body.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!((landed, names(&placeholder)), (path.clone(), names(&body)));
        for value in body.as_object_mut().unwrap().values_mut().filter(|value| *value == "A NEW PASSWORD") {
            *value = json!("battery of a third horse");
        }
        let answer = client.try_post(&path, body).await.unwrap();
        assert_eq!(answer.status, 204, "{path}: {answer:?}");
    }
    let signed_in = json!({"email": ADA, "password": "battery of a third horse"});
    assert_eq!(client.try_post("/login", signed_in).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_lies_where_it_is_said_and_links_point_where_it_is_said() {
    let (data, elsewhere) = (Data::new(), tempfile::tempdir().unwrap());
    let folder = elsewhere.path().join("mails");
    let mut command = data.command(&["serve", "--port", "0", "--argon2", CHEAP]);
    command.arg("--outbox").arg(&folder);
    command.args(["--links", "https://app.example.com/x", "--mail-from", "no-reply@example.com"]);
    let server = Server::start(command).await;
    assert_eq!(Client::of(&server).register(ADA).await.status, 201);
    let mail = arrived(&server, 1).await.remove(0);
    assert_eq!(mail["from"], json!("no-reply@example.com"));
    assert!(mail["link"].as_str().unwrap().starts_with("https://app.example.com/x/verify#token="), "{mail}");
    assert_eq!(entries(&folder), [format!("{}.eml", mail["id"].as_str().unwrap())]);
    assert!(!data.path().join("outbox").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_restart_nor_a_replay_sends_anything_again() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    for number in 0..3 {
        assert_eq!(client.register(&format!("user-{number}@example.com")).await.status, 201);
    }
    let sent = arrived(&server, 3).await;
    for command in [&["rebuild"][..], &["rebuild", "--restart"], &["repair"], &["verify"]] {
        assert_eq!(data.run(command).await.code, Some(0), "{command:?}");
    }
    assert_eq!(server.stop().await.code, Some(0));
    assert_eq!(data.run(&["rebuild"]).await.code, Some(0));
    // Even one that forgot how far it was, and reads all of the stream again.
    let before = std::fs::read_to_string(data.path().join("mail-stream.json")).unwrap();
    std::fs::remove_file(data.path().join("mail-stream.json")).unwrap();
    let server = data.serve().await;
    let caught_up =
        || std::fs::read_to_string(data.path().join("mail-stream.json")).is_ok_and(|now| now == before);
    until("a mailer that has read the stream again", caught_up).await;
    assert_eq!(mails(&server).await, sent);
    assert_eq!(server.stop().await.code, Some(0));

    // Nor a restore, even together with that.
    assert_eq!(data.run(&["restore"]).await.code, Some(0));
    std::fs::remove_file(data.path().join("mail-stream.json")).unwrap();
    let server = data.serve().await;
    assert_eq!(Client::of(&server).register(ADA).await.status, 201);
    let mails = arrived(&server, 4).await;
    assert_eq!(mails[1..], sent[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_of_a_server_that_was_killed_comes_after_the_next_start() {
    let data = Data::new();
    let mut addresses = Vec::new();
    for round in 0..6 {
        let server = data.serve().await;
        let client = Client::of(&server);
        for number in 0..4 {
            let address = format!("user-{round}-{number}@example.com");
            assert_eq!(client.register(&address).await.status, 201);
            addresses.push(address);
        }
        // Wherever the mailer is by now.
        server.kill();
    }
    let server = data.serve().await;
    let mut told = Vec::new();
    // A claim that a kill left behind is waited for.
    for _ in 0..6_000 {
        told = mails(&server).await.iter().map(|mail| mail["to"].as_str().unwrap().to_owned()).collect();
        told.sort();
        told.dedup();
        if told.len() == addresses.len() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(told, addresses);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_does_not_get_through_delays_nothing_else() {
    let data = Data::new();
    let nobody = testkit::Nobody::new();
    let mut command = data.command(&["serve", "--port", "0", "--argon2", CHEAP]);
    command.env("ANNALS_SMTP", format!("smtp://{}", nobody.address()));
    let server = Server::start(command).await;
    assert!(server.out().contains("Mails are sent by SMTP.\n"), "{}", server.out());
    assert_eq!(page(&server, "/outbox", "text/html").await.0, 404);
    assert_eq!(Client::of(&server).register(ADA).await.status, 201);
    until("a mail that is tried", || server.err().contains("mails are left for later")).await;
    let log = server.err();
    assert!(!log.contains(ADA) && !log.contains(PASSWORD), "{log}");
    let stopped = server.stop().await;
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let rebuilt = data.run(&["rebuild", "--dry-run", "--json"]).await.json();
    assert_eq!((&rebuilt["users"], &rebuilt["equal"]), (&json!(1), &json!(1)), "{rebuilt}");

    // With nobody to send it by, it comes into the outbox.
    let server = data.serve().await;
    assert_eq!(arrived(&server, 1).await[0]["to"], json!(ADA));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_for_mail_that_is_none_is_refused_without_showing_its_password() {
    let data = Data::new();
    let wrong = "smtp://ada:s3cret@mail.example.com/path";
    let mut command = data.command(&["serve", "--port", "0"]);
    command.env("ANNALS_SMTP", wrong);
    let refused = crate::process::run(command).await;
    refused.is_refused("ANNALS_SMTP must be smtps://");
    let option = data.run(&["serve", "--port", "0", "--smtp", wrong]).await;
    option.is_refused("--smtp must be smtps://");
    assert!(!refused.err.contains("s3cret") && !option.err.contains("s3cret"), "{refused:?} {option:?}");
}
