use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{KeyId, Ring, Secret, ServiceKeys, SigningSecret};

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
    Malformed(PathBuf, #[source] serde_json::Error),
    /// The system has no random numbers to make keys of.
    #[error("no random source")]
    NoRandomness,
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
            pepper: ring()?,
            signing: Ring::of(KeyId::random()?, SigningSecret::random()?),
        })
    }

    /// Reads the keys in this file; makes the file, with new keys, if there is none.
    ///
    /// The file appears whole or not at all: it is written under another name, flushed to the disk, and then linked
    /// to its own, which fails if somebody else was first. A process killed on the way leaves no half keys.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyFileError> {
        let io = |error| KeyFileError::Io(path.to_owned(), error);
        if !path.try_exists().map_err(io)? {
            let keys = Self::random().map_err(|_| KeyFileError::NoRandomness)?;
            let text = serde_json::to_vec_pretty(&keys)
                .map_err(|error| KeyFileError::Malformed(path.to_owned(), error))?;
            let text = Zeroizing::new(text);
            let folder = path.parent().unwrap_or_else(|| Path::new("."));
            let mut file = tempfile::Builder::new()
                .permissions(std::fs::Permissions::from_mode(0o600))
                .tempfile_in(folder)
                .map_err(io)?;
            file.write_all(&text).and_then(|()| file.as_file().sync_all()).map_err(io)?;
            match file.persist_noclobber(path) {
                Ok(_) => {}
                Err(lost) if lost.error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io(error.error)),
            }
            std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        Self::open(path)
    }

    /// Reads the keys in this file.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let io = |error| KeyFileError::Io(path.to_owned(), error);
        let mode = std::fs::metadata(path).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Permissions(path.to_owned()));
        }
        let text = Zeroizing::new(std::fs::read(path).map_err(io)?);
        serde_json::from_slice(&text).map_err(|error| KeyFileError::Malformed(path.to_owned(), error))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{KeyFileError, ServiceKeys};

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
    fn keys_that_others_can_read_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service-keys.json");
        ServiceKeys::open_or_create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(ServiceKeys::open(&path), Err(KeyFileError::Permissions(_))));
    }

    #[test]
    fn malformed_keys_are_refused_without_being_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service-keys.json");
        ServiceKeys::open_or_create(&path).unwrap();
        let mut keys: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        keys["identifiers"] = "c2hvcnQ".into();
        std::fs::write(&path, keys.to_string()).unwrap();
        let Err(KeyFileError::Malformed(_, error)) = ServiceKeys::open(&path) else {
            panic!("malformed keys were taken");
        };
        assert!(!error.to_string().contains("c2hvcnQ"), "{error}");
    }
}
