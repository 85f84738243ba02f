use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::process::Server;

pub(crate) const ADA: &str = "ada@example.com";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Somebody who talks to a server.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Client {
    pub(crate) fn of(server: &Server) -> Self {
        let http = reqwest::Client::builder().no_proxy().user_agent("test").build().unwrap();
        Self { http, url: server.url.clone() }
    }

    pub(crate) async fn try_post(&self, path: &str, body: Value) -> Result<Answer, reqwest::Error> {
        answer(self.http.request(Method::POST, format!("{}{path}", self.url)).json(&body)).await
    }

    pub(crate) async fn try_register(&self, email: &str) -> Result<Answer, reqwest::Error> {
        self.try_post("/register", json!({"email": email, "password": PASSWORD})).await
    }

    pub(crate) async fn try_login(&self, email: &str) -> Result<Answer, reqwest::Error> {
        self.try_post("/login", json!({"email": email, "password": PASSWORD})).await
    }

    pub(crate) async fn register(&self, email: &str) -> Answer {
        self.try_register(email).await.unwrap()
    }

    pub(crate) async fn login(&self, email: &str) -> Answer {
        self.try_login(email).await.unwrap()
    }

    /// Registers in a way that can be said again: with a key that tells that two requests are one.
    pub(crate) async fn try_register_once(&self, email: &str, key: &str) -> Result<Answer, reqwest::Error> {
        let request = self.http.post(format!("{}/register", self.url)).header("Idempotency-Key", key);
        answer(request.json(&json!({"email": email, "password": PASSWORD}))).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.try_refresh(token).await.unwrap()
    }

    pub(crate) async fn try_refresh(&self, token: &str) -> Result<Answer, reqwest::Error> {
        self.try_post("/token/refresh", json!({ "refresh_token": token })).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.http.get(format!("{}{path}", self.url))).await.unwrap()
    }

    pub(crate) async fn me(&self, access_token: &str) -> Answer {
        self.me_since(access_token, 0).await
    }

    pub(crate) async fn me_since(&self, access_token: &str, version: u64) -> Answer {
        let me = format!("{}/me?min_version={version}", self.url);
        answer(self.http.get(me).bearer_auth(access_token)).await.unwrap()
    }

    pub(crate) async fn logout(&self, access_token: &str) -> Answer {
        self.try_logout(access_token).await.unwrap()
    }

    pub(crate) async fn try_logout(&self, access_token: &str) -> Result<Answer, reqwest::Error> {
        answer(self.http.post(format!("{}/logout", self.url)).bearer_auth(access_token)).await
    }

    /// Registers users and signs each in; their ids.
    pub(crate) async fn populate(&self, emails: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut users = Vec::new();
        for email in emails {
            let registered = self.register(&email).await;
            assert_eq!(registered.status, 201, "{registered:?}");
            assert_eq!(self.login(&email).await.status, 200);
            users.push(registered.text_of("user_id"));
        }
        users
    }
}

/// `user-1@example.com` and so on.
pub(crate) fn emails(count: u32) -> impl Iterator<Item = String> {
    (1..=count).map(|number| format!("user-{number}@example.com"))
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Answer { status, headers, text: response.text().await? })
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text_of(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_else(|| panic!("no {field}: {self:?}")).to_owned()
    }

    pub(crate) fn version(&self) -> u64 {
        self.json()["version"].as_u64().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }
}
