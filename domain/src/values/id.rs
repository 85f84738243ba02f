use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with these bits.
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// Its bits.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// Its octets, in network order.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            /// Takes the hyphenated, lower-case form only, so that one id has one spelling.
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                let id = Uuid::try_parse(text)?;
                if id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text {
                    Ok(Self(id))
                } else {
                    // The spelling is wrong, not the bits; an empty text yields an error of the right type.
                    Uuid::try_parse("").map(Self)
                }
            }
        }
    };
}

id!(
    /// A user, for ever: partition key of the log and of everything else that is the user's.
    UserId
);
id!(
    /// One command, however often it is tried. A commit carries it, so that a retry recognises its own work.
    CommandId
);
id!(
    /// One session: what a sign-in begins and a sign-out ends.
    SessionId
);
id!(
    /// One verifier of a password. Events name it; the verifier itself lives in the user's vault only.
    CredentialId
);
id!(
    /// One device, or browser, that a user signed in with before: its failed attempts are counted apart from those of
    /// strangers.
    DeviceId
);

#[cfg(test)]
mod tests {
    use super::UserId;

    #[test]
    fn an_id_has_one_spelling() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(id.parse::<UserId>().unwrap().to_string(), id);
        for other in [
            "01890A5D-AC96-774B-BCCE-B302099A8057",
            "01890a5dac96774bbcceb302099a8057",
            "{01890a5d-ac96-774b-bcce-b302099a8057}",
            "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
            "",
            "01890a5d",
        ] {
            assert!(other.parse::<UserId>().is_err(), "{other:?} was taken");
        }
    }
}
