//! What all routes share: bodies, bearers, clients, problems, and the layers around the router.

mod bearer;
mod body;
mod client;
mod credentials;
mod form;
mod layers;
mod oauth;
mod origin;
mod preflight;
mod problem;
mod query;

pub(crate) use bearer::Bearer;
pub(crate) use body::Fields;
pub(crate) use client::Client;
pub use client::ClientAddress;
pub(crate) use credentials::{Credentials, ForClient};
pub(crate) use form::Form;
pub use layers::RequestIds;
pub(crate) use layers::wrap;
pub(crate) use oauth::{OauthError, OauthProblem, OauthProblems};
pub(crate) use origin::through_the_edge;
pub use origin::{OriginError, OriginSecret};
pub(crate) use preflight::preflight;
pub use problem::misdirected;
pub(crate) use problem::{BodyProblems, Invalid, Problem, ProblemBody, SessionProblems, internal};
pub(crate) use query::number;
