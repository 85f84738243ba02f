use aws_config::SdkConfig;

use crate::error::Unavailable;

/// A parameter of the Parameter Store, deciphered if it is a `SecureString`.
pub async fn parameter(aws: &SdkConfig, name: &str) -> Result<String, Unavailable> {
    let client = aws_sdk_ssm::Client::new(aws);
    // In the plural, which is what reads the keys: a function's role has this one action.
    let answer = client.get_parameters().names(name).with_decryption(true).send().await?;
    let parameter = answer.parameters.unwrap_or_default().pop();
    let value = parameter.and_then(|parameter| parameter.value);
    value.ok_or_else(|| Unavailable::because("there is no such parameter"))
}
