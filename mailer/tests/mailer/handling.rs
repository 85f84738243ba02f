//! Once, whatever comes and breaks: batches, faults, and what cannot be read.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use domain::Version;
use futures::future::join_all;
use serde_json::json;
use storage::{Claimed, MailClaims};
use testkit::Fault;

use crate::ground::{ADA, Ground, batch, commit_key, failed, id, key, noon, records, second};

const NONE: [&str; 0] = [];

#[tokio::test]
async fn duplicated_reordered_and_simultaneous_batches_send_each_mail_once() {
    let ground = Ground::new().await;
    let ada = ground.registered(ADA).await;
    let bob = ground.registered("bob@example.com").await;
    let disabled = ground.append(ada, 2, &[json!({"UserPasswordDisabled": {"attempt": 100}})]).await;
    let commits = [(bob, 1), disabled, (ada, 1), (ada, 1), (bob, 1), disabled];
    // Whoever meets the claim of another says so: the stream sends that batch again.
    let at_once = (0..10).map(|_| ground.handle(&commits, second(2)));
    join_all(at_once).await;
    assert_eq!(failed(&ground.handle(&commits, second(3)).await), NONE);
    let mut sent: Vec<_> = ground.mails().into_iter().map(|mail| (mail.to, mail.subject)).collect();
    sent.sort();
    let subjects: Vec<_> = sent.iter().map(|(to, subject)| (to.as_str(), subject.as_str())).collect();
    assert_eq!(
        subjects,
        [
            (ADA, "Please confirm your e-mail address"),
            (ADA, "Your password was disabled"),
            ("bob@example.com", "Please confirm your e-mail address"),
        ]
    );
}

#[tokio::test]
async fn the_earliest_record_whose_mail_was_not_delivered_is_reported_and_comes_again() {
    let ground = Ground::new().await;
    let (ada, bob) = (ground.registered(ADA).await, ground.registered("bob@example.com").await);
    ground.handle(&[(ada, 1)], second(1)).await;
    let folder = ground.folder.path().join("outbox");
    let aside = ground.folder.path().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    let signed_in = json!({"UserEndedOtherSessions": {"ended": [id()]}});
    let silent = ground.append(ada, 2, &[signed_in]).await;
    let eve = ground.registered("eve@example.com").await;
    let commits = [(ada, 1), silent, (bob, 1), (eve, 1)];
    assert_eq!(failed(&ground.handle(&commits, second(2)).await), ["3"]);

    // No lease is waited for: whoever could not send gave the claim up.
    std::fs::rename(&aside, &folder).unwrap();
    assert_eq!(failed(&ground.handle(&commits, second(3)).await), NONE);
    let mut sent: Vec<_> = ground.mails().into_iter().map(|mail| mail.to).collect();
    sent.sort();
    assert_eq!(sent, [ADA, "bob@example.com", "eve@example.com"]);
}

#[tokio::test]
async fn a_record_is_reported_when_the_log_or_the_claim_cannot_be_reached() {
    let ground = Ground::new().await;
    let ada = ground.registered(ADA).await;
    let (client, faults, _) = ground.engine.faulty();
    let mailer = ground.mailer_by(&client);
    for operation in ["BatchGetItem", "UpdateItem"] {
        faults.script(operation, 1, Fault::error(500, "InternalServerError"));
        let answer = mailer::handle(&mailer, batch(&[(ada, 1)]), second(2)).await;
        assert_eq!(failed(&answer), ["1"], "{operation}");
        assert_eq!(ground.mails(), []);
    }
    assert_eq!(failed(&mailer::handle(&mailer, batch(&[(ada, 1)]), second(2)).await), NONE);
    assert_eq!(ground.mail().to, ADA);
}

#[tokio::test]
async fn what_somebody_broke_down_over_is_sent_when_the_lease_has_ended() {
    let ground = Ground::new().await;
    let ada = ground.registered(ADA).await;
    // As if a mailer had been killed between its claim and its mail.
    let claims = MailClaims::new(ground.client.clone(), ground.tables.sessions.clone());
    let lease = TimeDelta::seconds(26);
    let claimed = claims.claim(ada, Version::new(1), lease, second(2)).await.unwrap();
    assert!(matches!(claimed, Claimed::Ours(_)));
    assert_eq!(failed(&ground.handle(&[(ada, 1)], second(27)).await), ["1"]);
    assert_eq!(ground.mails(), []);
    assert_eq!(failed(&ground.handle(&[(ada, 1)], second(28)).await), NONE);
    assert_eq!(ground.mail().to, ADA);
}

#[tokio::test]
async fn a_mail_is_sent_twice_only_if_it_was_sent_and_not_noted_and_then_it_is_the_same_mail() {
    let ground = Ground::new().await;
    let ada = ground.registered(ADA).await;
    let (client, faults, meter) = ground.engine.faulty();
    let mailer = ground.mailer_by(&client);
    // The claim gets through, the note never; the mailer goes down while it tries.
    for nth in 2..1_000 {
        faults.script("UpdateItem", nth, Fault::error(500, "InternalServerError"));
    }
    let handling = mailer::handle(&mailer, batch(&[(ada, 1)]), second(2));
    let noting = async {
        while meter.taken().requests.iter().filter(|name| *name == "UpdateItem").count() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = handling => panic!("it was noted: {answer:?}"),
        noted = tokio::time::timeout(Duration::from_secs(20), noting) => noted.unwrap(),
    }
    let first = ground.mail();
    assert_eq!(failed(&ground.handle(&[(ada, 1)], second(3)).await), ["1"]);
    assert_eq!(ground.mail(), first);
    assert_eq!(failed(&ground.handle(&[(ada, 1)], second(60)).await), NONE);
    assert_eq!(failed(&ground.handle(&[(ada, 1)], second(120)).await), NONE);
    let mails = ground.mails();
    assert_eq!(mails.len(), 2, "{mails:?}");
    assert_eq!((&mails[0].text, &mails[0].link), (&mails[1].text, &mails[1].link));
    let message_id = |mail| {
        let (head, _) = ground.raw(mail);
        head.lines().find(|line| line.starts_with("Message-ID: ")).unwrap().to_owned()
    };
    assert_eq!(message_id(&mails[0]), message_id(&mails[1]), "whoever receives both can tell");
}

#[tokio::test]
async fn nobody_is_told_of_what_cannot_be_read_and_nobody_is_held_up_by_it() {
    let ground = Ground::new().await;
    let mut users = Vec::new();
    for name in ["erased", "damaged", "gone", "bob"] {
        users.push(ground.registered(&format!("{name}@example.com")).await);
    }
    let tombstone = AttributeValue::S("2100-11-22T12:00:01.000Z".to_owned());
    let mut vault = key(users[0], "vault");
    vault.insert("erased".to_owned(), tombstone);
    ground.put(vault).await;
    let mut commit = ground.get(commit_key(users[1], 1)).await.unwrap();
    commit.insert("at".to_owned(), AttributeValue::S("2100-11-22T12:00:01.250Z".to_owned()));
    ground.put(commit).await;
    let commits = [(users[0], 1), (users[1], 1), (users[2], 7), (users[3], 1)];
    assert_eq!(failed(&ground.handle(&commits, second(2)).await), NONE);
    assert_eq!(ground.mail().to, "bob@example.com");
}

#[tokio::test]
async fn only_a_commit_that_was_appended_is_told_of() {
    let ground = Ground::new().await;
    let ada = ground.registered(ADA).await;
    let event = records(&[
        ("MODIFY", ada.to_string(), "commit-0000000001".into()),
        ("REMOVE", ada.to_string(), "commit-0000000001".into()),
        ("INSERT", ada.to_string(), "vault".into()),
        ("INSERT", ada.to_string(), "commit-1".into()),
        ("INSERT", "nobody".into(), "commit-0000000001".into()),
    ]);
    assert_eq!(failed(&mailer::handle(&ground.mailer, event, second(2)).await), NONE);
    assert_eq!(ground.mails(), []);
}

#[tokio::test]
async fn nothing_is_told_a_day_later_or_when_its_link_has_ended() {
    let ground = Ground::new().await;
    let (ada, bob) = (ground.registered(ADA).await, ground.registered("bob@example.com").await);
    let day = 24 * 3600;
    assert_eq!(failed(&ground.handle(&[(ada, 1)], second(day)).await), NONE);
    assert_eq!(ground.mails(), []);
    let asked = json!({"UserRequestedPasswordReset":
        {"email": ADA, "credential": id(), "ends": second(600).timestamp()}});
    let asked = ground.append(ada, 2, &[asked, json!({"UserPasswordDisabled": {"attempt": 100}})]).await;
    // What came with it is told all the same.
    assert_eq!(failed(&ground.handle(&[asked], noon() + TimeDelta::minutes(10)).await), NONE);
    assert_eq!(ground.mail().subject, "Your password was disabled");
    // The mail of a registration has a link, too, which ends before the day is over.
    assert_eq!(failed(&ground.handle(&[(bob, 1)], second(day - 1)).await), NONE);
    assert_eq!(ground.mails().len(), 2);
    // Nor is news without a link told once it is a day old.
    let disabled = ground.append(bob, 2, &[json!({"UserPasswordDisabled": {"attempt": 100}})]).await;
    assert_eq!(failed(&ground.handle(&[disabled], second(day + 60)).await), NONE);
    assert_eq!(ground.mails().len(), 2);
}

#[tokio::test]
async fn a_commit_that_calls_for_no_mail_costs_one_read_and_one_that_does_two_writes_more() {
    let ground = Ground::new().await;
    let ada = ground.registered(ADA).await;
    let silent = ground.append(ada, 2, &[json!({"UserRenamed": {}})]).await;
    let (client, meter) = ground.engine.metered();
    let mailer = ground.mailer_by(&client);
    mailer::handle(&mailer, batch(&[silent]), second(2)).await;
    assert_eq!(meter.taken().requests, ["BatchGetItem"]);
    meter.reset();
    mailer::handle(&mailer, batch(&[(ada, 1)]), second(2)).await;
    let taken = meter.taken();
    assert_eq!(taken.requests, ["BatchGetItem", "UpdateItem", "UpdateItem"]);
    assert!(taken.cost(2.0, 2.0), "{taken:?}");
}
