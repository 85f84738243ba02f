//! `POST /me/password`: by whoever knows the password and signed in a moment ago; nobody else stays signed in.

use std::sync::Arc;

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;

use crate::app::{Answer, App, PASSWORD, all_at_once};

const NEW: &str = "staple of another horse";

/// A session: its tokens.
#[derive(Clone)]
struct Session {
    access: String,
    refresh: String,
}

impl Session {
    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        Self { access: answer.text_of("access_token"), refresh: answer.text_of("refresh_token") }
    }

    async fn begin(app: &App) -> Self {
        Self::of(&app.login(PASSWORD).await)
    }

    async fn is_alive(&self, app: &App) -> bool {
        app.get("/me", &self.access).await.status == 200
    }

    /// Asserts that the session has ended everywhere.
    async fn is_over(&self, app: &App) {
        app.get("/me", &self.access).await.is_problem(401, "bad-token");
        app.refresh(&self.refresh).await.is_problem(400, "invalid-grant");
        app.logout(&self.access).await.is_problem(401, "bad-token");
        app.change_password(&self.access, NEW, PASSWORD).await.is_problem(401, "bad-token");
    }
}

/// Asserts that a field was named, and what was said of it.
#[track_caller]
fn names(answer: &Answer, field: &str, detail: &str) {
    answer.is_problem(422, "invalid");
    assert_eq!(answer.json()["errors"], json!([{"field": field, "detail": detail}]));
}

#[track_caller]
fn is_wrong(answer: &Answer) {
    names(answer, "current_password", "is not the current password");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_password_signs_in_the_old_one_does_not_and_only_the_acting_session_goes_on() {
    let app = App::start().await;
    let user = app.register().await;
    let (other, acting, third) =
        (Session::begin(&app).await, Session::begin(&app).await, Session::begin(&app).await);
    let changed = app.change_password(&acting.access, PASSWORD, NEW).await;
    assert_eq!((changed.status.as_u16(), changed.text.as_str()), (204, ""));
    for ended in [&other, &third] {
        ended.is_over(&app).await;
    }
    assert!(acting.is_alive(&app).await);
    let next = Session::of(&app.refresh(&acting.refresh).await);
    assert!(next.is_alive(&app).await);
    app.login(PASSWORD).await.is_problem(401, "sign-in-refused");
    assert!(Session::of(&app.login(NEW).await).is_alive(&app).await);
    let names = ["UserRegistered", "UserSignedIn", "UserSignedIn", "UserSignedIn"];
    let events = app.events(&user).await;
    assert_eq!(events[..4], names);
    assert_eq!(events[4..], ["UserPasswordChanged", "UserSignedIn"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_password_may_be_set_again_and_ends_the_other_sessions_too() {
    let app = App::start().await;
    app.register().await;
    let (other, acting) = (Session::begin(&app).await, Session::begin(&app).await);
    assert_eq!(app.change_password(&acting.access, PASSWORD, PASSWORD).await.status, 204);
    other.is_over(&app).await;
    assert_eq!(app.login(PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_only_within_five_minutes_of_signing_in() {
    let app = App::start().await;
    app.register().await;
    app.pass(TimeDelta::milliseconds(999));
    let mut session = Session::begin(&app).await;
    app.pass(TimeDelta::minutes(5));
    assert_eq!(app.change_password(&session.access, PASSWORD, NEW).await.status, 204);
    app.pass(TimeDelta::milliseconds(1));
    // Refreshing renews the tokens and not the sign-in.
    for _ in 0..2 {
        let refused = app.change_password(&session.access, NEW, PASSWORD).await;
        refused.is_problem(401, "insufficient-user-authentication");
        assert_eq!(
            refused.header("www-authenticate"),
            r#"Bearer error="insufficient_user_authentication", max_age="300""#
        );
        session = Session::of(&app.refresh(&session.refresh).await);
    }
    // It was not looked at, nor counted, and nothing ended.
    assert!(session.is_alive(&app).await);
    let again = Session::of(&app.login(NEW).await);
    assert_eq!(app.change_password(&again.access, NEW, PASSWORD).await.status, 204);
    session.is_over(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_current_password_changes_nothing_and_counts_as_a_guess() {
    let app = App::start().await;
    let user = app.register().await;
    let session = Session::begin(&app).await;
    // Guesses here and guesses at the front door are one count.
    for _ in 0..3 {
        is_wrong(&app.change_password(&session.access, "not the password", NEW).await);
    }
    for _ in 0..2 {
        app.login("not the password").await.is_problem(401, "sign-in-refused");
    }
    for answer in [
        app.change_password(&session.access, PASSWORD, NEW).await,
        app.change_password(&session.access, "not the password", NEW).await,
        app.login(PASSWORD).await,
    ] {
        answer.is_problem(429, "too-early");
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert!(session.is_alive(&app).await);
    assert_eq!(app.events(&user).await, ["UserRegistered", "UserSignedIn"]);
    app.pass(TimeDelta::seconds(1));
    // A change is a success, and ends the back-off.
    assert_eq!(app.change_password(&session.access, PASSWORD, NEW).await.status, 204);
    for _ in 0..5 {
        app.login("not the password").await.is_problem(401, "sign-in-refused");
    }
    app.login(NEW).await.is_problem(429, "too-early");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acceptable_is_named_and_neither_counted_nor_done() {
    let app = App::start().await;
    let user = app.register().await;
    let session = Session::begin(&app).await;
    for (body, fields) in [
        (json!({}), vec!["current_password", "new_password"]),
        (json!({"current_password": PASSWORD}), vec!["new_password"]),
        (json!({"new_password": NEW}), vec!["current_password"]),
        (json!({"current_password": 7, "new_password": null}), vec!["current_password", "new_password"]),
        (json!({"current_password": PASSWORD, "new_password": "fourteen chars"}), vec!["new_password"]),
        (json!({"current_password": PASSWORD, "new_password": "x".repeat(1_025)}), vec!["new_password"]),
        (json!({"current_password": "x".repeat(4_097), "new_password": NEW}), vec!["current_password"]),
        (json!({"current_password": PASSWORD, "new_password": NEW, "user": user}), vec!["user"]),
        (json!([]), vec![""]),
    ] {
        for _ in 0..3 {
            let request = app.request(Method::POST, "/me/password").bearer_auth(&session.access);
            let refused = app.send(request.json(&body)).await;
            refused.is_problem(422, "invalid");
            let errors = refused.json()["errors"].as_array().unwrap().clone();
            let named: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
            assert_eq!(named, fields, "{body}");
        }
    }
    assert_eq!(app.events(&user).await.len(), 2);
    assert_eq!(app.change_password(&session.access, PASSWORD, NEW).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_sessions_are_ended_but_one_with_or_without_a_view() {
    for projected in [false, true] {
        let app = App::start().await;
        let user = app.register().await;
        let mut sessions = Vec::new();
        for number in 0..50 {
            if number == 40 && projected {
                app.project(&user).await;
            }
            sessions.push(Session::begin(&app).await);
        }
        let acting = sessions.remove(49);
        assert_eq!(app.change_password(&acting.access, PASSWORD, NEW).await.status, 204);
        for session in &sessions {
            assert!(!session.is_alive(&app).await);
        }
        assert!(acting.is_alive(&app).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_changes_at_once_one_is_acknowledged_and_its_password_is_the_one_that_signs_in() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    let mut sessions = Vec::new();
    for _ in 0..10 {
        sessions.push(Session::begin(&app).await);
    }
    let password = |number: usize| format!("staple {number} of another horse");
    let tasks = (0..50).map(|number| {
        let (app, session) = (Arc::clone(&app), sessions[number % 10].clone());
        async move { app.change_password(&session.access, PASSWORD, &password(number)).await }
    });
    let mut acknowledged = Vec::new();
    for (number, answer) in all_at_once(tasks).await.into_iter().enumerate() {
        match answer.status.as_u16() {
            204 => acknowledged.push(number),
            401 => answer.is_problem(401, "bad-token"),
            429 => answer.is_problem(429, "too-early"),
            _ => is_wrong(&answer),
        }
    }
    assert_eq!(acknowledged.len(), 1);
    let events = app.events(&user).await;
    assert_eq!(events.iter().filter(|name| **name == "UserPasswordChanged").count(), 1);
    for (number, session) in sessions.iter().enumerate() {
        assert_eq!(session.is_alive(&app).await, number == acknowledged[0] % 10);
    }
    app.pass(TimeDelta::minutes(15));
    assert_eq!(app.login(&password(acknowledged[0])).await.status, 200);
    app.login(PASSWORD).await.is_problem(401, "sign-in-refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_sign_ins_with_both_passwords_no_session_of_the_old_one_survives_the_change() {
    let app = Arc::new(App::start().await);
    let user = app.register().await;
    let acting = Session::begin(&app).await;
    let tasks = (0..50).map(|number| {
        let (app, acting) = (Arc::clone(&app), acting.clone());
        async move {
            match number {
                20 => app.change_password(&acting.access, PASSWORD, NEW).await,
                _ => app.login(if number % 2 == 0 { PASSWORD } else { NEW }).await,
            }
        }
    });
    let mut answers = all_at_once(tasks).await;
    let mut changed = answers.remove(20);
    // So many at once may have been told to wait.
    while changed.status == 429 {
        app.pass(TimeDelta::seconds(changed.header("retry-after").parse().unwrap()));
        changed = app.change_password(&acting.access, PASSWORD, NEW).await;
    }
    assert_eq!(changed.status, 204, "{changed:?}");
    assert!(acting.is_alive(&app).await);
    app.pass(TimeDelta::seconds(1));
    let mut alive = 0;
    for answer in answers {
        match answer.status.as_u16() {
            200 => alive += usize::from(Session::of(&answer).is_alive(&app).await),
            429 => answer.is_problem(429, "too-early"),
            _ => answer.is_problem(401, "sign-in-refused"),
        }
    }
    let known = app.sessions(&user).await;
    assert_eq!(known, alive + 1, "the log knows the acting one and those of the new password");
    app.pass(TimeDelta::minutes(15));
    app.login(PASSWORD).await.is_problem(401, "sign-in-refused");
    app.pass(TimeDelta::minutes(15));
    assert_eq!(app.login(NEW).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_refreshes_and_sign_outs_every_other_session_ends() {
    let app = Arc::new(App::start().await);
    app.register().await;
    let mut sessions = Vec::new();
    for _ in 0..25 {
        sessions.push(Session::begin(&app).await);
    }
    let acting = Session::begin(&app).await;
    let tasks = (0..51).map(|number| {
        let (app, acting) = (Arc::clone(&app), acting.clone());
        let session = sessions[number % 25].clone();
        async move {
            match number {
                25 => app.change_password(&acting.access, PASSWORD, NEW).await,
                _ if number % 5 == 0 => app.logout(&session.access).await,
                _ => app.refresh(&session.refresh).await,
            }
        }
    });
    let answers = all_at_once(tasks).await;
    assert_eq!(answers[25].status, 204, "{:?}", answers[25]);
    for answer in answers.iter().filter(|answer| answer.status == 200) {
        Session::of(answer).is_over(&app).await;
    }
    for session in &sessions {
        session.is_over(&app).await;
    }
    assert!(acting.is_alive(&app).await);
    assert!(Session::of(&app.refresh(&acting.refresh).await).is_alive(&app).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_signed_out_beside_its_own_change_leaves_one_of_two_outcomes() {
    for _ in 0..5 {
        let app = Arc::new(App::start().await);
        let user = app.register().await;
        let acting = Session::begin(&app).await;
        let change = {
            let (app, access) = (Arc::clone(&app), acting.access.clone());
            async move { app.change_password(&access, PASSWORD, NEW).await }
        };
        let sign_out = {
            let (app, access) = (Arc::clone(&app), acting.access.clone());
            async move { app.logout(&access).await }
        };
        let (changed, signed_out) = tokio::join!(tokio::spawn(change), tokio::spawn(sign_out));
        assert_eq!(signed_out.unwrap().status, 204);
        let events = app.events(&user).await;
        let good = match changed.unwrap() {
            changed if changed.status == 204 => {
                assert_eq!(events[2..], ["UserPasswordChanged", "UserSignedOut"]);
                NEW
            }
            refused => {
                refused.is_problem(401, "bad-token");
                assert_eq!(events[2..], ["UserSignedOut"]);
                PASSWORD
            }
        };
        acting.is_over(&app).await;
        assert_eq!(app.login(good).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_easy_to_guess_cannot_be_set_and_the_reason_is_given() {
    let app = App::start().await;
    let register = |email: &str, name: &str, password: &str| {
        app.post("/register", json!({"email": email, "name": name, "password": password}))
    };
    for (password, reason) in [
        ("aaaaaaaaaaaaaaa", "repeats itself"),
        ("abcdefghijklmnop", "is a sequence of characters or keys"),
        ("password password", "is made of much used passwords or words"),
        ("ada@example.com", "is made of your own address"),
        ("Lovelace-Lovelace-1", "is made of your own name"),
        ("accounts.example.com", "is made of the name of this service"),
        ("annals and annals", "is made of the name of this service"),
    ] {
        names(&register("ada@example.com", "Ada Lovelace", password).await, "password", reason);
    }
    // All that is wrong, in one answer; what cannot be read is not known of the user.
    let both = register("ada", "Ada Lovelace", "lovelace lovelace 1").await;
    let errors = both.json()["errors"].clone();
    assert_eq!((&errors[0]["field"], &errors[1]["field"]), (&json!("email"), &json!("password")));

    app.register().await;
    let session = Session::begin(&app).await;
    for (password, reason) in
        [("aaaaaaaaaaaaaaa", "repeats itself"), ("ada@example.com 1815", "is made of your own address")]
    {
        for _ in 0..3 {
            let refused = app.change_password(&session.access, PASSWORD, password).await;
            names(&refused, "new_password", reason);
        }
    }
    // None of these was counted.
    assert_eq!(app.change_password(&session.access, PASSWORD, NEW).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_judged_by_the_name_that_the_user_has_not_by_one_that_a_view_remembers() {
    let app = App::start().await;
    let user = app.register().await;
    let session = Session::begin(&app).await;
    assert_eq!(app.patch_me(&session.access, json!({"name": "Wilhelmina"})).await.status, 200);
    app.project(&user).await;
    assert_eq!(app.patch_me(&session.access, json!({"name": "Augusta"})).await.status, 200);
    // The view still says Wilhelmina: that is nobody's name now.
    let with_the_old_name = "Wilhelmina x 42 zq";
    assert_eq!(app.change_password(&session.access, PASSWORD, with_the_old_name).await.status, 204);
    app.project(&user).await;
    let refused = app.change_password(&session.access, with_the_old_name, "Augusta Augusta 1").await;
    names(&refused, "new_password", "is made of your own name");
}
