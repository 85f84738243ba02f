//! A deployment in an AWS account, as an operator reaches it: by the name of its stack, or by the names of its tables,
//! with the credentials and the region that every tool of AWS finds.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_ssm::config::ProvideCredentials as _;
use aws_sdk_ssm::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_ssm::operation::get_parameter::GetParameterError;
use serde::Deserialize;
use storage::keys::KeySetting;
use storage::tables::Tables;

use crate::cli::{AccountArgs, KEYS_FILE};

/// What an operator's command names.
pub(crate) struct Account {
    pub tables: Tables,
    pub keys: KeySetting,
    pub sdk: SdkConfig,
    /// The folder, below that of the data, with what is kept besides tables.
    pub folder: PathBuf,
    /// Where the tables are: no run over them goes on from one over others.
    pub place: String,
}

/// Why a deployment in an AWS account cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It is not said in which region it is.
    #[error("no AWS region is set; set AWS_REGION, or choose a profile with AWS_PROFILE")]
    NoRegion,
    /// There are no credentials.
    #[error("no AWS credentials are found; set AWS_PROFILE, or sign in")]
    NoCredentials(#[source] Box<dyn Error + Send + Sync>),
    /// There are credentials, and AWS does not take them.
    #[error("AWS does not accept these credentials ({0})")]
    Credentials(String),
    /// There is no such stack, at least not there.
    #[error(
        "there is no parameter {parameter} in {region}; is {stack} the name of the stack, and this its region?"
    )]
    NoStack {
        /// The name that was given.
        stack: String,
        /// The parameter that every stack has.
        parameter: String,
        /// The region that was looked in.
        region: String,
    },
    /// The credentials do not allow it.
    #[error("these credentials do not allow {action} on {resource}")]
    Denied {
        /// The action that is missing.
        action: &'static str,
        /// On what.
        resource: String,
    },
    /// Too many requests, even after some time.
    #[error("{0} is throttled; try again later")]
    Throttled(&'static str),
    /// The parameter does not say what it should.
    #[error("the parameter {0} is malformed")]
    Malformed(String, #[source] serde_json::Error),
    /// The prefix of the keys is none.
    #[error("--keys-prefix must be a path such as /annals/STACK/keys/")]
    Prefix,
    /// The parameter cannot be read.
    #[error("cannot read the parameter {0} in {1}")]
    Request(String, String, #[source] Box<SdkError<GetParameterError>>),
}

/// What a stack says of itself, in its parameter.
#[derive(Deserialize)]
struct Deployment {
    events: String,
    identifiers: String,
    views: String,
    sessions: String,
}

impl Account {
    /// What these options name; `None` if they name nothing in an account.
    pub(crate) async fn named(args: &AccountArgs, data: &Path) -> Result<Option<Self>, AccountError> {
        Ok(match (&args.stack, args.tables()) {
            (Some(stack), _) => Some(Self::of_stack(stack, data).await?),
            (None, Some(tables)) => {
                let keys = match &args.keys_prefix {
                    Some(prefix) => KeySetting::prefix(prefix).ok_or(AccountError::Prefix)?,
                    None => KeySetting::File(data.join(KEYS_FILE)),
                };
                let (sdk, region) = load().await?;
                let folder = data.join("tables").join(&region).join(&tables.events);
                Some(Self { tables, keys, sdk, folder, place: place(&region) })
            }
            (None, None) => None,
        })
    }

    async fn of_stack(stack: &str, data: &Path) -> Result<Self, AccountError> {
        let (sdk, region) = load().await?;
        let parameter = format!("/annals/{stack}/deployment");
        let request = aws_sdk_ssm::Client::new(&sdk).get_parameter().name(&parameter);
        let answer = request.send().await.map_err(|error| refused(error, stack, &parameter, &region))?;
        let text = answer.parameter.and_then(|parameter| parameter.value).unwrap_or_default();
        let Deployment { events, identifiers, views, sessions } =
            serde_json::from_str(&text).map_err(|error| AccountError::Malformed(parameter, error))?;
        Ok(Self {
            tables: Tables { events, identifiers, views, sessions },
            keys: KeySetting::prefix(&format!("/annals/{stack}/keys/")).ok_or(AccountError::Prefix)?,
            sdk,
            folder: data.join("stacks").join(&region).join(stack),
            place: place(&region),
        })
    }
}

fn place(region: &str) -> String {
    format!("AWS in {region}")
}

/// Region and credentials. They are asked for at once: a request without them only says that it failed.
pub(crate) async fn load() -> Result<(SdkConfig, String), AccountError> {
    // More patient than a function: nobody waits for a request, and the way to AWS may be long.
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(10))
        .operation_timeout(Duration::from_mins(1))
        .build();
    let loader = aws_config::defaults(BehaviorVersion::latest());
    let loader = loader.timeout_config(timeouts).retry_config(RetryConfig::standard().with_max_attempts(4));
    let sdk = loader.load().await;
    let region = sdk.region().ok_or(AccountError::NoRegion)?.to_string();
    let nobody = || AccountError::NoCredentials("no provider is configured".into());
    let provider = sdk.credentials_provider().ok_or_else(nobody)?;
    provider.provide_credentials().await.map_err(|error| AccountError::NoCredentials(error.into()))?;
    Ok((sdk, region))
}

fn refused(error: SdkError<GetParameterError>, stack: &str, parameter: &str, region: &str) -> AccountError {
    const ACTION: &str = "ssm:GetParameter";
    match error.code() {
        Some("ParameterNotFound") => AccountError::NoStack {
            stack: stack.to_owned(),
            parameter: parameter.to_owned(),
            region: region.to_owned(),
        },
        Some("AccessDeniedException") => {
            AccountError::Denied { action: ACTION, resource: parameter.to_owned() }
        }
        Some("ThrottlingException" | "TooManyUpdates" | "RequestLimitExceeded") => {
            AccountError::Throttled(ACTION)
        }
        Some(
            code @ ("ExpiredTokenException"
            | "InvalidSignatureException"
            | "MissingAuthenticationTokenException"
            | "UnrecognizedClientException"),
        ) => AccountError::Credentials(code.to_owned()),
        _ => AccountError::Request(parameter.to_owned(), region.to_owned(), Box::new(error)),
    }
}
