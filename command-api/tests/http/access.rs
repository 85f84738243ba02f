//! Access tokens as they come: one of each kind that is no good. What makes each of them so is tested with the tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use storage::keys::SigningSecret;

use crate::app::{Answer, App, PASSWORD};

async fn with(app: &App, values: &[&str]) -> Answer {
    let request = app.request(Method::GET, "/me");
    app.send(values.iter().fold(request, |request, value| request.header("Authorization", *value))).await
}

#[track_caller]
fn challenged(answer: &Answer, kind: &str) {
    answer.is_problem(401, kind);
    let challenge = if kind == "no-token" { "Bearer" } else { r#"Bearer error="invalid_token""# };
    assert_eq!(answer.header("www-authenticate"), challenge);
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// A token with changes to its header and its claims, signed with this service's own key.
fn resigned(app: &App, token: &str, header: &Value, claims: &Value) -> String {
    let merged = |index, changes: &Value| {
        let mut object = part(token, index);
        object.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        URL_SAFE_NO_PAD.encode(object.to_string())
    };
    let message = format!("{}.{}", merged(0, header), merged(1, claims));
    let key = EncodingKey::from_ec_der(app.keys.signing.current().1.expose_pkcs8());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::ES256).unwrap();
    format!("{message}.{signature}")
}

async fn token(app: &App) -> String {
    app.register().await;
    app.signed_in().await["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_brings_no_bearer_token_is_asked_for_one() {
    let app = App::start().await;
    let token = token(&app).await;
    challenged(&with(&app, &[]).await, "no-token");
    for value in
        ["", "Bearer", "Bearer ", "Basic YTpi", "DPoP x", "Token x", &token, &format!("Bearer{token}")]
    {
        challenged(&with(&app, &[value]).await, "no-token");
    }
    for (method, route) in [
        (Method::GET, "/me"),
        (Method::PATCH, "/me"),
        (Method::POST, "/me/email"),
        (Method::POST, "/me/password"),
        (Method::GET, "/me/sessions"),
        (Method::DELETE, "/me/sessions"),
        (Method::DELETE, "/me/sessions/x"),
        (Method::POST, "/logout"),
    ] {
        challenged(&app.send(app.request(method, route)).await, "no-token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheme_is_taken_in_any_case_and_the_token_as_it_is() {
    let app = App::start().await;
    let token = token(&app).await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(with(&app, &[&format!("{scheme} {token}")]).await.status, 200);
    }
    let good = format!("Bearer {token}");
    for values in [
        vec![format!("Bearer  {token}")],
        vec![format!("Bearer {token} {token}")],
        vec![format!("Bearer {token}, Bearer {token}")],
        vec![format!("Bearer {token}=")],
        vec![format!("Bearer \"{token}\"")],
        vec![format!("Bearer {}", "x".repeat(20_000))],
        vec!["Bearer ..".to_owned()],
        vec![good.clone(), good.clone()],
        vec!["Basic YTpi".to_owned(), good.clone()],
    ] {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        challenged(&with(&app, &values).await, "bad-token");
    }
    // Nowhere but in the header.
    challenged(&app.send(app.request(Method::GET, &format!("/me?access_token={token}"))).await, "no-token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_making_is_not_good() {
    let app = App::start().await;
    let token = token(&app).await;
    let now = app.now().timestamp();
    let same = resigned(&app, &token, &json!({}), &json!({}));
    assert_eq!(app.get("/me", &same).await.status, 200, "so it is the changes that are refused");
    for (header, claims) in [
        (json!({}), json!({"iss": "https://elsewhere.example.com"})),
        (json!({}), json!({"aud": "https://elsewhere.example.com"})),
        (json!({}), json!({"exp": now - 61})),
        (json!({}), json!({"nbf": now + 61})),
        (json!({}), json!({"iat": now + 61})),
        (json!({}), json!({"sid": "01890a5d-ac96-774b-bcce-b302099a8057"})),
        (json!({}), json!({"sub": "01890a5d-ac96-774b-bcce-b302099a8057"})),
        (json!({"typ": "JWT"}), json!({})),
        (json!({"kid": "unknown"}), json!({})),
        (json!({"alg": "ES384"}), json!({})),
        (json!({"alg": "none"}), json!({})),
        (json!({"crit": ["exp"]}), json!({})),
        (json!({"jku": "https://elsewhere.example.com"}), json!({})),
    ] {
        let forged = resigned(&app, &token, &header, &claims);
        assert_eq!(app.get("/me", &forged).await.status, 401, "{header} {claims}");
        challenged(&app.get("/me", &forged).await, "bad-token");
        challenged(&app.logout(&forged).await, "bad-token");
        challenged(&app.get("/me/sessions", &forged).await, "bad-token");
        challenged(&app.delete("/me/sessions", &forged).await, "bad-token");
        challenged(&app.change_password(&forged, PASSWORD, "staple of another horse").await, "bad-token");
    }
    assert_eq!(app.get("/me", &token).await.status, 200, "and none of it did any harm");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_good_signature_is_not_good() {
    let app = App::start().await;
    let token = token(&app).await;
    let (message, signature) = token.rsplit_once('.').unwrap();
    let claims = part(&token, 1);

    let mut altered = URL_SAFE_NO_PAD.decode(signature).unwrap();
    altered[10] ^= 1;
    let none = URL_SAFE_NO_PAD.encode(json!({"typ": "at+jwt", "alg": "none"}).to_string());
    let payload = message.split_once('.').unwrap().1;
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some("at+jwt".to_owned());
    header.kid = part(&token, 0)["kid"].as_str().map(str::to_owned);
    let jwk = app.send(app.request(Method::GET, "/.well-known/jwks.json")).await.json()["keys"][0].clone();
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let with_public =
        |octets: &[u8]| jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(octets)).unwrap();
    let mut of_another = header.clone();
    of_another.alg = Algorithm::ES256;
    let stranger = SigningSecret::random().unwrap();
    let stranger = EncodingKey::from_ec_der(stranger.expose_pkcs8());

    for forged in [
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(altered)),
        format!("{message}."),
        message.to_owned(),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        with_public(&point),
        with_public(jwk.to_string().as_bytes()),
        jsonwebtoken::encode(&of_another, &claims, &stranger).unwrap(),
    ] {
        assert_ne!(forged, token);
        challenged(&app.get("/me", &forged).await, "bad-token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_fifteen_minutes_and_the_leeway() {
    let app = App::start().await;
    let token = token(&app).await;
    app.pass(TimeDelta::seconds(900 + 59));
    assert_eq!(app.get("/me", &token).await.status, 200);
    app.pass(TimeDelta::seconds(1));
    challenged(&app.get("/me", &token).await, "bad-token");
    app.pass(TimeDelta::seconds(-960 - 61));
    challenged(&app.get("/me", &token).await, "bad-token");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_deployment_takes_none_of_our_tokens() {
    let (app, other) = (App::start().await, App::start().await);
    other.register().await;
    let token = token(&app).await;
    challenged(&other.get("/me", &token).await, "bad-token");
}
