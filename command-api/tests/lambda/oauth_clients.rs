use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post as answering;
use serde_json::{Value, json};

use crate::events::event;
use crate::gateway::{Gateway, Ground, registration};

const SECRET: &str = "as good as random";

fn clients() -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, SECRET.as_bytes());
    let hash: String = hash.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    json!([{"id": "gateway", "secret_sha256": [hash], "may": ["introspect"]}]).to_string()
}

/// A Parameter Store with one parameter; where it is, and what it was asked.
async fn parameter_store(value: String) -> (String, Arc<Mutex<Vec<Value>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asks = Arc::clone(&asked);
    let answer = async move |headers: HeaderMap, body: String| {
        assert_eq!(headers["x-amz-target"], "AmazonSSM.GetParameters");
        asks.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        json!({"Parameters": [{"Name": "/annals/test/clients", "Type": "String", "Value": value}]})
            .to_string()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", answering(answer))).await });
    (url, asked)
}

/// Asks the function, as the client, what Ada's access token is worth.
async fn is_active(gateway: &mut Gateway) -> Value {
    assert_eq!(gateway.send(registration()).await.status, 201);
    let token = gateway.sign_in().await.text("access_token");
    let mut asking = event("POST", "/oauth2/introspect");
    asking["headers"]["content-type"] = "application/x-www-form-urlencoded".into();
    asking["body"] = format!("token={token}&client_id=gateway&client_secret=as+good%20as+random").into();
    let answer = gateway.send(asking).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["active"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_from_the_setting_or_from_the_parameter_it_names() {
    let (url, asked) = parameter_store(clients()).await;
    for setting in [clients(), "/annals/test/clients".to_owned()] {
        let ground = Ground::new().await;
        let mut settings = ground.settings();
        settings.insert("ANNALS_CLIENTS", setting);
        settings.insert("AWS_ENDPOINT_URL_SSM", url.clone());
        let function = ground.start(&settings).await.unwrap();
        assert_eq!(is_active(&mut Gateway { ground, function }).await, true);
    }
    assert_eq!(*asked.lock().unwrap(), [json!({"Names": ["/annals/test/clients"], "WithDecryption": true})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_malformed_are_fatal_and_never_quoted() {
    let (url, _) = parameter_store(r#"[{"id": "marked-by-the-test"}]"#.to_owned()).await;
    let ground = Ground::new().await;
    let mut settings = ground.settings();
    settings.insert("AWS_ENDPOINT_URL_SSM", url);
    for (setting, error) in [
        (r#"["marked-by-the-test"]"#, "ANNALS_CLIENTS is refused"),
        ("/annals/test/clients", "ANNALS_CLIENTS: what the parameter /annals/test/clients holds is refused"),
    ] {
        settings.insert("ANNALS_CLIENTS", setting.to_owned());
        let reason = ground.start(&settings).await.unwrap_err().reason();
        assert_eq!(reason, error);
    }
}
