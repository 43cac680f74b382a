//! Adding a user, a worker or a client of models, with a token that is shown once.

use std::collections::BTreeSet;

use matrix_core::{Action, Authorised, Principal, PrincipalKind};
use matrix_store::tables::principals;

use super::accounts::{Account, AccountState, Accounts, insert};
use super::problem::UserError;
use super::token::Token;
use crate::role::Role;

/// The most characters in a name.
const NAME_MAX: usize = 64;

/// Adds a user who signs in with a token, or a worker or client: a service account that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserAdd {
    /// How the user is called.
    pub name: String,
    /// What the user may be here: approver, submitter or both; or worker or client alone.
    pub roles: BTreeSet<Role>,
}

impl Action for UserAdd {
    const NAME: &'static str = "user_add";
}

/// A user who was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Who.
    pub account: Account,
    /// What they sign in with; this is the only time it is known.
    pub token: Token,
}

impl Accounts {
    /// Adds a user, or a service account for a program. The account, the token's digest and the
    /// audit row are one transaction.
    pub async fn user_add(&self, request: Authorised<UserAdd>) -> Result<NewUser, UserError> {
        let (caller, UserAdd { name, roles }) = request.into_parts();
        if !is_name(&name) {
            return Err(UserError::BadName(name.chars().take(80).collect()));
        }
        let kind = kind_of(&roles)?;
        let token = Token::generate(self.entropy.as_ref());
        let account = Account {
            id: self.new_id(),
            principal: Principal { kind, name },
            roles,
            state: AccountState::Active,
            created_at: self.clock.now(),
        };
        let (stored, digest) = (account.clone(), token.digest());
        self.database
            .write(move |tx| {
                insert(tx, &caller, &stored, UserAdd::NAME)?;
                principals::insert_token(tx, &caller.scope, stored.id, &digest, stored.created_at)?;
                Ok::<_, UserError>(())
            })
            .await?;
        Ok(NewUser { account, token })
    }
}

/// Workers and clients are programs: they never count as persons, and their tokens are good for
/// nothing else.
fn kind_of(roles: &BTreeSet<Role>) -> Result<PrincipalKind, UserError> {
    let program = roles.contains(&Role::Worker) || roles.contains(&Role::Client);
    match roles.len() {
        0 => Err(UserError::BadRoles),
        1 if program => Ok(PrincipalKind::ServiceAccount),
        _ if program || roles.contains(&Role::Owner) => Err(UserError::BadRoles),
        _ => Ok(PrincipalKind::User),
    }
}

fn is_name(text: &str) -> bool {
    let inner = |character: char| character.is_ascii_alphanumeric() || "._-@".contains(character);
    text.len() <= NAME_MAX
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(inner)
}
