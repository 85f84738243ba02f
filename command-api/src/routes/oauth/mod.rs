//! OAuth's endpoints for whatever speaks it already: a refresh, a revocation and an introspection as the standards have
//! them, on the same sessions as everything else.

mod introspect;
mod revoke;
mod token;

use storage::RefreshToken;

pub(super) use introspect::{__path_introspect, introspect};
pub(super) use revoke::{__path_revoke, revoke};
pub(super) use token::{__path_token, token};

use crate::service::Service;
use crate::tokens::Introspected;

/// A token of ours, whichever. What it says of itself is true; what it is worth, the row of its session tells.
enum Known {
    Refresh(RefreshToken),
    Access(Introspected),
}

/// The token in a text. A hint at its kind is not needed: both kinds are told by their form. [RFC 7009, section 2.1]
fn known(service: &Service, text: &str) -> Option<Known> {
    if let Ok(token) = service.store.sessions.parse(text) {
        return Some(Known::Refresh(token));
    }
    let now = service.clock.now();
    // Without the leeway that protected routes give: who asks takes the answer for the truth.
    let said = service.tokens.introspect(text, now).ok().filter(|said| said.bearer.expires > now)?;
    Some(Known::Access(said))
}
