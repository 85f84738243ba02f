use argon2::{Algorithm, Version};
use phc::{Ident, Output, ParamsString, PasswordHash, Salt};
use storage::keys::KeyId;
use zeroize::Zeroizing;

use super::{HashError, HashParams};

/// The pepper that a verifier names.
pub fn pepper_of(phc: &str) -> Result<KeyId, HashError> {
    Ok(Verifier::read(phc)?.pepper)
}

/// The octets of a hash.
pub(super) const OUTPUT: usize = 32;

/// The octets of a hash itself, wiped when no longer needed.
pub(super) type Hash = Zeroizing<[u8; OUTPUT]>;

/// A verifier, read from its PHC string: `$argon2id$v=19$m=…,t=…,p=…,keyid=…$salt$hash`.
pub(super) struct Verifier {
    /// What it cost.
    pub(super) params: HashParams,
    /// The pepper in it. As the format wants it, `keyid` is the base64 of the id.
    pub(super) pepper: KeyId,
    /// Its salt.
    pub(super) salt: Salt,
    /// The hash to compare with.
    pub(super) hash: Hash,
}

impl Verifier {
    /// Reads a PHC string, exactly as [`Self::write`] makes them: other algorithms, versions, parameters, orders of
    /// parameters and lengths of hashes are refused.
    pub(super) fn read(text: &str) -> Result<Self, HashError> {
        let stored = PasswordHash::new(text).map_err(|_| HashError::Malformed)?;
        if stored.algorithm.as_str() != Algorithm::Argon2id.as_str() {
            return Err(HashError::Algorithm);
        }
        if stored.version != Some(Version::V0x13.into()) {
            return Err(HashError::Version);
        }
        let (Some(salt), Some(output)) = (stored.salt, stored.hash) else {
            return Err(HashError::Malformed);
        };
        let hash = output.as_bytes().try_into().map(Zeroizing::new).map_err(|_| HashError::Malformed)?;
        let mut parts = stored.params.iter();
        let mut part =
            |name| parts.next().filter(|(ident, _)| ident.as_str() == name).map(|(_, value)| value);
        let (Some(m), Some(t), Some(p), Some(keyid)) = (part("m"), part("t"), part("p"), part("keyid"))
        else {
            return Err(HashError::Malformed);
        };
        if parts.next().is_some() {
            return Err(HashError::Malformed);
        }
        let number = |value: phc::Value<'_>| value.decimal().map_err(|_| HashError::Malformed);
        let params = HashParams { memory_kib: number(m)?, iterations: number(t)?, parallelism: number(p)? };
        let mut octets = [0; phc::Value::MAX_LENGTH];
        let pepper = keyid
            .b64_decode(&mut octets)
            .ok()
            .and_then(|id| std::str::from_utf8(id).ok())
            .and_then(KeyId::parse)
            .ok_or(HashError::Malformed)?;
        Ok(Self { params, pepper, salt, hash })
    }

    /// The PHC string. The key id goes past argon2's own `ParamsBuilder::keyid`, which takes 8 octets only.
    pub(super) fn write(&self) -> Result<Zeroizing<String>, HashError> {
        let write = || -> phc::Result<_> {
            let mut params = ParamsString::new();
            params.add_decimal("m", self.params.memory_kib)?;
            params.add_decimal("t", self.params.iterations)?;
            params.add_decimal("p", self.params.parallelism)?;
            params.add_b64_bytes("keyid", self.pepper.as_str().as_bytes())?;
            let stored = PasswordHash {
                algorithm: Ident::new(Algorithm::Argon2id.as_str())?,
                version: Some(Version::V0x13.into()),
                params,
                salt: Some(self.salt),
                hash: Some(Output::new(self.hash.as_slice())?),
            };
            Ok(Zeroizing::new(stored.to_string()))
        };
        write().map_err(|_| HashError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::{HashError, HashParams, KeyId, Salt, Verifier, Zeroizing};

    const WRITTEN: &str = "$argon2id$v=19$m=8,t=1,p=1,keyid=cDE$AQEBAQEBAQEBAQEBAQEBAQ$AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";

    fn error(text: &str) -> HashError {
        Verifier::read(text).err().unwrap_or_else(|| panic!("{text} was taken"))
    }

    #[test]
    fn a_verifier_reads_as_it_is_written() {
        let read = Verifier::read(WRITTEN).unwrap();
        assert_eq!(read.params, HashParams { memory_kib: 8, iterations: 1, parallelism: 1 });
        assert_eq!(read.pepper.as_str(), "p1");
        assert_eq!(&*read.salt, &[1; 16]);
        assert_eq!(*read.hash, [2; 32]);
        assert_eq!(*read.write().unwrap(), WRITTEN);
    }

    #[test]
    fn the_longest_key_id_fits() {
        let verifier = Verifier {
            params: HashParams { memory_kib: u32::MAX, iterations: u32::MAX, parallelism: 0x00FF_FFFF },
            pepper: KeyId::parse("abcdefghijklmnop").unwrap(),
            salt: Salt::new(&[1; 16]).unwrap(),
            hash: Zeroizing::new([2; 32]),
        };
        let read = Verifier::read(&verifier.write().unwrap()).unwrap();
        assert_eq!((read.params, read.pepper), (verifier.params, verifier.pepper));
    }

    #[test]
    fn other_algorithms_and_versions_are_refused() {
        for algorithm in ["$argon2d$", "$argon2i$", "$scrypt$"] {
            assert_eq!(error(&WRITTEN.replace("$argon2id$", algorithm)), HashError::Algorithm, "{algorithm}");
        }
        for version in ["$v=16$", "$v=20$", "$"] {
            assert_eq!(error(&WRITTEN.replace("$v=19$", version)), HashError::Version, "{version}");
        }
    }

    #[test]
    fn strings_of_another_form_are_refused() {
        for (from, to) in [
            ("m=8,t=1,p=1,keyid=cDE", "m=8,t=1,p=1"),
            ("m=8,t=1,p=1,keyid=cDE", "t=1,m=8,p=1,keyid=cDE"),
            ("m=8,", "m=8,m=9,"),
            ("m=8,", "m=08,"),
            ("m=8,", "m=4294967296,"),
            ("keyid=cDE", "keyid=cDE,keyid=cDE"),
            ("keyid=cDE", "keyid=cDE,data=cDE"),
            ("keyid=cDE", "keyid="),
            // A key id in clear, one in capitals, and one of 17 octets.
            ("keyid=cDE", "keyid=p1"),
            ("keyid=cDE", "keyid=UDE"),
            ("keyid=cDE", "keyid=YWJjZGVmZ2hpamtsbW5vcHE"),
            ("$AQEBAQEBAQEBAQEBAQEBAQ$", "$"),
            ("$AQEBAQEBAQEBAQEBAQEBAQ$", "$AQEB$"),
            ("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI", "AgICAgICAgICAgICAgICAg"),
            ("$AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI", ""),
            (WRITTEN, ""),
            (WRITTEN, "correct horse battery staple"),
        ] {
            let text = WRITTEN.replace(from, to);
            assert_ne!(text, WRITTEN);
            assert_eq!(error(&text), HashError::Malformed, "{text}");
        }
        assert_eq!(error(&format!("{WRITTEN}$more")), HashError::Malformed);
    }
}
