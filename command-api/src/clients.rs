//! The OAuth clients that have a secret, from configuration. A secret is 256 random bits, so that a plain hash of it
//! gives nothing away and is quick to look at; only the hash is configured.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use storage::ClientId;
use zeroize::Zeroizing;

/// A client has so many secrets at most: the current one, and the next or the last while they change.
const SECRETS: usize = 2;
/// The SHA-256 of a secret.
type Hash = [u8; 32];

/// The clients that may ask something of `/oauth2/*`. Besides them there is Annals' own sign-in, which is public: it has
/// no secret, and may refresh and revoke its own tokens.
#[derive(Clone)]
pub struct Clients {
    confidential: BTreeMap<ClientId, Confidential>,
    /// Compared with what is presented for an unknown client.
    nobody: [Hash; SECRETS],
}

#[derive(Clone)]
struct Confidential {
    /// The same one twice where there is one: each comparison takes the same time.
    secrets: [Hash; SECRETS],
    may: Rights,
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    /// Sign users in, and refresh the tokens that were issued to it then.
    pub refresh: bool,
    /// End the sessions of its own tokens.
    pub revoke: bool,
    /// Ask what any token is worth.
    pub introspect: bool,
}

/// A client that has shown who it is, as far as it can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authenticated {
    pub id: ClientId,
    pub may: Rights,
}

/// Why a list of clients was refused. Never quotes it: a secret may have been written where its hash belongs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientsError {
    /// It is no JSON of the expected form.
    #[error("the clients are malformed at line {line}, column {column}")]
    Malformed {
        /// The line, counted from one.
        line: usize,
        /// The column, counted from one.
        column: usize,
    },
    /// The id of this client, counted from one, is none, or is Annals' own.
    #[error("the id of client {0} is not acceptable")]
    Id(usize),
    /// This client, counted from one, stands there twice.
    #[error("client {0} stands there already")]
    Duplicate(usize),
    /// This client, counted from one, has no secret, more than two, or one whose hash is not 64 hexadecimal digits.
    #[error("client {0} needs one or two secret_sha256, each of 64 lower-case hexadecimal digits")]
    Secrets(usize),
    /// This client, counted from one, may do nothing.
    #[error("client {0} may do nothing")]
    NoRight(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configured {
    id: String,
    secret_sha256: Vec<String>,
    may: Vec<Right>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Right {
    Refresh,
    Revoke,
    Introspect,
}

/// Names the clients.
impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.confidential.keys()).finish()
    }
}

/// What a hash is compared with for an unknown client makes no difference.
impl PartialEq for Clients {
    fn eq(&self, other: &Self) -> bool {
        let parts = |clients: &Self| {
            let of = |(id, client): (&ClientId, &Confidential)| (id.clone(), client.secrets, client.may);
            clients.confidential.iter().map(of).collect::<Vec<_>>()
        };
        parts(self) == parts(other)
    }
}

impl Eq for Clients {}

impl Default for Clients {
    /// None but Annals' own sign-in.
    fn default() -> Self {
        Self { confidential: BTreeMap::new(), nobody: [[0; 32]; SECRETS] }
    }
}

impl Clients {
    /// Reads a list such as
    /// `[{"id": "gateway", "secret_sha256": ["9f86…"], "may": ["introspect"]}]`.
    pub fn parse(json: &str) -> Result<Self, ClientsError> {
        let configured: Vec<Configured> = serde_json::from_str(json)
            .map_err(|error| ClientsError::Malformed { line: error.line(), column: error.column() })?;
        let mut clients = Self::default();
        for (number, Configured { id, secret_sha256, may }) in (1..).zip(configured) {
            let id = ClientId::parse(&id).filter(|id| !id.is_own()).ok_or(ClientsError::Id(number))?;
            let hashes: Option<Vec<Hash>> = secret_sha256.iter().map(|hex| from_hex(hex)).collect();
            let secrets = match hashes.as_deref() {
                Some([only]) => [*only, *only],
                Some([one, other]) => [*one, *other],
                _ => return Err(ClientsError::Secrets(number)),
            };
            let mut rights = Rights::default();
            for right in may {
                match right {
                    Right::Refresh => rights.refresh = true,
                    Right::Revoke => rights.revoke = true,
                    Right::Introspect => rights.introspect = true,
                }
            }
            if rights == Rights::default() {
                return Err(ClientsError::NoRight(number));
            }
            if clients.confidential.insert(id, Confidential { secrets, may: rights }).is_some() {
                return Err(ClientsError::Duplicate(number));
            }
        }
        Ok(clients)
    }

    /// A new secret, and its hash for the configuration.
    pub fn new_secret() -> Result<(Zeroizing<String>, String), aws_lc_rs::error::Unspecified> {
        let mut octets = Zeroizing::new([0; 32]);
        rand::fill(&mut *octets)?;
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(*octets));
        let hash = hashed(&secret).iter().map(|octet| format!("{octet:02x}")).collect();
        Ok((secret, hash))
    }

    /// The client with this id and secret. An unknown one takes the same time as one that is known.
    pub(crate) fn authenticate(&self, id: &str, secret: &str) -> Option<Authenticated> {
        let presented = hashed(secret);
        let id = ClientId::parse(id);
        let known = id.as_ref().and_then(|id| self.confidential.get(id));
        let secrets = known.map_or(&self.nobody, |client| &client.secrets);
        let fits = |hash: &Hash| verify_slices_are_equal(hash, &presented).is_ok();
        let fitting = secrets.iter().filter(|hash| fits(hash)).count();
        let (id, client) = id.zip(known)?;
        (fitting > 0).then_some(Authenticated { id, may: client.may })
    }

    /// The public client with this id, which needs no secret because it could keep none: Annals' own sign-in.
    pub(crate) fn public(id: &str) -> Option<Authenticated> {
        let may = Rights { refresh: true, revoke: true, introspect: false };
        ClientId::parse(id).filter(ClientId::is_own).map(|id| Authenticated { id, may })
    }
}

fn hashed(secret: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    hash
}

fn from_hex(text: &str) -> Option<Hash> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        _ => None,
    };
    let octets: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { octets?.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Clients, ClientsError, Rights};

    fn parse(clients: &Value) -> Result<Clients, ClientsError> {
        Clients::parse(&clients.to_string())
    }

    #[test]
    fn a_client_is_known_by_either_of_its_secrets_and_by_nothing_else() {
        let (one, one_hash) = Clients::new_secret().unwrap();
        let (two, two_hash) = Clients::new_secret().unwrap();
        let clients = parse(&json!([
            {"id": "gateway", "secret_sha256": [one_hash, two_hash], "may": ["introspect"]},
            {"id": "shop", "secret_sha256": [two_hash], "may": ["refresh", "revoke"]},
        ]))
        .unwrap();
        for secret in [&one, &two] {
            let known = clients.authenticate("gateway", secret).unwrap();
            assert_eq!(known.id.as_str(), "gateway");
            assert_eq!(known.may, Rights { introspect: true, ..Rights::default() });
        }
        assert!(clients.authenticate("shop", &two).unwrap().may.refresh);
        for (id, secret) in [
            ("gateway", ""),
            ("gateway", one_hash.as_str()),
            ("gateway", &one[1..]),
            ("shop", &one),
            ("nobody", &one),
            ("", &one),
            ("annals", &one),
        ] {
            assert_eq!(clients.authenticate(id, secret), None, "{id}");
        }
        assert_eq!(Clients::default().authenticate("gateway", &one), None);
    }

    #[test]
    fn only_annals_itself_needs_no_secret() {
        assert!(!Clients::public("annals").unwrap().may.introspect);
        assert_eq!(Clients::public("gateway"), None);
    }

    #[test]
    fn a_secret_is_256_random_bits_and_its_hash_is_sha_256() {
        let (secret, hash) = Clients::new_secret().unwrap();
        assert_eq!((secret.len(), hash.len()), (43, 64), "32 octets in base64url, and in hexadecimal digits");
        assert_ne!(secret, Clients::new_secret().unwrap().0);
        let empty =
            super::from_hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").unwrap();
        assert_eq!(super::hashed(""), empty);
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said_and_never_quoted() {
        let hash = "0".repeat(64);
        let with = |member: &str, value: Value| {
            let mut client = json!({"id": "a", "secret_sha256": [hash], "may": ["revoke"]});
            client[member] = value;
            parse(&json!([client]))
        };
        assert!(with("id", json!("b")).is_ok());
        for id in ["", "A", "annals"] {
            assert_eq!(with("id", json!(id)), Err(ClientsError::Id(1)));
        }
        let marked = "marked-by-the-test";
        for secrets in [json!([]), json!([marked]), json!([&hash[1..]]), json!([hash, hash, hash])] {
            assert_eq!(with("secret_sha256", secrets), Err(ClientsError::Secrets(1)));
        }
        assert_eq!(with("may", json!([])), Err(ClientsError::NoRight(1)));
        let twice = json!({"id": "a", "secret_sha256": [hash], "may": ["revoke"]});
        assert_eq!(parse(&json!([twice, twice])), Err(ClientsError::Duplicate(2)));
        for refused in
            [with("may", json!([marked])), with(marked, json!(1)), with("secret_sha256", json!(marked))]
        {
            let error = refused.unwrap_err();
            assert!(matches!(error, ClientsError::Malformed { line: 1, .. }));
            assert!(!format!("{error} {error:?}").contains(marked));
        }
        assert_eq!(Clients::parse("[]"), Ok(Clients::default()));
        assert!(Clients::parse("").is_err() && Clients::parse("{}").is_err());
    }
}
