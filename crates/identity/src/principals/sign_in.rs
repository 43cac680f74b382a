//! From a token to a caller.

use matrix_core::Caller;
use matrix_store::StoreError;
use matrix_store::tables::principals;

use super::accounts::{AccountState, Accounts, account};
use super::token::{Token, same};

impl Accounts {
    /// Whose token this is; none if it is nobody's, ended, or its account is not active.
    pub fn authenticate(&self, token: &str) -> Result<Option<Caller>, StoreError> {
        let Some(token) = Token::parse(token) else {
            return Ok(None);
        };
        let digest = token.digest();
        let candidates = self
            .database
            .read_now(|tx| principals::tokens_like(tx, &self.scope, &digest))?;
        for (row, stored) in &candidates {
            if !same(stored, &digest) || row.scope != self.scope {
                continue;
            }
            let account = account(row)?;
            let active = account.state == AccountState::Active;
            return Ok(active.then(|| self.caller(account.principal)));
        }
        Ok(None)
    }
}
