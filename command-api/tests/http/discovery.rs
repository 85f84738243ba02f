//! What is public: keys, metadata, and the document of the API.

use std::collections::BTreeSet;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{App, ISSUER};

async fn public(app: &App, path: &str) -> Value {
    let answer = app.send(app.request(Method::GET, path)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_keys_verify_access_tokens() {
    let app = App::start().await;
    app.register().await;
    let body = app.signed_in().await;
    let token = body["access_token"].as_str().unwrap();
    let published: JwkSet = serde_json::from_value(public(&app, "/.well-known/jwks.json").await).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    let key = DecodingKey::from_jwk(published.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut rules = Validation::new(Algorithm::ES256);
    rules.validate_exp = false;
    rules.set_issuer(&[ISSUER]);
    rules.set_audience(&[ISSUER]);
    let claims = jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap().claims;
    let now = app.now().timestamp();
    assert_eq!(claims["sub"], body["user_id"]);
    assert_eq!(claims["sid"], body["session_id"]);
    assert_eq!(
        (&claims["iat"], &claims["auth_time"], &claims["exp"]),
        (&json!(now), &json!(now), &json!(now + 900))
    );
    assert_eq!(claims["client_id"], "annals");
    assert!(claims["jti"].is_string());
    assert_eq!(claims.as_object().unwrap().len(), 9, "and nothing about the user: {claims}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_private_is_published() {
    let app = App::start().await;
    let keys = public(&app, "/.well-known/jwks.json").await;
    assert_eq!(keys.as_object().unwrap().len(), 1);
    for key in keys["keys"].as_array().unwrap() {
        let members: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_is_the_same_at_both_places() {
    let app = App::start().await;
    let metadata = public(&app, "/.well-known/oauth-authorization-server").await;
    assert_eq!(metadata, public(&app, "/.well-known/openid-configuration").await);
    assert_eq!(metadata["issuer"], ISSUER);
    assert_eq!(metadata["jwks_uri"], format!("{ISSUER}/.well-known/jwks.json"));
    assert_eq!(metadata["grant_types_supported"], json!(["refresh_token"]));
    let (basic, post) = ("client_secret_basic", "client_secret_post");
    for (kind, endpoint, methods) in [
        ("token", "token", json!([basic, post, "none"])),
        ("revocation", "revoke", json!([basic, post, "none"])),
        ("introspection", "introspect", json!([basic, post])),
    ] {
        assert_eq!(metadata[format!("{kind}_endpoint")], format!("{ISSUER}/oauth2/{endpoint}"));
        assert_eq!(metadata[format!("{kind}_endpoint_auth_methods_supported")], methods);
    }
    assert_eq!(public(&app, "/health").await, json!({"status": "ok"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_lists_every_route_with_every_status() {
    let app = App::start().await;
    let document = public(&app, "/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    assert_eq!(document["servers"], json!([{"url": ISSUER}]));
    let mut listed = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            // One that every route has: whoever comes past the edge is refused, whatever they ask for.
            let statuses: Vec<&str> = operation["responses"]
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .filter(|status| *status != "403")
                .collect();
            assert!(operation["responses"]["403"].is_object(), "{path}");
            listed.push(format!("{method} {path}: {}", statuses.join(" ")));
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()));
                let refused = !status.starts_with('2');
                let by_oauth =
                    path.starts_with("/oauth2/") && ["400", "401", "413", "415"].contains(&status.as_str());
                let form = if by_oauth { "application/json" } else { "application/problem+json" };
                assert!(!refused || response["content"][form].is_object(), "{path} {status}");
                let challenged = response["headers"]["WWW-Authenticate"].is_object();
                assert_eq!(challenged, status == "401", "{path} {status}");
                let told_to_wait = response["headers"]["Retry-After"].is_object();
                assert_eq!(told_to_wait, ["429", "503"].contains(&status.as_str()), "{path} {status}");
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                let schema = response["content"]["application/json"]["schema"].to_string();
                let of_the_gateway = schema.contains("#/components/schemas/GatewayMessage\"");
                let secured = operation["security"] == json!([{"bearer": []}]);
                let expected = match status.as_str() {
                    "413" | "429" | "500" | "503" => true,
                    "401" | "403" => secured,
                    _ => false,
                };
                assert_eq!(of_the_gateway, expected, "{path} {status}");
                let by_oauth =
                    path.starts_with("/oauth2/") && ["400", "401", "413", "415"].contains(&status.as_str());
                assert_eq!(schema.contains("#/components/schemas/OauthError\""), by_oauth, "{path} {status}");
            }
            let secured = path == "/logout" || path == "/me" || path.starts_with("/me/");
            assert_eq!(operation["security"] == json!([{"bearer": []}]), secured, "{path}");
            let of_clients = match path.as_str() {
                "/oauth2/introspect" => json!([{"client": []}]),
                "/oauth2/token" | "/oauth2/revoke" => json!([{}, {"client": []}]),
                _ => continue,
            };
            assert_eq!(operation["security"], of_clients, "{path}");
        }
    }
    listed.sort();
    assert_eq!(
        listed,
        [
            "delete /me/sessions/{session_id}: 204 401 404 500 503",
            "delete /me/sessions: 204 401 500 503",
            "get /.well-known/jwks.json: 200",
            "get /.well-known/oauth-authorization-server: 200",
            "get /.well-known/openid-configuration: 200",
            "get /health: 200",
            "get /me/events: 200 401 422 500 503",
            "get /me/sessions: 200 401 500 503",
            "get /me: 200 401 422 500 503",
            "patch /me: 200 400 401 412 413 415 422 500 503",
            "post /email/verify/resend: 202 400 413 415 422 500 503",
            "post /email/verify: 204 400 409 413 415 422 429 500 503",
            "post /login: 200 400 401 413 415 422 429 500 503",
            "post /logout: 204 401 500 503",
            "post /me/email: 202 400 401 413 415 422 500 503",
            "post /me/password: 204 400 401 413 415 422 429 500 503",
            "post /oauth2/introspect: 200 400 401 413 415 500 503",
            "post /oauth2/revoke: 200 400 401 413 415 500 503",
            "post /oauth2/token: 200 400 401 413 415 500 503",
            "post /password/forgot: 202 400 413 415 422 500 503",
            "post /password/reset: 204 400 413 415 422 500 503",
            "post /register: 201 202 400 409 413 415 422 500 503",
            "post /token/refresh: 200 400 413 415 422 500 503",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_refers_to_nothing_that_is_not_in_it() {
    let app = App::start().await;
    let document = public(&app, "/openapi.json").await;
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    assert!(references.contains("#/components/schemas/Problem"));
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let operations: Vec<&Value> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .collect();
    let ids: BTreeSet<&str> =
        operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len(), "each operation has an id of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_links_of_the_document_lead_from_a_registration_to_the_sign_out() {
    let app = App::start().await;
    let document = public(&app, "/openapi.json").await;
    let operations =
        || document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap());
    let ids: BTreeSet<&str> =
        operations().map(|(_, operation)| operation["operationId"].as_str().unwrap()).collect();
    let mut links = BTreeSet::new();
    for (_, operation) in operations() {
        for response in operation["responses"].as_object().unwrap().values() {
            for (name, link) in response["links"].as_object().into_iter().flatten() {
                let target = link["operationId"].as_str().unwrap();
                assert!(ids.contains(target), "{name} leads to {target}");
                links.insert(format!("{} to {target}", operation["operationId"].as_str().unwrap()));
            }
        }
    }
    let expected = [
        "events to events",
        "login to events",
        "login to logout",
        "login to me",
        "login to oauth_introspect",
        "login to oauth_revoke",
        "login to oauth_token",
        "login to refresh",
        "oauth_token to me",
        "oauth_token to oauth_revoke",
        "oauth_token to oauth_token",
        "refresh to logout",
        "refresh to me",
        "refresh to refresh",
        "register to forgot_password",
        "register to login",
    ];
    assert!(expected.iter().all(|link| links.contains(*link)), "{links:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_says_which_requests_are_taken() {
    let app = App::start().await;
    let document = public(&app, "/openapi.json").await;
    for schema in ["Register", "Login", "Refresh", "ForgotPassword", "ResetPassword"] {
        let schema = &document["components"]["schemas"][schema];
        assert_eq!(schema["additionalProperties"], false, "unknown fields are refused: {schema}");
    }
    let version = &document["paths"]["/me"]["get"]["parameters"][0]["schema"];
    assert_eq!((&version["minimum"], &version["maximum"]), (&json!(0), &json!(u64::MAX)));
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                references.insert(reference.clone());
            }
            members.values().for_each(|member| collect(member, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
