//! What goes wrong with users and signing in.

use matrix_core::{Code, Problem};
use matrix_store::StoreError;

/// A name that cannot be used.
pub const BAD_NAME: Code = Code::new("USER-0001", 422, 2, "name cannot be used");
/// A user of this name exists.
pub const EXISTS: Code = Code::new("USER-0002", 409, 1, "user exists");
/// The data directory belongs to somebody else.
pub const OTHER_OWNER: Code = Code::new(
    "USER-0003",
    403,
    4,
    "data directory belongs to another user",
);
/// A role that cannot be given.
pub const BAD_ROLES: Code = Code::new("USER-0004", 422, 2, "roles cannot be given");
/// No token, or none that is in force.
pub const SIGN_IN: Code = Code::new("AUTH-0002", 401, 4, "sign-in required");
/// The file with a service account's token cannot be written or read.
pub const TOKEN_FILE: Code = Code::new("AUTH-0003", 500, 1, "token file cannot be used");

/// Why an act on users failed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name is empty, too long or has characters that names do not have.
    #[error(
        "`{0}` cannot be the name of a user: it has 1 to 64 letters, digits, `.`, `_`, `-` or `@` and begins with a letter or digit"
    )]
    BadName(String),
    /// A user of this name, whatever its case, exists.
    #[error("a user named `{0}` exists")]
    Exists(String),
    /// The data directory has another owner.
    #[error("this data directory belongs to the user `{owner}`, not to `{asked}`")]
    OtherOwner {
        /// To whom it belongs.
        owner: String,
        /// Who asked.
        asked: String,
    },
    /// There is one owner, and a user without any role could do nothing.
    #[error(
        "a user can be given the roles approver and submitter, at least one of them; a worker has the role worker and no other"
    )]
    BadRoles,
    /// The token's file failed.
    #[error("the token file {path} cannot be used")]
    TokenFile {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database failed.
    #[error("users could not be read or stored")]
    Store(#[from] StoreError),
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        let text = error.to_string();
        match error {
            UserError::BadName(_) => Problem::new(BAD_NAME, text).help("choose another name"),
            UserError::Exists(_) => Problem::new(EXISTS, text)
                .help("choose another name; `matrix user list` shows those in use"),
            UserError::OtherOwner { owner, .. } => Problem::new(OTHER_OWNER, text).help(format!(
                "run the command as `{owner}`, or use a data directory of your own"
            )),
            UserError::BadRoles => Problem::new(BAD_ROLES, text)
                .help("name approver, submitter or both, or worker or client alone"),
            UserError::TokenFile { source, .. } => {
                Problem::new(TOKEN_FILE, format!("{text}: {source}"))
                    .help("let the owner of the data directory write it")
            }
            UserError::Store(source) => source.into(),
        }
    }
}

/// What a request without a valid token is answered.
pub fn sign_in_required() -> Problem {
    Problem::new(SIGN_IN, "the request has no token that is in force").help(
        "send the header `Authorization: Bearer` with a token; `matrix serve` names the file of \
         the first one, `matrix user add` prints others",
    )
}
