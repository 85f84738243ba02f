//! Mail by Amazon SES, to a server that answers as SES does.

use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailer::{Ses, Transport};
use serde_json::{Value, json};

use crate::ground::{ADA, Ground, batch, failed, second};

const NONE: [&str; 0] = [];

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    /// What it answers, if not that it has the mail.
    answer: Option<(u16, &'static str)>,
    /// What it was sent.
    taken: Vec<Value>,
}

impl Server {
    async fn listen(&self) -> Transport {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/v2/email/outbound-emails", post(take)).with_state(self.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
        let credentials = Credentials::new("test", "test", None, None, "test");
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .endpoint_url(format!("http://{address}"))
            .build();
        Transport::Ses(Ses::new(&sdk))
    }

    fn answers(&self, answer: Option<(u16, &'static str)>) {
        self.0.lock().unwrap().answer = answer;
    }

    fn taken(&self) -> Vec<Value> {
        self.0.lock().unwrap().taken.clone()
    }
}

/// The shapes of `SendEmail`. [Amazon SES API v2 reference]
async fn take(State(server): State<Server>, body: String) -> Response {
    let mut state = server.0.lock().unwrap();
    state.taken.push(serde_json::from_str(&body).unwrap());
    match state.answer {
        None => json!({"MessageId": "010f0192"}).to_string().into_response(),
        Some((status, name)) => {
            let text = json!({"message": "the address ada@example.com is in here"}).to_string();
            (StatusCode::from_u16(status).unwrap(), [("x-amzn-ErrorType", name)], text).into_response()
        }
    }
}

#[tokio::test]
async fn a_mail_is_handed_over_as_it_stands() {
    let (ground, server) = (Ground::new().await, Server::default());
    let mailer = ground.mailer_over(server.listen().await);
    let ada = ground.registered(ADA).await;
    for _ in 0..2 {
        assert_eq!(failed(&mailer::handle(&mailer, batch(&[(ada, 1)]), second(2)).await), NONE);
    }
    let taken = server.taken();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(taken[0]["FromEmailAddress"], json!("no-reply@example.com"));
    assert_eq!(taken[0]["Destination"], json!({"ToAddresses": [ADA]}));
    let raw = STANDARD.decode(taken[0]["Content"]["Raw"]["Data"].as_str().unwrap()).unwrap();
    let raw = String::from_utf8(raw).unwrap();
    assert!(raw.contains("\r\nTo: ada@example.com\r\n") && raw.contains("\r\nAuto-Submitted: "), "{raw}");
}

#[tokio::test]
async fn what_ses_refuses_for_good_is_not_tried_again_and_what_may_pass_is() {
    for (status, name, again) in [
        (400, "MessageRejected", false),
        (400, "BadRequestException", false),
        (429, "TooManyRequestsException", true),
        (400, "SendingPausedException", true),
        (400, "AccountSuspendedException", true),
        (400, "MailFromDomainNotVerifiedException", true),
        (403, "AccessDeniedException", true),
        (500, "InternalFailure", true),
    ] {
        let (ground, server) = (Ground::new().await, Server::default());
        let mailer = ground.mailer_over(server.listen().await);
        let ada = ground.registered(ADA).await;
        server.answers(Some((status, name)));
        let answer = mailer::handle(&mailer, batch(&[(ada, 1)]), second(2)).await;
        assert_eq!(failed(&answer), if again { vec!["1"] } else { vec![] }, "{name}");
        assert_eq!(server.taken().len(), 1, "{name}: the SDK does not try again by itself");
        server.answers(None);
        assert_eq!(failed(&mailer::handle(&mailer, batch(&[(ada, 1)]), second(3)).await), NONE, "{name}");
        assert_eq!(server.taken().len(), if again { 2 } else { 1 }, "{name}");
    }
}
