//! Somebody who writes the tables but holds no service key: they can do damage, but sign in as nobody and change
//! nobody's rights.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;

use crate::app::{ADA, Answer, App, Item, PASSWORD};

const BOB: &str = "bob@example.com";
const BOBS_PASSWORD: &str = "staple of the horse";

/// Ada and Bob, each with a session and a view.
struct Town {
    app: App,
    ada: String,
    bob: String,
    adas: Answer,
    bobs: Answer,
}

impl Town {
    async fn new() -> Self {
        let app = App::start().await;
        let ada = app.register().await;
        let bob = app.register_as(BOB, BOBS_PASSWORD).await;
        let adas = app.login(PASSWORD).await;
        let bobs = app.login_as(BOB, BOBS_PASSWORD).await;
        let town = Self { app, ada, bob, adas, bobs };
        town.project().await;
        town
    }

    async fn project(&self) {
        self.app.project(&self.ada).await;
        self.app.project(&self.bob).await;
    }

    /// The items of a user in a table.
    async fn of(&self, table: &str, user: &str) -> Vec<Item> {
        let owner = AttributeValue::S(user.to_owned());
        self.app.items(table).await.into_iter().filter(|item| item["user"] == owner).collect()
    }

    async fn item(&self, table: &str, user: &str, sort_key: &str) -> Item {
        let sort_key = AttributeValue::S(sort_key.to_owned());
        self.of(table, user).await.into_iter().find(|item| item["item"] == sort_key).unwrap()
    }

    async fn put(&self, table: &str, item: Item) {
        self.app.raw.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    }

    async fn forget_views(&self) {
        let table = &self.app.tables.views;
        for item in self.app.items(table).await {
            let user = item["user"].clone();
            self.app.raw.delete_item().table_name(table).key("user", user).send().await.unwrap();
        }
    }

    /// Nobody gets in as Ada but with Ada's password, and nobody as Bob but with Bob's and by Bob's address.
    async fn nobody_else_gets_in(&self) {
        for (email, password, user) in [
            (ADA, PASSWORD, Some(&self.ada)),
            (ADA, BOBS_PASSWORD, None),
            (BOB, PASSWORD, None),
            (BOB, BOBS_PASSWORD, Some(&self.bob)),
        ] {
            let answer = self.app.login_as(email, password).await;
            match (answer.status.as_u16(), user) {
                (200, Some(user)) => assert_eq!(answer.text_of("user_id"), *user),
                (200, None) => panic!("{email} signed in with {password}"),
                (401, _) => answer.is_problem(401, "sign-in-refused"),
                _ => answer.is_problem(500, "internal"),
            }
            self.app.pass(TimeDelta::hours(1));
        }
    }

    /// Whoever asks for their own profile gets that or a problem.
    async fn nobody_reads_as_another(&self) {
        for (session, email) in [(&self.adas, ADA), (&self.bobs, BOB)] {
            for query in ["", "?min_version=99"] {
                let answer = self.app.get(&format!("/me{query}"), &session.text_of("access_token")).await;
                match answer.status.as_u16() {
                    200 => assert_eq!(answer.json()["email"], email),
                    401 => answer.is_problem(401, "bad-token"),
                    _ => answer.is_problem(500, "internal"),
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_vault_or_any_part_of_it_opens_nothing() {
    let parts: [&[&str]; 5] = [
        &["data_key", "credential", "verifier"],
        &["data_key"],
        &["verifier"],
        &["credential"],
        &["credential", "verifier"],
    ];
    for part in parts {
        for viewless in [false, true] {
            let town = Town::new().await;
            let events = &town.app.tables.events;
            let (mut vault, other) =
                (town.item(events, &town.ada, "vault").await, town.item(events, &town.bob, "vault").await);
            for name in part {
                vault.insert((*name).to_owned(), other[*name].clone());
            }
            town.put(events, vault).await;
            if viewless {
                town.forget_views().await;
            }
            town.nobody_reads_as_another().await;
            town.nobody_else_gets_in().await;
            assert_ne!(town.app.login(PASSWORD).await.status, 200, "{part:?}");
            assert_eq!(town.app.login_as(BOB, BOBS_PASSWORD).await.status, 200, "and Bob is as before");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_of_an_earlier_password_opens_nothing() {
    let old_password = "what it used to be";
    let parts: [&[&str]; 3] =
        [&["data_key", "credential", "verifier"], &["credential", "verifier"], &["verifier"]];
    for part in parts {
        for viewless in [false, true] {
            let app = App::start().await;
            let register = async |password: &str| {
                let request = app.request(Method::POST, "/register").header("Idempotency-Key", "key");
                let body = json!({"email": ADA, "password": password, "name": "Ada"});
                app.send(request.json(&body)).await.text_of("user_id")
            };
            // The same user twice: what a change of password leaves behind, and more.
            let user = register(old_password).await;
            let old: Vec<Item> = app.items(&app.tables.events).await;
            let earlier = old.iter().find(|item| item["item"].as_s().unwrap() == "vault").unwrap();
            for (table, sort_key) in [(&app.tables.events, true), (&app.tables.identifiers, false)] {
                for mut item in app.items(table).await {
                    item.retain(|name, _| {
                        ["user", "item"].contains(&name.as_str()) == sort_key
                            && (sort_key || name == "identifier")
                    });
                    app.raw.delete_item().table_name(table).set_key(Some(item)).send().await.unwrap();
                }
            }
            assert_eq!(register(PASSWORD).await, user);
            if !viewless {
                app.project(&user).await;
            }
            assert_eq!(app.login(PASSWORD).await.status, 200);

            let items = app.items(&app.tables.events).await;
            let mut vault = items.into_iter().find(|item| item["item"].as_s().unwrap() == "vault").unwrap();
            for name in part {
                vault.insert((*name).to_owned(), earlier[*name].clone());
            }
            app.raw.put_item().table_name(&app.tables.events).set_item(Some(vault)).send().await.unwrap();
            let answer = app.login(old_password).await;
            assert!([401, 500].contains(&answer.status.as_u16()), "{part:?}: {answer:?}");
            assert_ne!(app.login(PASSWORD).await.status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_view_is_none() {
    for whole in [true, false] {
        let town = Town::new().await;
        let views = &town.app.tables.views;
        let (mut view, other) =
            (town.of(views, &town.ada).await.remove(0), town.of(views, &town.bob).await.remove(0));
        if whole {
            view = other;
            view.insert("user".to_owned(), AttributeValue::S(town.ada.clone()));
        } else {
            view.insert("sealed".to_owned(), other["sealed"].clone());
        }
        town.put(views, view).await;
        town.nobody_reads_as_another().await;
        let me = town.app.get("/me", &town.adas.text_of("access_token")).await;
        assert_eq!((me.status.as_u16(), me.text_of("email").as_str()), (200, ADA), "the log answers");
        town.nobody_else_gets_in().await;
        assert_eq!(town.app.login(PASSWORD).await.text_of("user_id"), town.ada);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_with_another_version_is_none() {
    let town = Town::new().await;
    let views = &town.app.tables.views;
    for version in ["1", "3", "9999999999", "18446744073709551615", "18446744073709551616", "-1"] {
        let mut view = town.of(views, &town.ada).await.remove(0);
        view.insert("version".to_owned(), AttributeValue::N(version.to_owned()));
        town.put(views, view).await;
        let me = town.app.get("/me", &town.adas.text_of("access_token")).await;
        assert_eq!(me.status, 200, "{version}: {me:?}");
        assert_eq!(town.app.login(PASSWORD).await.status, 200, "{version}");
        town.project().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_view_that_was_put_back_costs_a_request_and_nothing_else() {
    let town = Town::new().await;
    let views = &town.app.tables.views;
    let old = town.of(views, &town.ada).await.remove(0);
    assert_eq!(town.app.logout(&town.adas.text_of("access_token")).await.status, 204);
    town.put(views, old).await;
    town.app.get("/me", &town.adas.text_of("access_token")).await.is_problem(401, "bad-token");
    town.app.refresh(&town.adas.text_of("refresh_token")).await.is_problem(400, "invalid-grant");
    assert_eq!(town.app.login(PASSWORD).await.json()["version"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_commit_breaks_the_log_and_changes_nobody() {
    for version in ["commit-0000000001", "commit-0000000002"] {
        for part in [&["command", "at", "sealed"][..], &["sealed"]] {
            let town = Town::new().await;
            town.forget_views().await;
            let events = &town.app.tables.events;
            let (mut commit, other) =
                (town.item(events, &town.ada, version).await, town.item(events, &town.bob, version).await);
            for name in part {
                commit.insert((*name).to_owned(), other[*name].clone());
            }
            town.put(events, commit).await;
            town.nobody_reads_as_another().await;
            town.app.get("/me", &town.adas.text_of("access_token")).await.is_problem(500, "internal");
            town.app.logout(&town.adas.text_of("access_token")).await.is_problem(500, "internal");
            town.nobody_else_gets_in().await;
            town.app.login(PASSWORD).await.is_problem(500, "internal");
            assert_eq!(town.app.login_as(BOB, BOBS_PASSWORD).await.status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_user_copied_over_another_is_nobody() {
    let town = Town::new().await;
    for table in [&town.app.tables.events, &town.app.tables.views, &town.app.tables.sessions] {
        for mut item in town.of(table, &town.bob).await {
            item.insert("user".to_owned(), AttributeValue::S(town.ada.clone()));
            town.put(table, item).await;
        }
    }
    town.nobody_reads_as_another().await;
    town.nobody_else_gets_in().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_points_to_somebody_else_lets_nobody_in() {
    let town = Town::new().await;
    let identifiers = &town.app.tables.identifiers;
    let owner = AttributeValue::S(town.ada.clone());
    let mut rows = town.app.items(identifiers).await;
    rows.retain(|row| row["user"] == owner);
    let mut row = rows.remove(0);
    row.insert("user".to_owned(), AttributeValue::S(town.bob.clone()));
    town.put(identifiers, row.clone()).await;
    for viewless in [false, true] {
        if viewless {
            town.forget_views().await;
        }
        for password in [PASSWORD, BOBS_PASSWORD] {
            town.app.login_as(ADA, password).await.is_problem(401, "sign-in-refused");
            town.app.pass(TimeDelta::hours(1));
        }
        town.nobody_reads_as_another().await;
    }
    assert_eq!(town.app.login_as(BOB, BOBS_PASSWORD).await.status, 200);
    // To nobody at all, and to something that is no user.
    for (user, status) in [(uuid::Uuid::nil().to_string(), 401), ("x".to_owned(), 500)] {
        row.insert("user".to_owned(), AttributeValue::S(user));
        town.put(identifiers, row.clone()).await;
        assert_eq!(town.app.login(PASSWORD).await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_row_of_another_session_revives_none() {
    let town = Town::new().await;
    let (app, sessions) = (&town.app, &town.app.tables.sessions);
    let sort_key = format!("session-{}", town.adas.text_of("session_id"));
    let another = app.login(PASSWORD).await;
    assert_eq!(app.logout(&town.adas.text_of("access_token")).await.status, 204);
    let others = [
        town.item(sessions, &town.ada, &format!("session-{}", another.text_of("session_id"))).await,
        town.item(sessions, &town.bob, &format!("session-{}", town.bobs.text_of("session_id"))).await,
    ];
    for mut row in others {
        row.insert("user".to_owned(), AttributeValue::S(town.ada.clone()));
        row.insert("item".to_owned(), AttributeValue::S(sort_key.clone()));
        town.put(sessions, row).await;
        app.get("/me", &town.adas.text_of("access_token")).await.is_problem(401, "bad-token");
        app.logout(&town.adas.text_of("access_token")).await.is_problem(401, "bad-token");
        app.refresh(&town.adas.text_of("refresh_token")).await.is_problem(400, "invalid-grant");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_outlive_its_end_because_the_row_says_so() {
    for days in [7, 30] {
        let town = Town::new().await;
        let (app, sessions) = (&town.app, &town.app.tables.sessions);
        app.pass(TimeDelta::days(days));
        let sort_key = format!("session-{}", town.adas.text_of("session_id"));
        let mut row = town.item(sessions, &town.ada, &sort_key).await;
        let later = (app.now() + TimeDelta::days(30)).timestamp();
        row.insert("expires".to_owned(), AttributeValue::N(later.to_string()));
        town.put(sessions, row).await;
        app.refresh(&town.adas.text_of("refresh_token")).await.is_problem(400, "invalid-grant");
        app.get("/me", &town.adas.text_of("access_token")).await.is_problem(401, "bad-token");
    }
}
