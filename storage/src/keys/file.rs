use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::error::Category;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{KeyId, Ring, Secret, ServiceKeys, SigningSecret};

/// The member of a file that earlier ones lack.
const ONE_TIME: &str = "one_time";

/// Why a file of service keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read, or a new one not be written.
    #[error("cannot use the service keys at {0}")]
    Io(PathBuf, #[source] std::io::Error),
    /// Others than its owner may read or change the file.
    #[error("the service keys at {0} must be readable by their owner only (mode 0600)")]
    Permissions(PathBuf),
    /// The file does not hold every key in its right form.
    #[error("the service keys at {0} are malformed")]
    Malformed(PathBuf, #[source] MalformedKeys),
    /// The system has no random numbers to make keys of.
    #[error("no random source")]
    NoRandomness,
    /// A signing key has no public half.
    #[error("a signing key is no key pair")]
    NoPublicKey,
}

/// Where service keys are malformed, and in what way. It holds nothing of the text: an error of serde may quote a
/// value, which here may be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} at line {line}, column {column}", self.fault())]
pub struct MalformedKeys {
    line: usize,
    column: usize,
    category: Category,
}

impl MalformedKeys {
    const fn fault(self) -> &'static str {
        match self.category {
            Category::Io => "not readable",
            Category::Syntax => "not JSON",
            Category::Data => "not the keys of a deployment",
            Category::Eof => "cut off",
        }
    }
}

impl From<serde_json::Error> for MalformedKeys {
    fn from(error: serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column(), category: error.classify() }
    }
}

impl ServiceKeys {
    /// New random keys for a new deployment.
    pub fn random() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let ring = || -> Result<_, aws_lc_rs::error::Unspecified> {
            Ok(Ring::of(KeyId::random()?, Secret::random()?))
        };
        Ok(Self {
            deployment: format!("local-{}", KeyId::random()?.as_str()),
            wrapping: ring()?,
            verifiers: ring()?,
            views: ring()?,
            identifiers: Secret::random()?,
            refresh: ring()?,
            one_time: ring()?,
            pepper: ring()?,
            signing: Ring::of(KeyId::random()?, SigningSecret::random()?),
        })
    }

    /// Reads the keys in this file; makes the file, with new keys, if there is none, and completes one of an earlier form.
    ///
    /// The file appears whole or not at all: it is written under another name, flushed to the disk, and then linked
    /// to its own, which fails if somebody else was first. A process killed on the way leaves no half keys.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyFileError> {
        let io = |error| KeyFileError::Io(path.to_owned(), error);
        if !path.try_exists().map_err(io)? {
            let keys = Self::random().map_err(|_| KeyFileError::NoRandomness)?;
            match keys.written_beside(path)?.persist_noclobber(path) {
                Ok(_) => {}
                Err(lost) if lost.error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io(error.error)),
            }
            folder_of(path).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        match Self::open(path) {
            Err(KeyFileError::Malformed(..)) => Self::complete(path),
            opened => opened,
        }
    }

    /// Completes a file of an earlier form, which lacks the ring for one-time tokens, and reads it. One that lacks
    /// anything else is refused, and left as it is.
    fn complete(path: &Path) -> Result<Self, KeyFileError> {
        let io = |error| KeyFileError::Io(path.to_owned(), error);
        let malformed = |error: serde_json::Error| KeyFileError::Malformed(path.to_owned(), error.into());
        let folder = folder_of(path).map_err(io)?;
        folder.lock().map_err(io)?;
        let text = Zeroizing::new(std::fs::read(path).map_err(io)?);
        let whole = serde_json::from_slice::<Self>(&text).map_err(malformed);
        let lacking = serde_json::from_slice::<BTreeMap<&str, &RawValue>>(&text);
        let Some(mut parts) = lacking.ok().filter(|parts| !parts.contains_key(ONE_TIME)) else {
            return whole;
        };
        let made = Ring::of(
            KeyId::random().map_err(|_| KeyFileError::NoRandomness)?,
            Secret::random().map_err(|_| KeyFileError::NoRandomness)?,
        );
        let made = Zeroizing::new(serde_json::to_string(&made).map_err(malformed)?);
        parts.insert(ONE_TIME, serde_json::from_str(&made).map_err(malformed)?);
        let completed = Zeroizing::new(serde_json::to_vec(&parts).map_err(malformed)?);
        let Ok(keys) = serde_json::from_slice::<Self>(&completed) else { return whole };
        keys.written_beside(path)?.persist(path).map_err(|error| io(error.error))?;
        folder.sync_all().map_err(io)?;
        Ok(keys)
    }

    /// Puts other keys in the place of those in this file, in one step; one caller after the other.
    pub(super) fn replace<E: From<KeyFileError>>(
        path: &Path,
        change: impl FnOnce(Self) -> Result<Self, E>,
    ) -> Result<Self, E> {
        let io = |error| KeyFileError::Io(path.to_owned(), error);
        let folder = folder_of(path).map_err(io)?;
        folder.lock().map_err(io)?;
        let keys = change(Self::open(path)?)?;
        keys.written_beside(path)?.persist(path).map_err(|error| io(error.error))?;
        folder.sync_all().map_err(io)?;
        Ok(keys)
    }

    /// A temporary file beside this one that holds the keys, and is on the disk.
    fn written_beside(&self, path: &Path) -> Result<tempfile::NamedTempFile, KeyFileError> {
        let io = |error| KeyFileError::Io(path.to_owned(), error);
        let text = serde_json::to_vec_pretty(self);
        let text = text.map_err(|error| KeyFileError::Malformed(path.to_owned(), error.into()))?;
        let text = Zeroizing::new(text);
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(path.parent().unwrap_or_else(|| Path::new(".")))
            .map_err(io)?;
        file.write_all(&text).and_then(|()| file.as_file().sync_all()).map_err(io)?;
        Ok(file)
    }

    /// Reads the keys in this file.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let io = |error| KeyFileError::Io(path.to_owned(), error);
        let mode = std::fs::metadata(path).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Permissions(path.to_owned()));
        }
        let text = Zeroizing::new(std::fs::read(path).map_err(io)?);
        serde_json::from_slice(&text).map_err(|error| KeyFileError::Malformed(path.to_owned(), error.into()))
    }
}

/// The folder a file lies in: its lock is that of the file, which is replaced by others.
fn folder_of(path: &Path) -> std::io::Result<std::fs::File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or_else(|| Path::new(".")))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::{Value, json};

    use super::{KeyFileError, KeyId, Ring, ServiceKeys};

    #[test]
    fn keys_are_made_once_and_only_their_owner_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service-keys.json");
        let made = ServiceKeys::open_or_create(&path).unwrap();
        let read = ServiceKeys::open_or_create(&path).unwrap();
        assert_eq!(made.identifiers.expose(), read.identifiers.expose());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn many_first_starts_at_once_agree_on_one_set_of_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service-keys.json");
        let deployments: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| ServiceKeys::open_or_create(&path).unwrap().deployment))
                .collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert_eq!(deployments.len(), 1);
    }

    #[test]
    fn a_file_of_before_one_time_tokens_is_completed_once_and_keeps_every_other_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service-keys.json");
        let keys = ServiceKeys::open_or_create(&path).unwrap();
        let mut earlier = serde_json::to_value(&keys).unwrap();
        earlier.as_object_mut().unwrap().remove("one_time");
        std::fs::write(&path, earlier.to_string()).unwrap();
        assert!(matches!(ServiceKeys::open(&path), Err(KeyFileError::Malformed(..))), "not by a function");
        let made: std::collections::BTreeSet<[u8; 32]> = std::thread::scope(|scope| {
            let complete = || *ServiceKeys::open_or_create(&path).unwrap().one_time.current().1.expose();
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(complete)).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert_eq!(made.len(), 1, "all agree on one key");
        let mut completed = serde_json::to_value(ServiceKeys::open(&path).unwrap()).unwrap();
        completed.as_object_mut().unwrap().remove("one_time");
        assert_eq!(completed, earlier);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
        // What lacks anything else is left as it is.
        let lacking = r#"{"deployment":"local"}"#;
        std::fs::write(&path, lacking).unwrap();
        assert!(matches!(ServiceKeys::open_or_create(&path), Err(KeyFileError::Malformed(..))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lacking);
    }

    #[test]
    fn keys_that_others_can_read_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service-keys.json");
        ServiceKeys::open_or_create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(ServiceKeys::open(&path), Err(KeyFileError::Permissions(_))));
    }

    /// The error for this text in place of the keys.
    fn refused(text: &str) -> KeyFileError {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service-keys.json");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        ServiceKeys::open(&path).err().unwrap_or_else(|| panic!("malformed keys were taken: {text}"))
    }

    #[test]
    fn malformed_keys_are_refused_and_the_place_is_named() {
        for (text, fault) in [
            ("{}", "not the keys of a deployment at line 1, column 2"),
            ("{\n\"wrapping\": 7}", "not the keys of a deployment at line 2, column 13"),
            ("{\n  deployment", "not JSON at line 2, column 3"),
            ("{\"deployment\": \"local", "cut off at line 1, column 21"),
        ] {
            let KeyFileError::Malformed(_, error) = refused(text) else { panic!("{text}") };
            assert_eq!(error.to_string(), fault);
        }
    }

    /// Every text that this one becomes by putting one of the values in place of one value within it.
    fn spoilt(keys: &Value, values: &[Value]) -> Vec<String> {
        fn pointers(value: &Value, path: &str, all: &mut Vec<String>) {
            for (name, inner) in value.as_object().into_iter().flatten() {
                let path = format!("{path}/{name}");
                pointers(inner, &path, all);
                all.push(path);
            }
        }
        let mut all = Vec::new();
        pointers(keys, "", &mut all);
        assert!(all.contains(&"/deployment".to_owned()) && all.contains(&"/signing/keys/a".to_owned()));
        let spoil = |path: &String| {
            values
                .iter()
                .filter(|value| path != "/deployment" || !value.is_string())
                .map(|value| {
                    let mut keys = keys.clone();
                    *keys.pointer_mut(path).unwrap() = value.clone();
                    keys.to_string()
                })
                .collect::<Vec<_>>()
        };
        all.iter().flat_map(spoil).collect()
    }

    #[test]
    fn malformed_keys_are_never_quoted() {
        // Marked in letters and in figures; as a key id and as base64 it is malformed.
        const SECRET: &str = "MARKED+secret=";
        const NUMBER: u64 = 987_654_321_987_654_321;

        let mut keys = ServiceKeys::random().unwrap();
        let id = KeyId::parse("a").unwrap();
        keys.signing = Ring::of(id, keys.signing.current().1.clone());
        let sound = serde_json::to_value(&keys).unwrap();
        let values = [
            json!(SECRET),
            json!(NUMBER),
            json!([SECRET]),
            json!({ SECRET: SECRET }),
            json!({"current": SECRET, "keys": {"a": SECRET}}),
            json!({"current": "a", "keys": {SECRET: SECRET}}),
            json!({"current": "a", "keys": SECRET}),
            json!({"current": "a", "keys": {"a": NUMBER}}),
            json!({"current": "a", "keys": {"a": {"nested": SECRET}}}),
        ];
        let mut texts = spoilt(&sound, &values);
        let text = sound.to_string();
        for inner in sound.as_object().unwrap().keys() {
            texts.push(text.replacen('{', &format!("{{\"{inner}\":\"{SECRET}\","), 1));
        }
        texts.push(text.replacen('{', &format!("{{\"{SECRET}\":1,"), 1));
        texts.push(text.replace("\"keys\":", &format!("\"{SECRET}\":1,\"keys\":")));
        texts.push(text.replacen(
            "\"current\":",
            &format!("\"current\":\"a\",\"current\":\"{SECRET}\",\"x\":"),
            1,
        ));
        texts.extend([
            format!("\"{SECRET}\""),
            format!("{{\"{SECRET}"),
            format!("{text}{SECRET}"),
            NUMBER.to_string(),
        ]);
        let secrets = [SECRET.to_owned(), NUMBER.to_string()];
        for text in texts {
            let error = refused(&text);
            assert!(matches!(error, KeyFileError::Malformed(..)), "{text}: {error}");
            let mut shown = format!("{error} {error:?} {error:#?}");
            let mut source = error.source();
            while let Some(cause) = source {
                shown += &format!(" {cause} {cause:?}");
                source = cause.source();
            }
            assert!(!secrets.iter().any(|secret| shown.contains(secret)), "{text}: {shown}");
        }
    }
}
