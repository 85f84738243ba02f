//! What is written to whom, and what never is.

use domain::{CredentialId, Email, UserId};
use serde_json::{Value, json};
use storage::one_time::{Bound, OneTimeKeys, OneTimePurpose};
use storage::tables::Tables;

use mailer::Kept;

use crate::ground::{ADA, Ground, LINKS, id, second};

const OTHER: &str = "lovelace@example.com";

fn email(address: &str) -> Email {
    Email::parse(address).unwrap()
}

fn tokens(ground: &Ground) -> OneTimeKeys {
    OneTimeKeys::new(ground.keys.deployment.clone(), ground.keys.one_time.clone())
}

/// The verifier that the log says Ada has.
async fn credential(ground: &Ground, user: UserId) -> CredentialId {
    ground.store.log.fold(user).await.unwrap().outcome.unwrap().user.account().unwrap().credential
}

#[tokio::test]
async fn a_registration_calls_for_a_mail_with_a_link_that_verifies_the_address() {
    let ground = Ground::new().await;
    let user = ground.registered(ADA).await;
    assert!(ground.handle(&[(user, 1)], second(2)).await.batch_item_failures.is_empty());
    let mail = ground.mail();
    assert_eq!((mail.to.as_str(), mail.subject.as_str()), (ADA, "Please confirm your e-mail address"));
    let token = mail.token.as_deref().unwrap();
    let link = format!("{LINKS}/verify#token={token}");
    assert_eq!(mail.link.as_deref(), Some(link.as_str()));

    let parsed = tokens(&ground).parse(token, OneTimePurpose::EmailVerification).unwrap();
    assert_eq!(parsed.user(), user);
    let credential = credential(&ground, user).await;
    assert!(tokens(&ground).binds(&parsed, &Bound::EmailVerification { email: &email(ADA), credential }));
    assert!(!parsed.has_ended(second(24 * 3600 - 1)) && parsed.has_ended(second(24 * 3600)));

    let text = &mail.text;
    assert!(text.starts_with("Hello \u{2068}Ada\u{2069},\n\nSomebody registered"), "{text}");
    assert!(text.contains("\nWhen: 22 November 2100, 12:00 UTC\n"), "{text}");
    assert!(text.contains("The link works until 23 November 2100, 12:00 UTC, and once."), "{text}");
    assert!(text.contains("If it was not you") && text.contains("sent by app.example.com."), "{text}");
    assert!(mail.html.contains(&format!("href=\"{link}\"")), "{}", mail.html);
    assert!(mail.html.contains("Hello <bdi>Ada</bdi>,"), "{}", mail.html);
}

#[tokio::test]
async fn a_mail_has_the_head_of_one_that_no_person_wrote_and_passes_every_server() {
    let ground = Ground::new().await;
    let user = ground.registered(ADA).await;
    ground.handle(&[(user, 1)], second(2)).await;
    let mail = ground.mail();
    assert_eq!(mail.from, "Annals <no-reply@example.com>");
    let (head, body) = ground.raw(&mail);
    for line in
        ["Date: Mon, 22 Nov 2100 12:00:02 +0000", "Auto-Submitted: auto-generated", "MIME-Version: 1.0"]
    {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
    let message_id = head.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap();
    assert!(message_id.starts_with('<') && message_id.ends_with("@example.com>"), "{head}");
    assert!(!message_id.contains(&user.to_string()) && !head.contains(mail.token.as_deref().unwrap()));
    assert!(head.is_ascii() && body.is_ascii(), "{head}{body}");
    assert!(body.lines().all(|line| line.len() <= 76), "{body}");
}

/// A mail: to whom, about what, with a link to which page.
type Told = (&'static str, &'static str, Option<&'static str>);

/// Every event after the first that calls for mail, and the mails.
fn calls() -> Vec<(Value, Vec<Told>)> {
    let (credential, ends) = (id(), second(600).timestamp());
    let asked = json!({"email": ADA, "credential": credential, "ends": ends});
    let moving = json!({"email": OTHER, "from": ADA, "credential": credential, "ends": ends});
    let verified = json!({"credential": id(), "attempt": 1});
    let moved = json!({"from": OTHER, "to": ADA});
    vec![
        (json!({"UserRequestedPasswordReset": asked}), vec![(ADA, "Set a new password", Some("reset"))]),
        (
            json!({"UserPasswordChanged": {"credential": credential, "password": verified}}),
            vec![(ADA, "Your password was changed", None)],
        ),
        (
            json!({"UserPasswordReset": {"credential": credential, "base": 1}}),
            vec![(ADA, "Your password was reset", None)],
        ),
        (json!({"UserPasswordDisabled": {"attempt": 100}}), vec![(ADA, "Your password was disabled", None)]),
        (
            json!({"UserRequestedEmailVerification": asked}),
            vec![(ADA, "Please confirm your e-mail address", Some("verify"))],
        ),
        (
            json!({"UserRequestedEmailChange": moving}),
            vec![
                (ADA, "Your e-mail address is about to be changed", None),
                (OTHER, "Please confirm your new e-mail address", Some("confirm")),
            ],
        ),
        (json!({"UserEmailChanged": moved}), vec![(OTHER, "Your e-mail address was changed", None)]),
        (json!({"AddressRegisteredAgain": {"email": ADA}}), vec![(ADA, "You have an account already", None)]),
    ]
}

#[tokio::test]
async fn each_event_that_concerns_a_user_is_told_them() {
    for (event, expected) in calls() {
        let ground = Ground::new().await;
        let user = ground.registered(ADA).await;
        let commit = ground.append(user, 2, std::slice::from_ref(&event)).await;
        assert!(ground.handle(&[commit], second(2)).await.batch_item_failures.is_empty(), "{event}");
        let mut mails = ground.mails();
        mails.sort_by(|a, b| a.to.cmp(&b.to));
        let page = |mail: &Kept| Some(mail.link.as_deref()?.split_once('#').unwrap().0.to_owned());
        let told: Vec<_> =
            mails.iter().map(|mail| (mail.to.as_str(), mail.subject.as_str(), page(mail))).collect();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(to, subject, page)| (to, subject, page.map(|page| format!("{LINKS}/{page}"))))
            .collect();
        assert_eq!(told, expected, "{event}");
        for mail in mails {
            assert!(mail.text.contains("\nFrom: Firefox on Linux, at 192.0.2.7\n"), "{}", mail.text);
            assert!(mail.html.contains("Firefox on Linux, at 192.0.2.7"), "{}", mail.html);
        }
    }
}

#[tokio::test]
async fn the_link_to_another_address_is_for_the_change_that_was_asked_for() {
    let ground = Ground::new().await;
    let user = ground.registered(ADA).await;
    let credential = CredentialId::new(id());
    let event = json!({"UserRequestedEmailChange":
        {"email": OTHER, "from": ADA, "credential": credential, "ends": second(600).timestamp()}});
    let commit = ground.append(user, 2, &[event]).await;
    ground.handle(&[commit], second(2)).await;
    let token = ground.mails().into_iter().find_map(|mail| mail.token).unwrap();
    let token = tokens(&ground).parse(&token, OneTimePurpose::EmailChange).unwrap();
    let bound = Bound::EmailChange { from: &email(ADA), to: &email(OTHER), credential };
    assert!(tokens(&ground).binds(&token, &bound));
}

#[tokio::test]
async fn whose_address_was_released_is_told_nothing_more() {
    let ground = Ground::new().await;
    let user = ground.registered(ADA).await;
    let events =
        [json!({"UserAddressReleased": {"email": ADA}}), json!({"UserPasswordDisabled": {"attempt": 100}})];
    let commit = ground.append(user, 2, &events).await;
    for _ in 0..2 {
        assert!(ground.handle(&[commit], second(2)).await.batch_item_failures.is_empty());
    }
    assert_eq!(ground.mails(), []);
}

#[tokio::test]
async fn a_link_to_reset_goes_to_the_address_and_is_for_the_verifier_that_the_event_names() {
    let ground = Ground::new().await;
    let user = ground.registered(ADA).await;
    let credential = CredentialId::new(id());
    let event = json!({"UserRequestedPasswordReset":
        {"email": OTHER, "credential": credential, "ends": second(600).timestamp()}});
    let commit = ground.append(user, 2, &[event]).await;
    ground.handle(&[commit], second(2)).await;
    let mail = ground.mail();
    assert_eq!(mail.to, OTHER);
    let token = tokens(&ground).parse(&mail.token.unwrap(), OneTimePurpose::PasswordReset).unwrap();
    assert!(
        tokens(&ground)
            .binds(&token, &Bound::PasswordReset { email: &email(OTHER), credential, since: None })
    );
}

#[tokio::test]
async fn what_is_ordinary_is_told_to_nobody() {
    let ground = Ground::new().await;
    let user = ground.registered(ADA).await;
    let session = id();
    let ordinary = [
        json!({"UserSignedIn": {"session": session, "ends": second(600).timestamp(),
               "password": {"credential": id(), "attempt": 1}}}),
        json!({"UserRenamed": {"name": "Bob"}}),
        json!({"UserSignedOut": {"session": session}}),
        json!({"UserEndedSession": {"session": session}}),
        json!({"UserEndedOtherSessions": {"ended": [session]}}),
        json!({"RefreshTokenReused": {"session": session}}),
        json!({"UserVerifiedEmail": {"email": ADA}}),
    ];
    for (version, event) in (2..).zip(ordinary) {
        let commit = ground.append(user, version, std::slice::from_ref(&event)).await;
        assert!(ground.handle(&[commit], second(2)).await.batch_item_failures.is_empty(), "{event}");
    }
    assert_eq!(ground.mails(), []);
}

#[tokio::test]
async fn each_event_of_a_commit_is_told_and_by_the_name_it_leaves() {
    let ground = Ground::new().await;
    let user = ground.registered(ADA).await;
    let events = [
        json!({"UserRenamed": {"name": "Bob"}}),
        json!({"UserPasswordDisabled": {"attempt": 100}}),
        json!({"UserPasswordReset": {"credential": id(), "base": 100}}),
    ];
    let commit = ground.append(user, 2, &events).await;
    ground.append(user, 3, &[json!({"UserRenamed": {"name": "Eve"}})]).await;
    for _ in 0..2 {
        assert!(ground.handle(&[commit], second(2)).await.batch_item_failures.is_empty());
        let mut subjects: Vec<_> = ground.mails().into_iter().map(|mail| mail.subject).collect();
        subjects.sort();
        assert_eq!(subjects, ["Your password was disabled", "Your password was reset"]);
    }
    assert!(ground.mails().iter().all(|mail| mail.text.starts_with("Hello \u{2068}Bob\u{2069},")));
}

#[tokio::test]
async fn no_name_gets_into_the_head_of_a_mail_or_becomes_markup_or_a_link() {
    let ground = Ground::new().await;
    let user = ground.registered(ADA).await;
    // Names with control characters cannot be given; a log that holds one was not written by us.
    for (version, (name, greeting)) in (2..).zip([
        ("<img src=x onerror=y> & \"Co\"", Some("<img src=x onerror=y> & \"Co\"")),
        ("Ada\r\nBcc: eve@example.com\r\n\r\nHi", None),
        ("Ada\r\n\r\n--annals-\r\nBob", Some("Ada --annals- Bob")),
        ("\u{202e}محمد\u{2069}", Some("محمد")),
        ("李 小龍", Some("李 小龍")),
        ("Claim your prize at evil.example", None),
        ("https://evil.example", None),
    ]) {
        let events =
            [json!({"UserRenamed": {"name": name}}), json!({"UserPasswordDisabled": {"attempt": 100}})];
        let commit = ground.append(user, version, &events).await;
        let now = second(i64::try_from(version).unwrap());
        assert!(ground.handle(&[commit], now).await.batch_item_failures.is_empty(), "{name}");
        let mail = ground.mails().remove(0);
        let (head, _) = ground.raw(&mail);
        let unfolded = head.replace("\r\n ", " ");
        let mut names: Vec<_> = unfolded.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
        names.sort_unstable();
        let expected =
            ["Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To"];
        assert_eq!(names, expected, "{head}");
        let hello =
            greeting.map_or_else(|| "Hello,\n".to_owned(), |name| format!("Hello \u{2068}{name}\u{2069},\n"));
        assert!(mail.text.starts_with(&hello), "{name}: {}", mail.text);
        for markup in ["<img", "evil.example", "eve@example.com"] {
            assert!(!mail.html.contains(markup), "{name}: {}", mail.html);
        }
        if let Some(plain) = greeting.filter(|name| !name.contains('<')) {
            assert!(mail.html.contains(&format!("<bdi>{plain}</bdi>")), "{name}: {}", mail.html);
        }
    }
}

#[tokio::test]
async fn the_tables_hold_nothing_of_a_mail() {
    let ground = Ground::new().await;
    let user = ground.registered(ADA).await;
    ground.handle(&[(user, 1)], second(2)).await;
    let mail = ground.mail();
    let Tables { events, identifiers, views, sessions } = &ground.tables;
    for table in [events, identifiers, views, sessions] {
        let scanned = ground.client.scan().table_name(table).send().await.unwrap();
        let shown = format!("{:?}", scanned.items());
        for secret in [ADA, mail.token.as_deref().unwrap(), "Ada"] {
            assert!(!shown.contains(secret), "{table}: {shown}");
        }
    }
}
