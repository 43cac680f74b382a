//! Listing users and service accounts.

use matrix_core::id::PrincipalId;
use matrix_core::{Action, Authorised};
use matrix_store::StoreError;
use matrix_store::tables::principals;

use super::accounts::{Account, Accounts, account};

/// The most accounts on one page.
const PAGE_MAX: u32 = 1_000;

/// Lists users and service accounts; never anything of their tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserRead {
    /// Begin after this one.
    pub after: Option<PrincipalId>,
}

impl Action for UserRead {
    const NAME: &'static str = "user_read";
}

impl Accounts {
    /// At most a thousand accounts in the order they were added.
    pub fn user_list(&self, request: &Authorised<UserRead>) -> Result<Vec<Account>, StoreError> {
        let scope = &request.caller().scope;
        let after = request.action().after;
        let rows = self
            .database
            .read_now(|tx| principals::list(tx, scope, after, PAGE_MAX))?;
        rows.iter().map(account).collect()
    }
}
