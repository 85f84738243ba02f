use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::primitives::Blob;
use aws_sdk_sesv2::types::{Destination, EmailContent, RawMessage};

use super::{DeliveryError, Reply};
use crate::letter::Letter;

/// Amazon SES, version 2 of its API. Mails are handed over as they are, headers and all, which takes the permission
/// `ses:SendRawEmail` besides `ses:SendEmail`.
#[derive(Debug, Clone)]
pub struct Ses(Client);

impl Ses {
    /// SES with the region, credentials and HTTP client of this configuration. The SDK does not try again by itself:
    /// whatever it took for lost might have been sent.
    pub fn new(config: &SdkConfig) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_timeout(Duration::from_secs(9))
            .build();
        let settings = aws_sdk_sesv2::config::Builder::from(config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .build();
        Self(Client::from_conf(settings))
    }

    pub(super) async fn deliver(&self, letter: &Letter) -> Result<(), DeliveryError> {
        let envelope = letter.message.envelope();
        let to = envelope.to().iter().map(ToString::to_string).collect();
        let raw = RawMessage::builder().data(Blob::new(letter.message.formatted())).build();
        let raw = raw.map_err(|_| failed("SendEmail", None))?;
        let sent = self
            .0
            .send_email()
            .set_from_email_address(envelope.from().map(ToString::to_string))
            .destination(Destination::builder().set_to_addresses(Some(to)).build())
            .content(EmailContent::builder().raw(raw).build())
            .send()
            .await;
        sent.map(|_| ()).map_err(|error| judged(&error))
    }
}

/// Whether an error is about this mail, or about SES and our account there.
fn judged<R>(error: &SdkError<SendEmailError, R>) -> DeliveryError {
    let reply = Reply { step: "SendEmail", code: error.code().map(str::to_owned) };
    match error.as_service_error() {
        Some(SendEmailError::MessageRejected(_) | SendEmailError::BadRequestException(_)) => {
            DeliveryError::Refused(reply)
        }
        _ => DeliveryError::Failed(reply),
    }
}

fn failed(step: &'static str, code: Option<String>) -> DeliveryError {
    DeliveryError::Failed(Reply { step, code })
}
