//! What each operation asks of DynamoDB, and what that costs: the table in the design.

use chrono::TimeDelta;
use reqwest::StatusCode;
use storage::one_time::OneTimePurpose;
use testkit::Taken;

use crate::app::{ADA, Answer, App, PASSWORD};

const LOGIN: [&str; 4] = ["GetItem", "BatchGetItem", "UpdateItem", "TransactWriteItems"];

#[track_caller]
fn took((answer, taken): (Answer, Taken), status: u16, requests: &[&str], write_units: f64, read_units: f64) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    let requests = requests.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(taken, Taken { requests, read_units, write_units });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_is_one_transaction() {
    let app = App::start().await;
    let body = serde_json::json!({"email": ADA, "password": PASSWORD, "name": "Ada"});
    took(app.taken(app.post("/register", body.clone())).await, 201, &["TransactWriteItems"], 6.0, 0.0);
    took(app.taken(app.post("/register", body)).await, 409, &["TransactWriteItems"], 6.0, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_is_four_requests_and_five_until_there_is_a_view() {
    let app = App::start().await;
    let user = app.register().await;
    let right_after = ["GetItem", "BatchGetItem", "UpdateItem", "Query", "TransactWriteItems"];
    took(app.taken(app.login(PASSWORD)).await, 200, &right_after, 5.0, 3.5);
    app.project(&user).await;
    took(app.taken(app.login(PASSWORD)).await, 200, &LOGIN, 5.0, 2.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fifty_first_session_costs_the_row_of_the_one_that_gives_way() {
    let app = App::start().await;
    let user = app.register().await;
    for _ in 0..50 {
        app.signed_in().await;
    }
    app.project(&user).await;
    took(app.taken(app.login(PASSWORD)).await, 200, &LOGIN, 7.0, 2.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_costs_no_more_after_many_others() {
    let app = App::start().await;
    let user = app.register().await;
    for number in 0..100 {
        if number % 10 == 0 {
            app.project(&user).await;
        }
        let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
        assert_eq!(app.logout(&token).await.status, StatusCode::NO_CONTENT);
    }
    app.project(&user).await;
    took(app.taken(app.login(PASSWORD)).await, 200, &LOGIN, 5.0, 2.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sign_in_is_three_requests_known_or_not_and_a_refused_one_four() {
    let app = App::start().await;
    let user = app.register().await;
    app.project(&user).await;
    let failed = ["GetItem", "BatchGetItem", "UpdateItem"];
    let refused = ["GetItem", "BatchGetItem", "UpdateItem", "Query"];
    for email in [ADA, "nobody@example.com"] {
        for _ in 0..5 {
            took(app.taken(app.login_as(email, "wrong")).await, 401, &failed, 1.0, 2.5);
        }
        took(app.taken(app.login_as(email, PASSWORD)).await, 429, &refused, 1.0, 3.5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_one_write() {
    let app = App::start().await;
    app.register().await;
    let token = app.signed_in().await["refresh_token"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        took(app.taken(app.refresh(&token)).await, 200, &["UpdateItem"], 1.0, 0.0);
    }
    app.pass(TimeDelta::minutes(1));
    let ended = app.taken(app.refresh(&token)).await;
    assert_eq!(ended.0.status, 400);
    let requests = ["UpdateItem", "BatchGetItem", "Query", "TransactWriteItems"];
    took(ended, 400, &requests, 5.0, 2.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_read_is_one_request_and_two_where_the_log_must_be_asked() {
    let app = App::start().await;
    let user = app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    let falls_through = ["BatchGetItem", "Query"];
    app.project(&user).await;
    took(app.taken(app.get("/me", &token)).await, 200, &["BatchGetItem"], 0.0, 1.5);
    took(app.taken(app.get("/me?min_version=2", &token)).await, 200, &["BatchGetItem"], 0.0, 1.5);
    app.signed_in().await;
    took(app.taken(app.get("/me?min_version=3", &token)).await, 200, &falls_through, 0.0, 2.5);
    took(app.taken(app.get("/me?min_version=99", &token)).await, 200, &falls_through, 0.0, 2.5);
    took(app.taken(app.get("/me", "x")).await, 401, &[], 0.0, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_is_two_requests_and_three_if_there_is_nothing_to_do() {
    let app = App::start().await;
    let user = app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    app.project(&user).await;
    let renaming = || app.patch_me(&token, serde_json::json!({"name": "Augusta"}));
    took(app.taken(renaming()).await, 200, &["BatchGetItem", "PutItem"], 1.0, 2.5);
    app.project(&user).await;
    took(app.taken(renaming()).await, 200, &["BatchGetItem", "Query"], 0.0, 3.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_is_two_requests() {
    let app = App::start().await;
    let user = app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    app.project(&user).await;
    took(app.taken(app.logout(&token)).await, 204, &["BatchGetItem", "TransactWriteItems"], 4.0, 2.5);
    took(app.taken(app.logout(&token)).await, 401, &["BatchGetItem"], 0.0, 2.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_password_is_three_requests_and_seven_units_and_two_for_every_other_session() {
    let app = App::start().await;
    let user = app.register().await;
    let verifying = app.mailed_for(&user, OneTimePurpose::EmailVerification).await;
    assert_eq!(app.verify(&verifying).await.status, StatusCode::NO_CONTENT);
    let requests = ["BatchGetItem", "UpdateItem", "TransactWriteItems"];
    for (others, units) in [(0, 7.0), (1, 9.0), (5, 17.0)] {
        let mut token = String::new();
        for _ in 0..=others {
            token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
        }
        app.project(&user).await;
        let changing = app.change_password(&token, PASSWORD, PASSWORD);
        took(app.taken(changing).await, 204, &requests, units, 2.5);
        assert_eq!(app.logout(&token).await.status, StatusCode::NO_CONTENT);
    }
    // A refusal reads no more; one that comes too early reads the end of the log.
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    app.project(&user).await;
    for _ in 0..5 {
        let wrong = app.change_password(&token, "wrong", PASSWORD);
        took(app.taken(wrong).await, 422, &requests[..2], 1.0, 2.5);
    }
    let early = app.change_password(&token, PASSWORD, PASSWORD);
    took(app.taken(early).await, 429, &["BatchGetItem", "UpdateItem", "Query"], 1.0, 3.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_verified_pays_for_the_count_of_changes_and_for_no_hash_beyond_it() {
    let app = App::start().await;
    let user = app.register().await;
    let mut token = String::new();
    for _ in 0..=5 {
        token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    }
    let requests = ["BatchGetItem", "GetItem", "UpdateItem", "TransactWriteItems"];
    for units in [19.0, 9.0, 9.0] {
        app.project(&user).await;
        let changing = app.change_password(&token, PASSWORD, PASSWORD);
        took(app.taken(changing).await, 204, &requests, units, 3.5);
    }
    app.project(&user).await;
    let one_more = app.change_password(&token, PASSWORD, PASSWORD);
    took(app.taken(one_more).await, 429, &["BatchGetItem", "GetItem", "Query"], 0.0, 4.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_four_requests_known_or_not_whatever_the_view_knows() {
    let app = App::start().await;
    let user = app.register().await;
    app.project(&user).await;
    let requests = ["GetItem", "BatchGetItem", "Query", "TransactWriteItems"];
    for email in [ADA, "nobody@example.com"] {
        for _ in 0..4 {
            took(app.taken(app.forgot(email)).await, 202, &requests, 4.0, 3.5);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_three_requests_and_four_units_and_two_for_every_session() {
    let app = App::start().await;
    let user = app.register().await;
    let requests = ["BatchGetItem", "GetItem", "TransactWriteItems"];
    for (sessions, units) in [(0, 4.0), (1, 6.0), (5, 14.0)] {
        for _ in 0..sessions {
            app.signed_in().await;
        }
        assert_eq!(app.forgot(ADA).await.status, StatusCode::ACCEPTED);
        app.project(&user).await;
        let token = app.mailed(&user).await;
        took(app.taken(app.reset(&token, PASSWORD)).await, 204, &requests, units, 2.5);
        app.project(&user).await;
        // Spent: the log is asked.
        took(app.taken(app.reset(&token, PASSWORD)).await, 400, &["BatchGetItem", "Query"], 0.0, 2.5);
        app.pass(TimeDelta::minutes(10));
        took(app.taken(app.reset(&token, PASSWORD)).await, 400, &[], 0.0, 0.0);
    }
    took(app.taken(app.reset("x", PASSWORD)).await, 400, &[], 0.0, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_in_three_requests_and_ended_in_two_or_three() {
    let app = App::start().await;
    let user = app.register().await;
    let mut paths = Vec::new();
    let mut token = String::new();
    for _ in 0..5 {
        let begun = app.signed_in().await;
        token = begun["access_token"].as_str().unwrap().to_owned();
        paths.push(format!("/me/sessions/{}", begun["session_id"].as_str().unwrap()));
    }
    app.project(&user).await;
    // A unit for every session, and for the end of the log.
    let listing = ["BatchGetItem", "Query", "BatchGetItem"];
    took(app.taken(app.get("/me/sessions", &token)).await, 200, &listing, 0.0, 1.5 + 1.0 + 5.0);
    let one = ["BatchGetItem", "BatchGetItem", "TransactWriteItems"];
    took(app.taken(app.delete(&paths[1], &token)).await, 204, &one, 6.0, 3.5);
    app.project(&user).await;
    let others = ["BatchGetItem", "TransactWriteItems"];
    took(app.taken(app.delete("/me/sessions", &token)).await, 204, &others, 4.0 + 2.0 * 3.0, 2.5);
    app.project(&user).await;
    let nothing = ["BatchGetItem", "Query"];
    took(app.taken(app.delete("/me/sessions", &token)).await, 204, &nothing, 0.0, 3.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn to_verify_an_address_is_two_requests_and_to_ask_again_for_the_mail_four() {
    let app = App::start().await;
    let user = app.register().await;
    app.project(&user).await;
    let resending = ["GetItem", "BatchGetItem", "Query", "TransactWriteItems"];
    for email in [ADA, "nobody@example.com"] {
        let body = serde_json::json!({ "email": email });
        took(app.taken(app.post("/email/verify/resend", body)).await, 202, &resending, 4.0, 3.5);
    }
    app.project(&user).await;
    let token = app.mailed_for(&user, OneTimePurpose::EmailVerification).await;
    took(app.taken(app.verify(&token)).await, 204, &["BatchGetItem", "PutItem"], 1.0, 1.5);
    took(app.taken(app.verify("a.b.c.d")).await, 400, &[], 0.0, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_address_is_three_requests_and_its_confirmation_two() {
    let app = App::start().await;
    let user = app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    app.project(&user).await;
    // Who is not verified counts the mail to the address they have as well, and the log is asked whether they are.
    let unverified = ["BatchGetItem", "Query", "GetItem", "TransactWriteItems"];
    took(app.taken(app.change_email(&token, "ada@example.org")).await, 202, &unverified, 8.0, 4.5);
    let verifying = app.mailed_for(&user, OneTimePurpose::EmailVerification).await;
    assert_eq!(app.verify(&verifying).await.status, StatusCode::NO_CONTENT);
    app.project(&user).await;
    let asking = ["BatchGetItem", "GetItem", "TransactWriteItems"];
    took(app.taken(app.change_email(&token, "augusta@example.com")).await, 202, &asking, 6.0, 3.5);
    app.project(&user).await;
    let token = app.mailed_for(&user, OneTimePurpose::EmailChange).await;
    let confirming = ["BatchGetItem", "TransactWriteItems"];
    took(app.taken(app.verify(&token)).await, 204, &confirming, 6.0, 1.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_addresses_have_to_be_verified_a_registration_is_four_requests_and_a_good_sign_in_no_more_than_elsewhere()
 {
    let app = App::requiring_verification().await;
    let body = serde_json::json!({"email": ADA, "password": PASSWORD});
    let registering = ["GetItem", "BatchGetItem", "Query", "TransactWriteItems"];
    // Commit, vault, identifier and the count of mails; where the address is taken, as much.
    took(app.taken(app.post("/register", body.clone())).await, 202, &registering, 8.0, 3.5);
    took(app.taken(app.post("/register", body)).await, 202, &registering, 8.0, 3.5);
    let user = app.owner(ADA).await.unwrap();
    let token = app.mailed_for(&user, OneTimePurpose::EmailVerification).await;
    assert_eq!(app.verify(&token).await.status, StatusCode::NO_CONTENT);
    app.project(&user).await;
    took(app.taken(app.login(PASSWORD)).await, 200, &LOGIN, 5.0, 2.5);
    let refused = ["GetItem", "BatchGetItem", "UpdateItem", "Query"];
    for email in [ADA, "nobody@example.com"] {
        took(app.taken(app.login_as(email, "wrong")).await, 401, &refused, 1.0, 3.5);
    }
}
