use serde_json::Value;
use zeroize::Zeroizing;

use super::http::Answer;

/// Of a body that is not ours, so much is shown.
const SHOWN: usize = 300;
/// The fields whose values are shown: those of a problem, of the gateway's own answers, and of errors of OAuth.
const PLAIN: [&str; 8] = ["type", "title", "status", "detail", "errors", "message", "error", "request_id"];

/// What must not be shown, wherever it appears.
#[derive(Default)]
pub(super) struct Secrets(Vec<Zeroizing<String>>);

impl Secrets {
    pub(super) fn add(&mut self, secret: &str) {
        self.0.push(Zeroizing::new(secret.to_owned()));
    }

    /// An answer as it may be shown: its status, the fields that say why, and the names of the others, for a field that
    /// should not be there may hold a token that nobody here knows of.
    pub(super) fn shown(&self, Answer { status, body }: &Answer) -> String {
        let mut text = match serde_json::from_str::<Value>(body) {
            Ok(Value::Object(fields)) => {
                let shown = fields.iter().map(|(name, value)| {
                    if PLAIN.contains(&name.as_str()) {
                        format!("{name}: {value}")
                    } else {
                        format!("{name}: …")
                    }
                });
                format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
            }
            Ok(_) => "JSON that is no object".to_owned(),
            Err(_) => body.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        for secret in &self.0 {
            text = text.replace(secret.as_str(), "…");
        }
        let text: String = text.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
        if text.is_empty() { format!("{status}") } else { format!("{status}: {text}") }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Secrets};

    #[test]
    fn what_is_secret_is_not_shown_and_what_says_why_is() {
        let mut secrets = Secrets::default();
        secrets.add("hunter2 hunter2");
        let shown = |status, body: &str| secrets.shown(&Answer { status, body: body.to_owned() });
        assert_eq!(shown(401, r#"{"message":"Unauthorized"}"#), r#"401: {message: "Unauthorized"}"#);
        assert_eq!(shown(200, r#"{"access_token":"abc","status":1}"#), "200: {access_token: …, status: 1}");
        assert_eq!(shown(500, "you sent  hunter2 hunter2\n"), "500: you sent …");
        assert_eq!(shown(422, r#"{"detail":"hunter2 hunter2 is weak"}"#), r#"422: {detail: "… is weak"}"#);
        assert_eq!(shown(200, r#"["abc"]"#), "200: JSON that is no object");
        assert_eq!(shown(204, ""), "204");
        assert!(shown(502, &"x".repeat(10_000)).len() < 400);
    }
}
