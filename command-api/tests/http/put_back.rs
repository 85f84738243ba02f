//! Somebody who puts back or makes up what no seal guards: counts of guesses, and rows of sessions as they once were.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;

use crate::app::{ADA, App, Item, PASSWORD};

fn number(digits: &str) -> AttributeValue {
    AttributeValue::N(digits.to_string())
}

impl App {
    async fn put_session_item(&self, item: Item) {
        self.raw.put_item().table_name(&self.tables.sessions).set_item(Some(item)).send().await.unwrap();
    }

    async fn session_item(&self, sort_key: &str) -> Item {
        let sort_key = AttributeValue::S(sort_key.to_owned());
        let items = self.items(&self.tables.sessions).await;
        items.into_iter().find(|item| item["item"] == sort_key).unwrap()
    }

    /// Lets five wrong guesses through, and no sixth.
    async fn five_guesses_are_free(&self, what: &str) {
        for guess in 1..=6 {
            let answer = self.login_as(ADA, "a wrong password").await;
            assert_eq!(answer.status.as_u16(), if guess < 6 { 401 } else { 429 }, "{what}, guess {guess}");
        }
        self.pass(TimeDelta::hours(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_of_guesses_that_was_made_up_neither_frees_guesses_nor_locks_anybody_out() {
    let app = App::start().await;
    let user = app.register().await;
    app.signed_in().await;
    let digits = ["0", "-5", "1.5", "4000000000", "1000000000000000", "18446744073709551608", "1E+30"];
    let counts = digits.map(|digits| Some(number(digits)));
    for attempts in counts.into_iter().chain([Some(AttributeValue::S("7".to_owned())), None]) {
        let past = (app.now() - TimeDelta::hours(1)).timestamp_millis().to_string();
        let future = (app.now() + TimeDelta::days(4_000)).timestamp_millis().to_string();
        for last in [Some(number(&past)), Some(number(&future)), Some(AttributeValue::Bool(true)), None] {
            let what = format!("{attempts:?} at {last:?}");
            let mut made_up = app.session_item("guesses").await;
            for (name, value) in [("attempts", &attempts), ("last", &last)] {
                made_up.remove(name);
                made_up.extend(value.clone().map(|value| (name.to_owned(), value)));
            }
            app.put_session_item(made_up).await;
            assert_eq!(app.login(PASSWORD).await.status, 200, "{what}");
            // What got into the log with that success frees nothing.
            let mut put_back = app.session_item("guesses").await;
            put_back.insert("attempts".to_owned(), number("0"));
            app.put_session_item(put_back).await;
            app.project(&user).await;
            app.five_guesses_are_free(&what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_put_back_can_be_ended_again() {
    let app = App::start().await;
    app.register().await;
    let first = app.login(PASSWORD).await;
    let (access_token, spent) = (first.text_of("access_token"), first.text_of("refresh_token"));
    assert_eq!(app.refresh(&spent).await.status, 200);
    let row = app.session_item(&format!("session-{}", first.text_of("session_id"))).await;
    assert_eq!(app.logout(&access_token).await.status, 204);

    app.put_session_item(row.clone()).await;
    assert_eq!(app.get("/me", &access_token).await.status, 200, "the stated limit");
    assert_eq!(app.logout(&access_token).await.status, 204);
    app.get("/me", &access_token).await.is_problem(401, "bad-token");

    // The thief's token ends it, too, although the log has nothing to end any more.
    app.put_session_item(row).await;
    app.pass(TimeDelta::seconds(11));
    app.refresh(&spent).await.is_problem(400, "invalid-grant");
    app.get("/me", &access_token).await.is_problem(401, "bad-token");
}
