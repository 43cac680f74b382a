//! Credentials for brokers: small files that only their owner can read, named by a destination and
//! read when a connection is made.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::BusError;

/// The largest file that is read, in bytes.
const BYTES_MAX: u64 = 4096;

/// `user:password`, or a password or token alone. Never shown.
#[derive(Clone)]
pub(super) struct Secret {
    pub(super) user: Option<String>,
    pub(super) password: String,
}

impl Secret {
    /// Reads the file of this name.
    pub(super) fn read(directory: &Path, name: &str) -> Result<Self, BusError> {
        let refused = |why: &dyn std::fmt::Display| {
            BusError::new(format_args!(
                "the credentials `{name}` cannot be read: {why}"
            ))
        };
        let path = directory.join(name);
        let data = std::fs::symlink_metadata(&path).map_err(|error| refused(&error))?;
        if !data.is_file() || data.len() > BYTES_MAX {
            return Err(refused(&"not a small file"));
        }
        if data.mode() & 0o077 != 0 {
            return Err(refused(&"others may read the file (`chmod 600`)"));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| refused(&error))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(refused(&"it is empty"));
        }
        Ok(match text.split_once(':') {
            Some((user, password)) if !user.is_empty() => Self {
                user: Some(user.to_owned()),
                password: password.to_owned(),
            },
            _ => Self {
                user: None,
                password: text.trim_start_matches(':').to_owned(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_small_private_files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str, mode| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let read = |name: &str| {
            let read = Secret::read(directory.path(), name);
            read.map(|secret| (secret.user, secret.password))
                .map_err(|error| error.to_string())
        };
        put("both", "ada:hunter2\n", 0o600);
        assert_eq!(
            read("both").unwrap(),
            (Some("ada".into()), "hunter2".into())
        );
        put("token", "s3cr:et", 0o600);
        put("alone", "hunter2", 0o600);
        assert_eq!(read("alone").unwrap(), (None, "hunter2".into()));
        put("open", "hunter2", 0o644);
        put("empty", "\n", 0o600);
        put("large", &"x".repeat(5000), 0o600);
        for bad in ["open", "empty", "large", "missing"] {
            let error = read(bad).unwrap_err();
            assert!(!error.contains("hunter2") && error.contains(bad), "{error}");
        }
    }
}
