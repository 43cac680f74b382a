//! Users and service accounts, and the digests of the tokens they sign in with.

use matrix_core::id::PrincipalId;
use matrix_core::{Digest, Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const INSERT: Statement = Statement::new(
    "principals.insert",
    "INSERT INTO principals
         (principal, organisation, workspace, kind, name, roles, state, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, 'active', $7)",
);
const BY_NAME: Statement = Statement::new(
    "principals.by_name",
    "SELECT principal, organisation, workspace, kind, name, roles, state, created_at
     FROM principals
     WHERE organisation = $1 AND workspace = $2 AND kind = $3 AND lower(name) = lower($4)",
)
.on_postgres(
    "SELECT principal, organisation, workspace, kind, name, roles, state, created_at
     FROM principals
     WHERE organisation = $1 AND workspace = $2 AND kind = $3
           AND lower(name) = lower($4 COLLATE \"C\")",
);
const LIST: Statement = Statement::new(
    "principals.list",
    "SELECT principal, organisation, workspace, kind, name, roles, state, created_at
     FROM principals WHERE organisation = $1 AND workspace = $2 AND principal > $3
     ORDER BY principal LIMIT $4",
);
const WITH_ROLE: Statement = Statement::new(
    "principals.with_role",
    "SELECT principal, organisation, workspace, kind, name, roles, state, created_at
     FROM principals
     WHERE organisation = $1 AND workspace = $2
           AND replace(',' || roles || ',', ',' || $3 || ',', '') <> ',' || roles || ','
     ORDER BY principal LIMIT $4",
);
const COUNT_ACTIVE: Statement = Statement::new(
    "principals.count_active",
    "SELECT count(*) FROM
         (SELECT 1 FROM principals
          WHERE organisation = $1 AND workspace = $2 AND kind = $3 AND state = 'active'
          LIMIT $4) AS active",
);
const TOKEN_INSERT: Statement = Statement::new(
    "tokens.insert",
    "INSERT INTO tokens (digest, hint, principal, created_at) VALUES ($1, $2, $3, $4)",
);
const OWNS: Statement = Statement::new(
    "principals.owned",
    "SELECT 1 FROM principals WHERE principal = $1 AND organisation = $2 AND workspace = $3",
);
const TOKENS_BY_HINT: Statement = Statement::new(
    "tokens.by_hint",
    "SELECT p.principal, p.organisation, p.workspace, p.kind, p.name, p.roles, p.state,
            p.created_at, t.digest
     FROM tokens t JOIN principals p ON p.principal = t.principal
     WHERE t.hint = $1 AND t.revoked_at IS NULL AND p.organisation = $2 AND p.workspace = $3
     LIMIT 64",
);
const TOKENS_REVOKE: Statement = Statement::new(
    "tokens.revoke",
    "UPDATE tokens SET revoked_at = $2
     WHERE principal IN (SELECT principal FROM principals
                         WHERE principal = $1 AND organisation = $3 AND workspace = $4)
           AND revoked_at IS NULL",
);

/// Every statement of these tables.
pub const STATEMENTS: &[Statement] = &[
    INSERT,
    BY_NAME,
    LIST,
    WITH_ROLE,
    COUNT_ACTIVE,
    OWNS,
    TOKEN_INSERT,
    TOKENS_BY_HINT,
    TOKENS_REVOKE,
];

/// Somebody or something that can sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalRow {
    /// Its id.
    pub principal: PrincipalId,
    /// Where it belongs.
    pub scope: Scope,
    /// `user` or `service`.
    pub kind: String,
    /// Its name; two names of a kind differ in more than case.
    pub name: String,
    /// Its roles, separated by commas.
    pub roles: String,
    /// `active`, or another word when it may not sign in.
    pub state: String,
    /// Since when.
    pub created_at: Timestamp,
}

fn principal(row: &Row) -> Result<PrincipalRow, StoreError> {
    Ok(PrincipalRow {
        principal: PrincipalId::from_bytes(row.get(0)?),
        scope: Scope {
            organisation: row.get(1)?,
            workspace: row.get(2)?,
        },
        kind: row.get(3)?,
        name: row.get(4)?,
        roles: row.get(5)?,
        state: row.get(6)?,
        created_at: row.get(7)?,
    })
}

/// Adds an active principal; a name that exists is a conflict.
pub fn insert(tx: &Tx<'_>, row: &PrincipalRow) -> Result<(), StoreError> {
    let params = params![
        row.principal.as_bytes(),
        &row.scope.organisation,
        &row.scope.workspace,
        &row.kind,
        &row.name,
        &row.roles,
        row.created_at
    ];
    tx.within(&row.scope, |tx| tx.execute(&INSERT, params).map(drop))
}

/// The principal of a kind and a name, whatever its case and state.
pub fn by_name(
    tx: &Tx<'_>,
    scope: &Scope,
    kind: &str,
    name: &str,
) -> Result<Option<PrincipalRow>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, kind, name];
    tx.within(scope, |tx| {
        tx.query_one(&BY_NAME, params)?
            .as_ref()
            .map(principal)
            .transpose()
    })
}

/// Principals of a scope in the order they were added, after `after` where it is given.
pub fn list(
    tx: &Tx<'_>,
    scope: &Scope,
    after: Option<PrincipalId>,
    limit: u32,
) -> Result<Vec<PrincipalRow>, StoreError> {
    let after = after.unwrap_or(PrincipalId::from_bytes([0; 16]));
    let params = params![
        &scope.organisation,
        &scope.workspace,
        after.as_bytes(),
        i64::from(limit)
    ];
    tx.within(scope, |tx| {
        tx.query(&LIST, params)?.iter().map(principal).collect()
    })
}

/// Principals of a scope that have a role, whatever their state.
pub fn with_role(
    tx: &Tx<'_>,
    scope: &Scope,
    role: &str,
    limit: u32,
) -> Result<Vec<PrincipalRow>, StoreError> {
    let params = params![
        &scope.organisation,
        &scope.workspace,
        role,
        i64::from(limit)
    ];
    tx.within(scope, |tx| {
        tx.query(&WITH_ROLE, params)?
            .iter()
            .map(principal)
            .collect()
    })
}

/// How many active principals of a kind there are, counted up to `limit`.
pub fn count_active(tx: &Tx<'_>, scope: &Scope, kind: &str, limit: u32) -> Result<u64, StoreError> {
    let params = params![
        &scope.organisation,
        &scope.workspace,
        kind,
        i64::from(limit)
    ];
    tx.within(scope, |tx| match tx.query_one(&COUNT_ACTIVE, params)? {
        Some(row) => row.get(0),
        None => Ok(0),
    })
}

/// What a token is looked up by: too little of its digest to tell it from others, so that the
/// time of the look-up says nothing about a digest, which the caller then compares.
pub fn token_hint(digest: &Digest) -> i64 {
    let bytes = digest.as_bytes();
    i64::from(u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]))
}

/// Adds a token of a scope's principal by its digest.
pub fn insert_token(
    tx: &Tx<'_>,
    scope: &Scope,
    principal: PrincipalId,
    digest: &Digest,
    at: Timestamp,
) -> Result<(), StoreError> {
    let owned = params![principal.as_bytes(), &scope.organisation, &scope.workspace];
    let params = params![digest, token_hint(digest), principal.as_bytes(), at];
    tx.within(scope, |tx| {
        if tx.query_one(&OWNS, owned)?.is_none() {
            return Err(StoreError::forbidden(format_args!(
                "what belongs to {principal}"
            )));
        }
        tx.execute(&TOKEN_INSERT, params).map(drop)
    })
}

/// The tokens in force in a scope that share this digest's hint, with their principals.
pub fn tokens_like(
    tx: &Tx<'_>,
    scope: &Scope,
    digest: &Digest,
) -> Result<Vec<(PrincipalRow, Digest)>, StoreError> {
    let params = params![token_hint(digest), &scope.organisation, &scope.workspace];
    tx.within(scope, |tx| {
        tx.query(&TOKENS_BY_HINT, params)?
            .iter()
            .map(|row| Ok((principal(row)?, row.get(8)?)))
            .collect()
    })
}

/// Ends all tokens of a scope's principal and gives their number.
pub fn revoke_tokens(
    tx: &Tx<'_>,
    scope: &Scope,
    principal: PrincipalId,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let params = params![
        principal.as_bytes(),
        at,
        &scope.organisation,
        &scope.workspace
    ];
    tx.within(scope, |tx| tx.execute(&TOKENS_REVOKE, params))
}
