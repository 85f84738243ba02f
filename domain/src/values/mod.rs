//! Values that are right once they exist. Parsing judges input; deserialising trusts what was stored, because a
//! fact that was once accepted is not judged again.

mod email;
mod fault;
mod id;
mod name;
mod password;
mod version;

pub use email::Email;
pub use fault::Fault;
pub use id::{CommandId, CredentialId, DeviceId, SessionId, UserId};
pub use name::DisplayName;
pub use password::{NewPassword, PresentedPassword};
pub use version::Version;
