//! Fields: what each may hold, and that all that is wrong is named at once.

use serde_json::{Value, json};

use crate::app::{ADA, Answer, App, PASSWORD};

/// The fields that an answer names, in its order.
#[track_caller]
fn named(answer: &Answer) -> Vec<String> {
    answer.is_problem(422, "invalid");
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
}

fn registration(field: &str, value: Value) -> Value {
    let mut body = json!({"email": ADA, "password": PASSWORD, "name": "Ada"});
    body[field] = value;
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_in_one_answer() {
    let app = App::start().await;
    let answer =
        app.post("/register", json!({"email": "ada", "password": "short", "name": "", "admin": true})).await;
    assert_eq!(
        answer.json()["errors"],
        json!([
            {"field": "email", "detail": "is not an e-mail address"},
            {"field": "password", "detail": "must have at least 15 characters"},
            {"field": "name", "detail": "must not be empty"},
            {"field": "admin", "detail": "is not a field of this request"},
        ])
    );
    assert_eq!(named(&app.post("/register", json!({})).await), ["email", "password"]);
    assert_eq!(named(&app.post("/login", json!({"name": "Ada"})).await), ["email", "password", "name"]);
    assert_eq!(named(&app.post("/token/refresh", json!({"token": "x"})).await), ["refresh_token", "token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_another_type_is_not_acceptable() {
    let app = App::start().await;
    for value in [json!(1), json!(true), json!([]), json!([ADA]), json!({}), json!({"email": ADA})] {
        for field in ["email", "password", "name"] {
            let answer = app.post("/register", registration(field, value.clone())).await;
            assert_eq!(named(&answer), [field]);
            assert_eq!(answer.json()["errors"][0]["detail"], "must be a string");
        }
    }
    for field in ["email", "password"] {
        assert_eq!(named(&app.post("/register", registration(field, Value::Null)).await), [field]);
        assert_eq!(
            named(&app.post("/login", json!({"email": ADA, "password": PASSWORD, field: null})).await),
            [field]
        );
    }
    let token = app.post("/token/refresh", json!({"refresh_token": null})).await;
    assert_eq!(named(&token), ["refresh_token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_may_be_null_or_absent() {
    let app = App::start().await;
    for (email, name) in [(ADA, json!({"name": null})), ("bob@example.com", json!({}))] {
        let mut body = json!({"email": email, "password": PASSWORD});
        body.as_object_mut().unwrap().extend(name.as_object().unwrap().clone());
        assert_eq!(app.post("/register", body).await.status, 201);
        let token = app.login_as(email, PASSWORD).await.text_of("access_token");
        assert_eq!(app.get("/me", &token).await.json()["name"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_stands_there_twice_is_not_acceptable() {
    let app = App::start().await;
    for body in [
        r#"{"email":"ada@example.com","password":"correct horse battery","email":"ada@example.com"}"#,
        r#"{"email":"ada@example.com","password":"correct horse battery","\u0065mail":"bob@example.com"}"#,
    ] {
        for route in ["/register", "/login"] {
            let answer = app.post_octets(route, body).await;
            assert_eq!(named(&answer), ["email"]);
            assert_eq!(answer.json()["errors"][0]["detail"], "stands there more than once");
        }
    }
    let answer = app.post_octets("/token/refresh", r#"{"refresh_token":"a","refresh_token":"a"}"#).await;
    assert_eq!(named(&answer), ["refresh_token"]);
    let unknown = app.post_octets("/token/refresh", r#"{"refresh_token":"a","x":1,"x":2}"#).await;
    assert_eq!(named(&unknown), ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_field_name_is_not_sent_back_whole() {
    let app = App::start().await;
    let long = "ü".repeat(4_000);
    let body = format!(r#"{{"email":"{ADA}","password":"{PASSWORD}","{long}":1,"{long}":2}}"#);
    let answer = app.post_octets("/register", body).await;
    assert_eq!(named(&answer), ["ü".repeat(64)]);
    assert!(answer.text.len() < 512, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_are_refused_in_addresses_and_names() {
    let app = App::start().await;
    for character in ['\0', '\n', '\r', '\u{7f}', '\u{85}', '\u{1b}'] {
        let email =
            app.post("/register", registration("email", json!(format!("a{character}da@example.com")))).await;
        assert_eq!(named(&email), ["email"]);
        let name = app.post("/register", registration("name", json!(format!("A{character}da")))).await;
        assert_eq!(named(&name), ["name"]);
    }
    let token = app.post("/token/refresh", json!({"refresh_token": "k\0.a.b"})).await;
    token.is_problem(400, "invalid-grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_counts_beyond_a_nul() {
    let app = App::start().await;
    app.register_as(ADA, "correct horse\0 battery").await;
    app.login("correct horse\0 stapler").await.is_problem(401, "sign-in-refused");
    app.login("correct horse").await.is_problem(401, "sign-in-refused");
    assert_eq!(app.login("correct horse\0 battery").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_set_in_nfd_signs_in_in_nfc_and_the_other_way_round() {
    let app = App::start().await;
    let (nfc, nfd) = ("crème brûlée à la carte", "cre\u{300}me bru\u{302}le\u{301}e a\u{300} la carte");
    for (email, set, presented) in [(ADA, nfd, nfc), ("bob@example.com", nfc, nfd)] {
        app.register_as(email, set).await;
        assert_eq!(app.login_as(email, presented).await.status, 200);
        // NFC and nothing else: case and white space count.
        app.login_as(email, &presented.to_uppercase()).await.is_problem(401, "sign-in-refused");
        app.login_as(email, &format!("{presented} ")).await.is_problem(401, "sign-in-refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_alphabet_makes_a_password_and_a_name() {
    let app = App::start().await;
    for (index, (password, name)) in [
        ("пароль из пяти слов", "Ада"),
        ("密碼是一個很長的句子而且不重複", "李小龍"),
        ("🦀🐎🔋📎🧭🎈🍋🪁🗿🧵🚲🎻🥝🪐🐙", "🦀"),
        ("كلمة المرور الطويلة", "آدا"),
    ]
    .into_iter()
    .enumerate()
    {
        let email = format!("user{index}@example.com");
        let body = json!({"email": email, "password": password, "name": name});
        assert_eq!(app.post("/register", body).await.status, 201, "{password}");
        let signed_in = app.login_as(&email, password).await;
        assert_eq!(signed_in.status, 200, "{password}");
        assert_eq!(app.get("/me", &signed_in.text_of("access_token")).await.json()["name"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_has_at_most_4096_octets() {
    let app = App::start().await;
    let longest: String =
        (0..1_024_u32).map(|n| char::from_u32(0x1F400 + n * n % 211)).collect::<Option<_>>().unwrap();
    assert_eq!(longest.len(), 4_096);
    app.register_as(ADA, &longest).await;
    assert_eq!(app.login(&longest).await.status, 200);
    for password in ["x".repeat(4_097), format!("{longest}x"), "x".repeat(1_025)] {
        assert_eq!(named(&app.login(&password).await), ["password"]);
        assert_eq!(
            named(&app.post("/register", registration("password", json!(password))).await),
            ["password"]
        );
    }
    // How long a password must be is judged when it is set.
    app.login("").await.is_problem(401, "sign-in-refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_found_in_any_case_and_spelling_of_its_domain() {
    let app = App::start().await;
    let user = app.register_as("Ada.Lovelace@Bücher.Example", PASSWORD).await;
    for email in [
        "ada.lovelace@bücher.example",
        "ADA.LOVELACE@XN--BCHER-KVA.EXAMPLE",
        " ada.lovelace@bu\u{308}cher.example\t",
    ] {
        let answer = app.login_as(email, PASSWORD).await;
        assert_eq!(answer.status, 200, "{email}");
        assert_eq!(answer.text_of("user_id"), user);
        app.post("/register", registration("email", json!(email))).await.is_problem(409, "address-taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_at_most_254_octets() {
    let app = App::start().await;
    let domain = format!("{}.{}.{}.com", "d".repeat(63), "e".repeat(63), "f".repeat(57));
    let of = |octets: usize| format!("{}@{domain}", "l".repeat(octets - domain.len() - 1));
    app.register_as(&of(254), PASSWORD).await;
    assert_eq!(app.login_as(&of(254), PASSWORD).await.status, 200);
    assert_eq!(named(&app.login_as(&of(255), PASSWORD).await), ["email"]);
    assert_eq!(named(&app.post("/register", registration("email", json!(of(255)))).await), ["email"]);
}
