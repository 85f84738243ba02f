//! What all routes share: bodies, bearers, clients, problems, and the layers around the router.

mod bearer;
mod body;
mod client;
mod layers;
mod origin;
mod problem;

pub(crate) use bearer::Bearer;
pub(crate) use body::Fields;
pub(crate) use client::Client;
pub use client::ClientAddress;
pub use layers::RequestIds;
pub(crate) use layers::wrap;
pub(crate) use origin::through_the_edge;
pub use origin::{OriginError, OriginSecret};
pub use problem::misdirected;
pub(crate) use problem::{BodyProblems, Invalid, Problem, ProblemBody, SessionProblems, internal};
