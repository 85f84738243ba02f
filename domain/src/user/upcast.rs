//! Old forms of events, read as what they mean today. Nothing but this file knows them: `decide`, `evolve` and
//! whoever prints an event see today's form only, and only today's form is written.
//!
//! An event whose form has changed is deserialised by a function of its own name, which takes every form that was ever
//! written and gives the fields of today's. It reads them in one go into a struct of all fields that any form has, and
//! then looks at which are there: a replay reads millions of events, and to build a tree of JSON values first would
//! take longer than all the rest. A mixture of two forms, half of one, or a field of neither is unreadable, as an
//! unknown event is.
//!
//! # The next change
//!
//! A field that is merely added, and may be missing, needs nothing here: it is optional, with
//! `#[serde(default, skip_serializing_if = …)]`. For everything else:
//!
//! 1. Change the variant in `events.rs` to what it should be today, give it
//!    `#[serde(deserialize_with = "upcast::its_name")]`, and mend what the compiler names.
//! 2. Write that function here, or, if there is one, add the fields of the new form to its struct and a case to its
//!    match. A form once written is never taken out: the log keeps it for ever.
//! 3. The golden tests now ask for lines: append them to `tests/golden/events.jsonl`, leave the old ones, and say in
//!    `tests/rules/golden.rs` what each new line means. The old ones must still mean what they meant.
//! 4. If what the user adds up to changes too, raise `FOLD`.
//!
//! Deploy the projector first, then what writes. Until then, and after a roll-back, code that does not know the new form
//! meets events that it cannot read. It does not misread them: it parks the user, says so, and answers that user's
//! requests with an error, changing nothing. Parked users are healed by the newer code, with their next record or by
//! `annals repair`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::VerifiedPassword;
use crate::values::{CredentialId, SessionId};

/// The fields of today's `UserSignedIn`, in their order.
type UserSignedIn = (SessionId, DateTime<Utc>, VerifiedPassword, Option<SessionId>, Vec<SessionId>);

/// Reads `UserSignedIn`, which had `credential` and `attempt` among its own fields before it had `password`.
pub(super) fn user_signed_in<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UserSignedIn, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Stored {
        session: SessionId,
        #[serde(with = "chrono::serde::ts_seconds")]
        ends: DateTime<Utc>,
        #[serde(default, deserialize_with = "there")]
        password: Option<VerifiedPassword>,
        #[serde(default, deserialize_with = "there")]
        credential: Option<CredentialId>,
        #[serde(default, deserialize_with = "there")]
        attempt: Option<u64>,
        #[serde(default)]
        evicted: Option<SessionId>,
        #[serde(default)]
        lapsed: Vec<SessionId>,
    }

    let stored = Stored::deserialize(deserializer)?;
    let password = match (stored.password, stored.credential, stored.attempt) {
        (Some(password), None, None) => password,
        (None, Some(credential), Some(attempt)) => VerifiedPassword { credential, attempt, device: None },
        _ => return Err(D::Error::custom("neither form of the verified password")),
    };
    Ok((stored.session, stored.ends, password, stored.evicted, stored.lapsed))
}

/// A field that only some forms have. Where it is there, it has a value: `null` belongs to no form.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
