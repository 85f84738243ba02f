use std::net::SocketAddr;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::app::Answer;

/// What the service promises of every answer: its document, and the headers and the form of all.
pub struct Contract {
    document: Value,
}

impl Contract {
    pub async fn of(http: &reqwest::Client, address: SocketAddr) -> Self {
        let answer = http.get(format!("http://{address}/openapi.json")).send().await.unwrap();
        Self { document: answer.json().await.unwrap() }
    }

    /// Asserts that an answer is documented, and of the form that all have.
    pub fn holds(&self, method: &Method, path: &str, answer: &Answer) {
        self.documents(method, path, answer);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("strict-transport-security"), "max-age=63072000; includeSubDomains");
        assert_eq!(answer.header("annals-request-id").len(), 36);
        let public = answer.status == StatusCode::OK && path.starts_with("/.well-known/");
        assert_eq!(answer.header("cache-control"), if public { "public, max-age=900" } else { "no-store" });
        let refused = answer.status.is_client_error() || answer.status.is_server_error();
        // OAuth has a form of its own for what is wrong with a request. [RFC 6749, section 5.2]
        let by_oauth = path.starts_with("/oauth2/") && [400, 401, 413, 415].contains(&answer.status.as_u16());
        if refused && by_oauth {
            answer.is_oauth_error(answer.status.as_u16(), &answer.text_of("error"));
        } else if refused && method != Method::HEAD {
            let kind = answer.text_of("type");
            let kind = kind.strip_prefix("urn:annals:problem:").unwrap_or_else(|| panic!("{answer:?}"));
            answer.is_problem(answer.status.as_u16(), kind);
        }
    }

    fn documents(&self, method: &Method, path: &str, answer: &Answer) {
        // One session of many is documented as any.
        let one_session =
            path.strip_prefix("/me/sessions/").is_some_and(|id| !id.is_empty() && !id.contains('/'));
        let documented = if one_session { "/me/sessions/{session_id}" } else { path };
        let route = &self.document["paths"][documented];
        let asked = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
        let status = answer.status.as_u16();
        // No gateway and no edge stands before the service under test.
        assert_ne!(status, 403, "{method} {path}: {answer:?}");
        match route.get(&asked) {
            Some(operation) => {
                let documented = &operation["responses"][status.to_string()];
                assert!(documented.is_object(), "{method} {path} does not document {status}: {answer:?}");
            }
            None if route.is_object() => assert_eq!(status, 405, "{method} {path}: {answer:?}"),
            None if path == "/openapi.json" => assert!([200, 405].contains(&status), "{answer:?}"),
            None => assert_eq!(status, 404, "{method} {path}: {answer:?}"),
        }
    }
}
