//! Names of git objects: 40 hexadecimal digits (SHA-1) or 64 (SHA-256 repositories).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not the full name of a git object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a full git object name: expected 40 or 64 lower-case hexadecimal digits")]
pub struct InvalidObjectId;

fn check(text: &str) -> Result<(), InvalidObjectId> {
    let digits = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if digits && (text.len() == 40 || text.len() == 64) {
        Ok(())
    } else {
        Err(InvalidObjectId)
    }
}

macro_rules! object_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The hexadecimal digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidObjectId;

            fn from_str(text: &str) -> Result<Self, InvalidObjectId> {
                check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidObjectId;

            fn try_from(text: String) -> Result<Self, InvalidObjectId> {
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

object_id!(
    /// A commit.
    CommitId
);
object_id!(
    /// A tree: the whole content of a revision.
    TreeId
);
object_id!(
    /// A file's content.
    BlobId
);

/// Which hash a repository names its objects by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectFormat {
    /// 40 digits; nearly every repository.
    Sha1,
    /// 64 digits.
    Sha256,
}

impl ObjectFormat {
    /// The name git uses on its command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_lower_case_names_are_accepted() {
        let sha1 = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(sha1.parse::<CommitId>().unwrap().to_string(), sha1);
        assert!("0".repeat(64).parse::<TreeId>().is_ok());
        for wrong in [
            "",
            "abc",
            &sha1.to_uppercase(),
            &sha1[1..],
            "--upload-pack=x",
        ] {
            assert_eq!(wrong.parse::<BlobId>(), Err(InvalidObjectId), "{wrong}");
        }
    }
}
