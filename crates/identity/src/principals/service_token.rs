//! The first token of a data directory: a service account for the API, in a file that only the
//! owner can read. It may submit and read; no policy lets it approve.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use matrix_core::{Caller, Principal, PrincipalKind};
use matrix_store::tables::{audit, principals};

use super::accounts::{Account, AccountState, Accounts, account, insert, kind_word};
use super::problem::UserError;
use super::token::Token;
use crate::role::Role;

/// The most bytes read of a token file.
const FILE_BYTES_MAX: u64 = 1_024;

impl Accounts {
    /// Makes sure that the file holds a valid token of the service account `name`, for `owner`.
    /// A token that nobody else can read and that is in force stays; otherwise a new one is
    /// written with mode 0600 and the account's earlier tokens end. Gives the service account.
    pub async fn ensure_service_token(
        &self,
        owner: &Caller,
        name: &str,
        file: &Path,
    ) -> Result<Caller, UserError> {
        let service = self.caller(Principal {
            kind: PrincipalKind::ServiceAccount,
            name: name.to_owned(),
        });
        let failed = |source| UserError::TokenFile {
            path: file.display().to_string(),
            source,
        };
        if let Some(token) = read_private(file).map_err(failed)?
            && self.authenticate(&token)?.as_ref() == Some(&service)
        {
            return Ok(service);
        }
        let token = Token::generate(self.entropy.as_ref());
        // The file is complete before the token counts, and takes its name when it does: a crash
        // between the two leaves the old file, whose token the next start replaces.
        let written = write_private(file, &token).map_err(failed)?;
        self.replace_tokens(owner, &service, &token).await?;
        written.persist(file).map_err(|error| failed(error.error))?;
        sync_directory(file).map_err(failed)?;
        Ok(service)
    }

    async fn replace_tokens(
        &self,
        owner: &Caller,
        service: &Caller,
        token: &Token,
    ) -> Result<(), UserError> {
        let (owner, principal) = (owner.clone(), service.principal.clone());
        let (at, id, digest) = (self.clock.now(), self.new_id(), token.digest());
        self.database
            .write(move |tx| {
                let kind = kind_word(principal.kind).unwrap_or_default();
                let row = principals::by_name(tx, &owner.scope, kind, &principal.name)?;
                let known = row.as_ref().map(account).transpose()?;
                let account = if let Some(known) = known {
                    known
                } else {
                    let account = Account {
                        id,
                        principal,
                        roles: BTreeSet::from([Role::Submitter]),
                        state: AccountState::Active,
                        created_at: at,
                    };
                    insert(tx, &owner, &account, "service_account_add")?;
                    account
                };
                let ended = principals::revoke_tokens(tx, &owner.scope, account.id, at)?;
                principals::insert_token(tx, &owner.scope, account.id, &digest, at)?;
                let detail = format!("tokens ended: {ended}");
                let subject = account.principal.to_string();
                audit::insert(tx, &owner, at, "service_token_new", &subject, &detail)?;
                Ok::<_, UserError>(())
            })
            .await
    }
}

/// The file's text without surrounding space; none if there is none or others can read it.
fn read_private(path: &Path) -> std::io::Result<Option<String>> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Ok(None);
    }
    let mut text = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut text)?;
    Ok(Some(String::from_utf8_lossy(&text).trim().to_owned()))
}

/// A complete file beside `path`, readable by its owner only, that has not its name yet.
fn write_private(path: &Path, token: &Token) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(directory(path))?;
    file.write_all(token.reveal().as_bytes())?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(directory(path))?.sync_all()
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
