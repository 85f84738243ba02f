use aws_config::SdkConfig;

use crate::error::Unavailable;

/// A parameter of the Parameter Store, deciphered if it is a `SecureString`.
pub async fn parameter(aws: &SdkConfig, name: &str) -> Result<String, Unavailable> {
    let client = aws_sdk_ssm::Client::new(aws);
    let answer = client.get_parameter().name(name).with_decryption(true).send().await?;
    let value = answer.parameter.and_then(|parameter| parameter.value);
    value.ok_or_else(|| Unavailable::because("the parameter has no value"))
}
