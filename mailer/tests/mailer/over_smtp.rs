//! Mail by SMTP, to a server of the test's own that says what the test wants.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailer::Transport;
use testkit::Nobody;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::ground::{ADA, Ground, batch, failed, second};

const NONE: [&str; 0] = [];

/// A server that takes mail, but answers commands that begin like this with that.
#[derive(Clone, Default)]
pub(crate) struct Server {
    refusals: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
    /// Every line that a client sent.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Listens; the port.
    pub(crate) async fn listen(&self) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(server.clone().converse(client));
            }
        });
        port
    }

    pub(crate) fn refuse(&self, command: &'static str, answer: &'static str) {
        self.refusals.lock().unwrap().push((command, answer));
    }

    pub(crate) fn relents(&self) {
        self.refusals.lock().unwrap().clear();
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn commands(&self) -> Vec<String> {
        let first = |line: &String| line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        self.heard().iter().map(first).collect()
    }

    async fn converse(self, client: TcpStream) {
        let (from, mut to) = client.into_split();
        let mut lines = BufReader::new(from).lines();
        to.write_all(b"220 mail.example.com\r\n").await.unwrap();
        let mut in_mail = false;
        while let Ok(Some(line)) = lines.next_line().await {
            self.heard.lock().unwrap().push(line.clone());
            let refused = {
                let refusals = self.refusals.lock().unwrap();
                let fits = |(command, _): &&(&str, _)| line.starts_with(command) && (!in_mail || line == ".");
                refusals.iter().find(fits).map(|(_, answer)| *answer)
            };
            let usual = match line.as_str() {
                "." if in_mail => "250 taken",
                _ if in_mail => continue,
                "DATA" => "354 go on",
                "QUIT" => "221 farewell",
                line if line.starts_with("EHLO") => "250-mail.example.com\r\n250 AUTH PLAIN",
                line if line.starts_with("AUTH") => "235 welcome",
                _ => "250 yes",
            };
            let answer = refused.unwrap_or(usual);
            if answer.is_empty() {
                continue;
            }
            in_mail = answer == "354 go on";
            if to.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn mailed(url: impl FnOnce(u16) -> String) -> (Ground, Server, mailer::Mailer) {
    let (ground, server) = (Ground::new().await, Server::default());
    let port = server.listen().await;
    let mailer = ground.mailer_over(Transport::Smtp(url(port).parse().unwrap()));
    (ground, server, mailer)
}

pub(crate) fn plain(port: u16) -> String {
    format!("smtp://127.0.0.1:{port}")
}

#[tokio::test]
async fn a_mail_is_handed_over_as_it_stands_once() {
    let (ground, server, mailer) = mailed(plain).await;
    let ada = ground.registered(ADA).await;
    for _ in 0..2 {
        assert_eq!(failed(&mailer::handle(&mailer, batch(&[(ada, 1)]), second(2)).await), NONE);
    }
    let heard = server.heard();
    let said = |line: &str| heard.iter().filter(|heard| *heard == line).count();
    assert_eq!(said("MAIL FROM:<no-reply@example.com>"), 1, "{heard:?}");
    assert_eq!(said("RCPT TO:<ada@example.com>"), 1, "{heard:?}");
    assert_eq!(said("To: ada@example.com"), 1, "{heard:?}");
    assert_eq!(said("Auto-Submitted: auto-generated"), 1, "{heard:?}");
    assert_eq!(said("."), 1, "{heard:?}");
    assert!(heard.iter().all(|line| line.is_ascii()));
}

#[tokio::test]
async fn what_the_server_refuses_of_a_recipient_or_a_mail_for_good_is_not_tried_again() {
    for (command, answer) in
        [("RCPT", "550 5.1.1 <ada@example.com> is unknown"), (".", "554 5.7.1 not this one")]
    {
        let (ground, server, mailer) = mailed(plain).await;
        let ada = ground.registered(ADA).await;
        server.refuse(command, answer);
        for _ in 0..2 {
            assert_eq!(
                failed(&mailer::handle(&mailer, batch(&[(ada, 1)]), second(2)).await),
                NONE,
                "{answer}"
            );
        }
        let rcpts = server.commands().iter().filter(|command| *command == "RCPT").count();
        assert_eq!(rcpts, 1, "{answer}: {:?}", server.heard());
    }
}

#[tokio::test]
async fn what_is_about_the_server_or_about_us_or_may_pass_is_tried_again() {
    let credentials = |port| format!("smtp://ada:s3cr%25t@127.0.0.1:{port}");
    for (command, answer) in [
        ("EHLO", "554 5.3.2 not from there"),
        ("AUTH", "535 5.7.8 wrong password"),
        ("MAIL", "553 5.7.1 not from you"),
        ("RCPT", "450 4.2.1 come again"),
        ("DATA", "451 4.3.0 come again"),
        (".", "452 4.3.1 full"),
    ] {
        let (ground, server, mailer) = mailed(credentials).await;
        let ada = ground.registered(ADA).await;
        server.refuse(command, answer);
        assert_eq!(failed(&mailer::handle(&mailer, batch(&[(ada, 1)]), second(2)).await), ["1"], "{answer}");
        server.relents();
        assert_eq!(failed(&mailer::handle(&mailer, batch(&[(ada, 1)]), second(2)).await), NONE, "{answer}");
        assert_eq!(server.heard().last().map(String::as_str), Some("QUIT"));
        let login = STANDARD.encode("\0ada\0s3cr%t");
        assert!(server.heard().contains(&format!("AUTH PLAIN {login}")), "{:?}", server.heard());
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again() {
    let (ground, server) = (Ground::new().await, Server::default());
    let ada = ground.registered(ADA).await;
    let nobody = Nobody::new();
    let nowhere = plain(nobody.address().port()).parse().unwrap();
    let nowhere = ground.mailer_over(Transport::Smtp(nowhere));
    assert_eq!(failed(&mailer::handle(&nowhere, batch(&[(ada, 1)]), second(2)).await), ["1"]);
    let there = plain(server.listen().await).parse().unwrap();
    let there = ground.mailer_over(Transport::Smtp(there));
    assert_eq!(failed(&mailer::handle(&there, batch(&[(ada, 1)]), second(2)).await), NONE);
}

#[tokio::test]
async fn neither_password_nor_mail_is_given_to_a_server_without_tls_where_it_is_required() {
    let required = |port| format!("smtp://ada:secret@127.0.0.1:{port}?tls=required");
    let (ground, server, mailer) = mailed(required).await;
    let ada = ground.registered(ADA).await;
    assert_eq!(failed(&mailer::handle(&mailer, batch(&[(ada, 1)]), second(2)).await), ["1"]);
    assert_eq!(server.commands(), ["EHLO"]);
}

#[tokio::test]
async fn a_server_that_has_taken_a_mail_and_says_no_farewell_is_not_given_it_again() {
    let (ground, server, mailer) = mailed(plain).await;
    let ada = ground.registered(ADA).await;
    server.refuse("QUIT", "");
    for _ in 0..2 {
        assert_eq!(failed(&mailer::handle(&mailer, batch(&[(ada, 1)]), second(2)).await), NONE);
    }
    assert_eq!(server.heard().iter().filter(|line| *line == ".").count(), 1);
}
