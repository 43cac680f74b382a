//! The signing keys of a data directory: `keys/current.pem` signs; every public key ever used
//! stays as `keys/KEYID.pub.pem`, so that old bundles verify after a rotation.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use matrix_core::{Action, Authorised, Code, Entropy, Problem};
use matrix_evidence::keys::{KeyError, KeyId, PublicKey, SigningKey};

/// The key files of a data directory cannot be used.
pub const KEYS_UNUSABLE: Code = Code::new("KEY-0010", 500, 1, "signing keys cannot be used");

/// Why a data directory's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file could not be read or written.
    #[error("{} could not be used: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than the owner can read the private key.
    #[error("{} can be read by others (mode {mode:o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds no key.
    #[error("{} holds no usable key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
}

impl From<KeyringError> for Problem {
    fn from(error: KeyringError) -> Self {
        let help = match &error {
            KeyringError::Exposed { path, .. } => {
                format!(
                    "`chmod 600 {}`, and rotate the key if it may have been read",
                    path.display()
                )
            }
            _ => {
                "see `matrix signing-key list`; `matrix signing-key rotate` makes a new one".into()
            }
        };
        Problem::new(KEYS_UNUSABLE, error.to_string()).help(help)
    }
}

/// Rotates the signing key.
#[derive(Debug, Clone, Copy)]
pub struct SigningKeyRotate;

impl Action for SigningKeyRotate {
    const NAME: &'static str = "signing_key_rotate";
}

/// The keys in a directory.
#[derive(Debug, Clone)]
pub struct Keyring {
    directory: PathBuf,
}

/// A public key and the file it is in.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// The key.
    pub key: PublicKey,
    /// SPKI PEM.
    pub path: PathBuf,
    /// Whether it is the one that signs now.
    pub current: bool,
}

impl Keyring {
    /// The keys in this directory; nothing is made yet.
    pub fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn private(&self) -> PathBuf {
        self.directory.join("current.pem")
    }

    fn public(&self, id: &KeyId) -> PathBuf {
        self.directory.join(format!("{id}.pub.pem"))
    }

    /// The key that signs, made at first use.
    pub fn signer(&self, entropy: &dyn Entropy) -> Result<SigningKey, KeyringError> {
        let path = self.private();
        if !path.exists() {
            return self.make(entropy);
        }
        let mode = path.metadata().map_err(failed(&path))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyringError::Exposed { path, mode });
        }
        let pem = fs::read_to_string(&path).map_err(failed(&path))?;
        SigningKey::from_pem(&pem).map_err(|source| KeyringError::Key { path, source })
    }

    fn make(&self, entropy: &dyn Entropy) -> Result<SigningKey, KeyringError> {
        fs::create_dir_all(&self.directory).map_err(failed(&self.directory))?;
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&self.directory, private).map_err(failed(&self.directory))?;
        let mut seed = [0_u8; 32];
        entropy.fill(&mut seed);
        let path = self.private();
        let unusable = |source| KeyringError::Key {
            path: path.clone(),
            source,
        };
        let key = SigningKey::from_entropy(seed).map_err(unusable)?;
        let public = key.public();
        let public_pem = public.to_pem().map_err(unusable)?;
        let public_path = self.public(&public.key_id());
        // The public half first: a private key whose public half is missing could sign bundles
        // that nobody can verify.
        write(&public_path, public_pem.as_bytes(), 0o644)?;
        write(&path, key.to_pem().map_err(unusable)?.as_bytes(), 0o600)?;
        Ok(key)
    }

    /// Makes a new key that signs from now on; the old public key stays.
    pub fn rotate(
        &self,
        _allowed: &Authorised<SigningKeyRotate>,
        entropy: &dyn Entropy,
    ) -> Result<PublicKey, KeyringError> {
        self.make(entropy).map(|key| key.public())
    }

    /// Every public key, the current one first.
    pub fn public_keys(&self) -> Result<Vec<KeyFile>, KeyringError> {
        let current = fs::read_to_string(self.private())
            .ok()
            .and_then(|pem| SigningKey::from_pem(&pem).ok())
            .map(|key| key.public().key_id());
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&self.directory)(error)),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed(&self.directory))?.path();
            if !path.to_str().is_some_and(|path| path.ends_with(".pub.pem")) {
                continue;
            }
            let pem = fs::read_to_string(&path).map_err(failed(&path))?;
            let key = PublicKey::from_pem(&pem).map_err(|source| KeyringError::Key {
                path: path.clone(),
                source,
            })?;
            let is_current = Some(key.key_id()) == current;
            keys.push(KeyFile {
                key,
                path,
                current: is_current,
            });
        }
        keys.sort_by_key(|file| (!file.current, file.path.clone()));
        Ok(keys)
    }

    /// The file of a public key.
    pub fn public_path(&self, key: &PublicKey) -> PathBuf {
        self.public(&key.key_id())
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> KeyringError + use<> {
    let path = path.to_owned();
    move |source| KeyringError::Io { path, source }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyringError> {
    let next = path.with_extension("next");
    let written = (|| {
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&next, path)
    })();
    written.map_err(failed(path))
}

#[cfg(test)]
mod tests {
    use matrix_core::system::SystemEntropy;
    use matrix_evidence::keys::Signer as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_kept_private_and_refused_when_others_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let keyring = Keyring::at(directory.path().join("keys"));
        let first = keyring.signer(&SystemEntropy).unwrap();
        assert_eq!(
            keyring.signer(&SystemEntropy).unwrap().key_id(),
            first.key_id()
        );
        let path = keyring.private();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let keys = keyring.public_keys().unwrap();
        assert_eq!(keys.len(), 1);
        assert!(keys[0].current);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = keyring.signer(&SystemEntropy);
        assert!(matches!(
            refused,
            Err(KeyringError::Exposed { mode: 0o640, .. })
        ));
    }
}
