use serde_json::{Value, json};

use crate::client::{ADA, Client};
use crate::process::{CHEAP, Data, Server, program, run};

/// A new secret and its hash.
async fn new_secret() -> (String, String) {
    let mut command = program();
    command.args(["clients", "secret", "--json"]);
    let shown = run(command).await.json();
    let text = |name: &str| shown[name].as_str().unwrap().to_owned();
    (text("secret"), text("secret_sha256"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_secret_was_made_here_asks_what_a_token_is_worth() {
    let (secret, hash) = new_secret().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.json");
    let clients = json!([{"id": "gateway", "secret_sha256": [hash], "may": ["introspect"]}]);
    std::fs::write(&file, clients.to_string()).unwrap();
    let mut command = program();
    command.args(["serve", "--memory", "--port", "0", "--argon2", CHEAP, "--clients"]).arg(&file);
    let server = Server::start(command).await;
    let ada = Client::of(&server);
    assert_eq!(ada.register(ADA).await.status, 201);
    let begun: Value = serde_json::from_str(&ada.login(ADA).await.text).unwrap();
    let form = format!("token={}", begun["access_token"].as_str().unwrap());
    let ask = async |secret: &str| {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http.post(format!("{}/oauth2/introspect", server.url)).body(form.clone());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.basic_auth("gateway", Some(secret)).send().await.unwrap()
    };
    let answer: Value = ask(&secret).await.json().await.unwrap();
    assert_eq!((&answer["active"], &answer["sub"]), (&json!(true), &begun["user_id"]));
    assert_eq!(ask(&new_secret().await.0).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_cannot_be_used_are_named_and_never_quoted() {
    let data = Data::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.json");
    let path = file.to_str().unwrap().to_owned();
    let serve = ["serve", "--port", "0", "--clients", &path];
    data.run(&serve).await.is_refused(&format!("cannot read the clients in {path}"));
    std::fs::write(&file, r#"[{"id": "gateway", "secret": "marked-by-the-test"}]"#).unwrap();
    let refused = data.run(&serve).await;
    refused.is_refused(&format!("the clients in {path} are refused: the clients are malformed at line 1"));
    assert!(!refused.err.contains("marked"), "{refused:?}");
    assert!(!data.path().exists(), "nothing was made for nothing");
}
