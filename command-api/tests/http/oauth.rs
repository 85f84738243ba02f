//! OAuth's endpoints: who may ask what, and that they mean the same sessions as everything else.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{ADA, Answer, App, FORM, GATEWAY, PASSWORD, SHOP};

const TOKEN: &str = "/oauth2/token";
const REVOKE: &str = "/oauth2/revoke";
const INTROSPECT: &str = "/oauth2/introspect";

/// A session: its tokens, and its user.
struct Begun {
    user: String,
    session: String,
    access: String,
    refresh: String,
}

impl Begun {
    fn of(body: &Value) -> Self {
        let text = |field: &str| body[field].as_str().unwrap().to_owned();
        let (user, session) = (text("user_id"), text("session_id"));
        Self { user, session, access: text("access_token"), refresh: text("refresh_token") }
    }
}

/// Signs Ada in; for a client with a secret, if one is named.
async fn begin(app: &App, client: Option<(&str, &str)>) -> Begun {
    let answer = sign_in_for(app, client).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    Begun::of(&answer.json())
}

async fn sign_in_for(app: &App, client: Option<(&str, &str)>) -> Answer {
    let mut request = app.request(Method::POST, "/login").json(&json!({"email": ADA, "password": PASSWORD}));
    if let Some((id, secret)) = client {
        request = request.basic_auth(id, Some(secret));
    }
    app.send(request).await
}

async fn refresh(app: &App, client: Option<(&str, &str)>, token: &str) -> Answer {
    app.form(TOKEN, client, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
}

async fn revoke(app: &App, client: Option<(&str, &str)>, token: &str) -> Answer {
    app.form(REVOKE, client, &[("token", token)]).await
}

async fn worth(app: &App, token: &str) -> Value {
    let answer = app.form(INTROSPECT, Some(GATEWAY), &[("token", token)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn nothing() -> Value {
    json!({"active": false})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_by_oauth_is_the_same_refresh() {
    let app = App::start().await;
    app.register().await;
    let begun = begin(&app, None).await;
    let answer = refresh(&app, None, &begun.refresh).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        (answer.header("cache-control"), answer.header("content-type")),
        ("no-store", "application/json")
    );
    assert_eq!(answer.header("pragma"), "no-cache", "as RFC 6749, section 5.1, still has it");
    let next = Begun::of(&answer.json());
    assert_eq!(
        (answer.text_of("token_type"), answer.json()["expires_in"].clone()),
        ("Bearer".into(), json!(900))
    );
    assert_eq!((&next.user, &next.session), (&begun.user, &begun.session));
    // One line of tokens, wherever they are spent.
    let again = app.refresh(&begun.refresh).await;
    assert_eq!(again.text_of("refresh_token"), next.refresh, "the same successor within the grace");
    let named = [("grant_type", "refresh_token"), ("refresh_token", &next.refresh), ("client_id", "annals")];
    let third = app.form(TOKEN, None, &named).await;
    assert_eq!(third.status, 200, "{third:?}");
    app.pass(TimeDelta::seconds(11));
    refresh(&app, None, &begun.refresh).await.is_oauth_error(400, "invalid_grant");
    app.get("/me", &next.access).await.is_problem(401, "bad-token");
    assert_eq!(app.events(&begun.user).await, ["UserRegistered", "UserSignedIn", "RefreshTokenReused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_wrong_is_refused_as_oauth_has_it() {
    let app = App::start().await;
    app.register().await;
    let begun = begin(&app, None).await;
    let token = begun.refresh.as_str();
    let grant = ("grant_type", "refresh_token");
    for (error, form) in [
        ("invalid_request", &[][..]),
        ("invalid_request", &[grant]),
        ("invalid_request", &[("refresh_token", token)]),
        ("invalid_request", &[grant, ("refresh_token", "")]),
        ("invalid_request", &[grant, ("refresh_token", token), grant]),
        ("invalid_request", &[grant, ("refresh_token", token), ("refresh_token", token)]),
        ("invalid_request", &[grant, ("refresh_token", token), ("x", "1"), ("x", "1")]),
        ("invalid_request", &[grant, ("refresh_token", token), ("client_secret", "x")]),
        ("unsupported_grant_type", &[("grant_type", "password"), ("username", ADA)]),
        ("unsupported_grant_type", &[("grant_type", "Refresh_token"), ("refresh_token", token)]),
        ("invalid_scope", &[grant, ("refresh_token", token), ("scope", "openid")]),
        ("invalid_grant", &[grant, ("refresh_token", "x")]),
        ("invalid_grant", &[grant, ("refresh_token", &begun.access)]),
    ] {
        app.form(TOKEN, None, form).await.is_oauth_error(400, error);
    }
    for path in [REVOKE, INTROSPECT] {
        let client = if path == REVOKE { SHOP } else { GATEWAY };
        for form in [&[][..], &[("token", "")], &[("token", "x"), ("token", "x")]] {
            app.form(path, Some(client), form).await.is_oauth_error(400, "invalid_request");
        }
    }
    for path in [TOKEN, REVOKE, INTROSPECT] {
        let send = async |content_type: &str, body: String| {
            let request = app.request(Method::POST, path).header("content-type", content_type);
            app.send(request.body(body)).await
        };
        send(FORM, "%zz=1".to_owned()).await.is_oauth_error(400, "invalid_request");
        send(FORM, "x".repeat(16 * 1024 + 1)).await.is_oauth_error(413, "invalid_request");
        send("application/json", json!({"token": "x"}).to_string())
            .await
            .is_oauth_error(415, "invalid_request");
        send("text/plain", "token=x".to_owned()).await.is_oauth_error(415, "invalid_request");
        app.send(app.request(Method::GET, path)).await.is_problem(405, "method-not-allowed");
    }
    // What is in the query is not looked at, and nothing of all this has touched the session.
    let query = app.request(Method::POST, &format!("{REVOKE}?token={token}")).header("content-type", FORM);
    app.send(query).await.is_oauth_error(400, "invalid_request");
    assert_eq!(app.form(TOKEN, None, &[grant, ("refresh_token", token), ("unknown", "1")]).await.status, 200);
    assert_eq!(app.events(&begun.user).await, ["UserRegistered", "UserSignedIn"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_who_it_is_in_one_way_or_is_refused() {
    let app = App::start().await;
    let (id, secret) = SHOP;
    assert_eq!(app.form(REVOKE, Some(SHOP), &[("token", "x")]).await.status, 200);
    assert_eq!(app.form(REVOKE, Some(SHOP), &[("token", "x"), ("client_id", id)]).await.status, 200);
    let in_form = [("token", "x"), ("client_id", id), ("client_secret", secret)];
    assert_eq!(app.form(REVOKE, None, &in_form).await.status, 200);
    for both in [
        &[("token", "x"), ("client_secret", secret)][..],
        &in_form,
        &[("token", "x"), ("client_id", "annals")],
    ] {
        app.form(REVOKE, Some(SHOP), both).await.is_oauth_error(400, "invalid_request");
    }
    for (client, form) in [
        (Some((id, "wrong")), &[("token", "x")][..]),
        (Some((id, "")), &[("token", "x")]),
        (Some(("nobody", secret)), &[("token", "x")]),
        (Some(("annals", secret)), &[("token", "x")]),
        (Some(("gateway", secret)), &[("token", "x")]),
        (None, &[("token", "x"), ("client_id", id)]),
        (None, &[("token", "x"), ("client_id", "nobody")]),
        (None, &[("token", "x"), ("client_id", id), ("client_secret", "wrong")]),
        (None, &[("token", "x"), ("client_id", "annals"), ("client_secret", "x")]),
    ] {
        for path in [TOKEN, REVOKE, INTROSPECT] {
            app.form(path, client, form).await.is_oauth_error(401, "invalid_client");
        }
    }
    let strange =
        app.request(Method::POST, REVOKE).header("content-type", FORM).body("token=x").bearer_auth("x");
    app.send(strange).await.is_oauth_error(401, "invalid_client");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_client_is_answered_as_one_with_a_wrong_secret_is() {
    let app = App::start().await;
    let unknown = app.taken(app.form(INTROSPECT, Some(("nobody", "x")), &[("token", "x")])).await;
    let wrong = app.taken(app.form(INTROSPECT, Some(("gateway", "x")), &[("token", "x")])).await;
    assert_eq!(unknown, wrong);
    assert!(wrong.1.requests.is_empty(), "and asks no table");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_only_what_it_may() {
    let app = App::start().await;
    app.register().await;
    let begun = begin(&app, None).await;
    refresh(&app, Some(GATEWAY), &begun.refresh).await.is_oauth_error(400, "unauthorized_client");
    revoke(&app, Some(GATEWAY), &begun.refresh).await.is_oauth_error(400, "unauthorized_client");
    app.form(INTROSPECT, Some(SHOP), &[("token", &begun.access)])
        .await
        .is_oauth_error(400, "unauthorized_client");
    app.form(INTROSPECT, None, &[("token", &begun.access)]).await.is_oauth_error(401, "invalid_client");
    let public = [("token", begun.access.as_str()), ("client_id", "annals")];
    app.form(INTROSPECT, None, &public).await.is_oauth_error(401, "invalid_client");
    assert_eq!(worth(&app, &begun.access).await["active"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refreshed_and_revoked_by_the_client_it_was_issued_to_only() {
    let app = App::start().await;
    app.register().await;
    let (own, shops) = (begin(&app, None).await, begin(&app, Some(SHOP)).await);
    refresh(&app, Some(SHOP), &own.refresh).await.is_oauth_error(400, "invalid_grant");
    refresh(&app, None, &shops.refresh).await.is_oauth_error(400, "invalid_grant");
    app.refresh(&shops.refresh).await.is_problem(400, "invalid-grant");
    for (client, begun) in [(Some(SHOP), &own), (None, &shops)] {
        revoke(&app, client, &begun.refresh).await.is_oauth_error(400, "invalid_grant");
        revoke(&app, client, &begun.access).await.is_oauth_error(400, "invalid_grant");
    }
    // A stranger's try has cost nobody the session.
    let next = refresh(&app, Some(SHOP), &shops.refresh).await;
    assert_eq!(next.status, 200, "{next:?}");
    let next = Begun::of(&next.json());
    assert_eq!(worth(&app, &next.access).await["client_id"], "shop");
    assert_eq!(worth(&app, &own.access).await["client_id"], "annals");
    assert_eq!(app.get("/me", &next.access).await.status, 200);
    assert_eq!(revoke(&app, Some(SHOP), &next.refresh).await.status, 200);
    app.get("/me", &next.access).await.is_problem(401, "bad-token");
    assert_eq!(app.refresh(&own.refresh).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_signed_in_for_a_client_that_is_unknown_or_may_not() {
    let app = App::start().await;
    let user = app.register().await;
    for client in [("shop", "wrong"), ("nobody", "x"), GATEWAY, ("annals", "")] {
        let (answer, taken) = app.taken(sign_in_for(&app, Some(client))).await;
        answer.is_problem(401, "client-refused");
        assert!(answer.header("www-authenticate").starts_with("Basic realm="));
        assert!(taken.requests.is_empty(), "no attempt is counted");
    }
    assert_eq!(app.events(&user).await, ["UserRegistered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_ends_its_session_at_once_whichever_token_it_is() {
    let app = App::start().await;
    let user = app.register().await;
    for kind in ["refresh", "access", "spent"] {
        let begun = begin(&app, None).await;
        let token = match kind {
            "access" => begun.access.clone(),
            "spent" => {
                assert_eq!(app.refresh(&begun.refresh).await.status, 200);
                app.pass(TimeDelta::minutes(1));
                begun.refresh.clone()
            }
            _ => begun.refresh.clone(),
        };
        let answer = app.form(REVOKE, None, &[("token", &token), ("token_type_hint", "no such hint")]).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""), "{kind}");
        app.get("/me", &begun.access).await.is_problem(401, "bad-token");
        app.refresh(&begun.refresh).await.is_problem(400, "invalid-grant");
        assert_eq!(worth(&app, &begun.access).await, nothing());
        assert_eq!(app.events(&user).await.last(), Some(&"UserSignedOut"), "{kind}");
        // Once more, it is revoked already.
        let events = app.events(&user).await;
        assert_eq!(revoke(&app, None, &token).await.status, 200);
        assert_eq!(app.events(&user).await, events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_is_revoked_already_and_asks_no_table() {
    let app = App::start().await;
    app.register().await;
    let begun = begin(&app, None).await;
    app.pass(TimeDelta::minutes(20));
    for token in ["x", "a.b.c", &begun.access, &format!("{}x", begun.refresh)] {
        let (answer, taken) = app.taken(revoke(&app, None, token)).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""));
        assert!(taken.requests.is_empty(), "{token}");
    }
    assert_eq!(app.refresh(&begun.refresh).await.status, 200, "and ends nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_introspection_tells_what_a_good_token_says_and_of_any_other_nothing() {
    let app = App::start().await;
    app.register().await;
    let seconds = app.now().timestamp();
    let begun = begin(&app, None).await;
    app.pass(TimeDelta::minutes(2));
    let mut access = worth(&app, &begun.access).await;
    let id = access.as_object_mut().unwrap().remove("jti").unwrap();
    assert_eq!(id.as_str().map(str::len), Some(36));
    let issuer = crate::app::ISSUER;
    assert_eq!(
        access,
        json!({
            "active": true, "token_type": "Bearer", "client_id": "annals", "sub": begun.user, "sid": begun.session,
            "iss": issuer, "aud": issuer, "exp": seconds + 900, "iat": seconds, "auth_time": seconds,
        })
    );
    let of_refresh = json!({
        "active": true, "client_id": "annals", "sub": begun.user, "sid": begun.session, "iss": issuer,
        "exp": seconds + 7 * 24 * 3_600, "auth_time": seconds,
    });
    assert_eq!(worth(&app, &begun.refresh).await, of_refresh);
    let next = Begun::of(&app.refresh(&begun.refresh).await.json());
    assert_eq!(worth(&app, &begun.refresh).await, nothing(), "spent");
    assert_eq!(worth(&app, &next.refresh).await["active"], true);
    assert_eq!(worth(&app, &begun.access).await["active"], true, "an access token of before is good");
    for other in ["x", "", "a.b.c", &format!("{}x", next.refresh), &next.access[1..]] {
        if !other.is_empty() {
            assert_eq!(worth(&app, other).await, nothing(), "{other}");
        }
    }
    // Without the leeway that protected routes give.
    app.pass(TimeDelta::minutes(13));
    assert_eq!(worth(&app, &begun.access).await, nothing());
    assert_eq!(app.get("/me", &begun.access).await.status, 200);
    app.pass(TimeDelta::days(7));
    assert_eq!(worth(&app, &next.refresh).await, nothing(), "not refreshed in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_shows_in_the_next_introspection_whatever_the_view_says() {
    let app = App::start().await;
    let user = app.register().await;
    for ended_by in ["logout", "another", "all", "password"] {
        let (begun, other) = (begin(&app, None).await, begin(&app, None).await);
        app.project(&user).await;
        let answer = match ended_by {
            "logout" => app.logout(&begun.access).await,
            "another" => app.delete(&format!("/me/sessions/{}", begun.session), &other.access).await,
            "all" => app.delete("/me/sessions", &other.access).await,
            _ => app.change_password(&other.access, PASSWORD, PASSWORD).await,
        };
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(worth(&app, &begun.access).await, nothing(), "{ended_by}");
        assert_eq!(worth(&app, &begun.refresh).await, nothing(), "{ended_by}");
        assert_eq!(worth(&app, &other.access).await["active"], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_patched_makes_no_token_good() {
    let app = App::start().await;
    app.register().await;
    let begun = begin(&app, None).await;
    let mut row = app
        .items(&app.tables.sessions)
        .await
        .into_iter()
        .find(|item| item["item"].as_s().unwrap().starts_with("session-"))
        .unwrap();
    row.insert("expires".to_owned(), aws_sdk_dynamodb::types::AttributeValue::N("9999999999".to_owned()));
    app.raw.put_item().table_name(&app.tables.sessions).set_item(Some(row)).send().await.unwrap();
    assert_eq!(worth(&app, &begun.access).await, nothing());
    assert_eq!(worth(&app, &begun.refresh).await, nothing());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oauth_request_costs_what_the_same_costs_elsewhere() {
    let app = App::start().await;
    let user = app.register().await;
    let begun = begin(&app, None).await;
    app.project(&user).await;
    let took = |requests: &[&str], write_units, read_units| {
        let requests = requests.iter().map(|&name| name.to_owned()).collect();
        testkit::Taken { requests, read_units, write_units }
    };
    let (_, taken) = app.taken(worth(&app, &begun.access)).await;
    assert_eq!(taken, took(&["BatchGetItem"], 0.0, 1.0));
    let (_, taken) = app.taken(worth(&app, &begun.refresh)).await;
    assert_eq!(taken, took(&["BatchGetItem"], 0.0, 1.0));
    let (answer, taken) = app.taken(refresh(&app, None, &begun.refresh)).await;
    assert_eq!(taken, took(&["UpdateItem"], 1.0, 0.0));
    let next = answer.text_of("refresh_token");
    let (_, taken) = app.taken(revoke(&app, None, &next)).await;
    assert_eq!(taken, took(&["BatchGetItem", "TransactWriteItems"], 4.0, 1.5));
    app.project(&user).await;
    let (_, taken) = app.taken(revoke(&app, None, &next)).await;
    assert_eq!(taken.requests, ["BatchGetItem", "Query", "DeleteItem"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_refreshes_and_revocations_at_once_end_the_session_once() {
    let app = std::sync::Arc::new(App::start().await);
    let user = app.register().await;
    let begun = std::sync::Arc::new(begin(&app, None).await);
    let tasks = (0..50).map(|number| {
        let (app, begun) = (std::sync::Arc::clone(&app), std::sync::Arc::clone(&begun));
        async move {
            if number % 2 == 0 {
                refresh(&app, None, &begun.refresh).await.status.as_u16()
            } else {
                revoke(&app, None, &begun.refresh).await.status.as_u16()
            }
        }
    });
    let statuses = crate::app::all_at_once(tasks).await;
    assert!(statuses.iter().skip(1).step_by(2).all(|status| *status == 200), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 400].contains(status)), "{statuses:?}");
    assert_eq!(app.events(&user).await, ["UserRegistered", "UserSignedIn", "UserSignedOut"]);
    assert_eq!(worth(&app, &begun.refresh).await, nothing());
}
