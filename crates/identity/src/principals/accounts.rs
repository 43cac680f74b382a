//! The people and programs of one data directory.

use std::collections::BTreeSet;
use std::sync::Arc;

use matrix_core::id::PrincipalId;
use matrix_core::{Caller, Clock, Entropy, Principal, PrincipalKind, Scope, Timestamp};
use matrix_store::tables::{audit, principals};
use matrix_store::{Database, StoreError, Tx};
use serde::Serialize;

use super::problem::UserError;
use crate::policy::Roster;
use crate::role::Role;

/// The most characters in the name of an operating-system user.
const OWNER_NAME_MAX: usize = 256;

/// Whether an account may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// It may sign in.
    Active,
    /// It may not.
    Disabled,
}

/// A principal that can sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Its id.
    pub id: PrincipalId,
    /// Kind and name.
    pub principal: Principal,
    /// What it is here.
    pub roles: BTreeSet<Role>,
    /// Whether it may be used.
    pub state: AccountState,
    /// Since when it exists.
    pub created_at: Timestamp,
}

/// The accounts of one scope in the database. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Accounts {
    pub(crate) database: Database,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) scope: Scope,
}

impl Accounts {
    /// The accounts of a scope.
    pub fn new(
        database: Database,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        scope: Scope,
    ) -> Self {
        Self {
            database,
            clock,
            entropy,
            scope,
        }
    }

    /// The operating-system user as a caller. It says nothing about rights: these come from the
    /// account, so a user who is not the owner is known to nobody.
    pub fn owner_caller(&self, os_user: &str) -> Caller {
        self.caller(Principal {
            kind: PrincipalKind::User,
            name: os_user.to_owned(),
        })
    }

    /// Makes the operating-system user the owner, if nobody is yet, and gives it as a caller.
    /// Whoever becomes host calls this first.
    pub async fn claim(&self, os_user: &str) -> Result<Caller, UserError> {
        let printable = !os_user.is_empty()
            && os_user.chars().count() <= OWNER_NAME_MAX
            && !os_user.chars().any(char::is_control);
        if !printable {
            return Err(UserError::BadName(os_user.chars().take(80).collect()));
        }
        let caller = self.owner_caller(os_user);
        let (at, id) = (self.clock.now(), self.new_id());
        let acting = caller.clone();
        self.database
            .write(move |tx| match owner(tx, &acting.scope)? {
                Some(owner) if owner.principal == acting.principal => Ok(()),
                Some(owner) => Err(UserError::OtherOwner {
                    owner: owner.principal.name,
                    asked: acting.principal.name.clone(),
                }),
                None => {
                    let account = Account {
                        id,
                        principal: acting.principal.clone(),
                        roles: Role::OWNERS.into(),
                        state: AccountState::Active,
                        created_at: at,
                    };
                    insert(tx, &acting, &account, "owner_claim")
                }
            })
            .await?;
        Ok(caller)
    }

    /// Whether exactly one user is active, so that an explicit self-approval may serve.
    pub fn single_user(&self) -> Result<bool, StoreError> {
        let scope = &self.scope;
        let users = self
            .database
            .read_now(|tx| principals::count_active(tx, scope, USER, 2))?;
        Ok(users == 1)
    }

    /// The account of a principal, active or not.
    pub fn find(&self, principal: &Principal) -> Result<Option<Account>, StoreError> {
        let Some(kind) = kind_word(principal.kind) else {
            return Ok(None);
        };
        let scope = &self.scope;
        let row = self
            .database
            .read_now(|tx| principals::by_name(tx, scope, kind, &principal.name))?;
        // Names are unique whatever their case, but a name of another case is not this principal.
        let row = row.filter(|row| row.name == principal.name);
        row.as_ref().map(account).transpose()
    }

    pub(crate) fn caller(&self, principal: Principal) -> Caller {
        Caller {
            principal,
            scope: self.scope.clone(),
            on_behalf_of: Vec::new(),
        }
    }

    pub(crate) fn new_id(&self) -> PrincipalId {
        PrincipalId::generate(self.clock.as_ref(), self.entropy.as_ref())
    }
}

impl Roster for Accounts {
    fn roles_of(&self, principal: &Principal) -> Option<BTreeSet<Role>> {
        // A failed look-up is a refusal, as an unknown principal is.
        let account = self.find(principal).ok().flatten()?;
        (account.state == AccountState::Active).then_some(account.roles)
    }
}

/// How the kinds that can sign in are stored.
pub(crate) const USER: &str = "user";
const SERVICE: &str = "service";

pub(crate) fn kind_word(kind: PrincipalKind) -> Option<&'static str> {
    match kind {
        PrincipalKind::User => Some(USER),
        PrincipalKind::ServiceAccount => Some(SERVICE),
        PrincipalKind::Agent | PrincipalKind::Node => None,
    }
}

/// The account as stored; a word this program does not write is damage.
pub(crate) fn account(row: &principals::PrincipalRow) -> Result<Account, StoreError> {
    let damaged = |what: &str| StoreError::corrupt(format_args!("{what} of {}", row.principal));
    let kind = match row.kind.as_str() {
        USER => PrincipalKind::User,
        SERVICE => PrincipalKind::ServiceAccount,
        _ => return Err(damaged("the kind")),
    };
    let words = row.roles.split(',').filter(|word| !word.is_empty());
    let roles = words
        .map(|word| word.parse::<Role>().map_err(|_| damaged("a role")))
        .collect::<Result<_, _>>()?;
    let state = match row.state.as_str() {
        "active" => AccountState::Active,
        _ => AccountState::Disabled,
    };
    Ok(Account {
        id: row.principal,
        principal: Principal {
            kind,
            name: row.name.clone(),
        },
        roles,
        state,
        created_at: row.created_at,
    })
}

/// Roles as they are stored and audited: `approver,submitter`.
pub(crate) fn role_words(roles: &BTreeSet<Role>) -> String {
    let words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    words.join(",")
}

/// Adds an account and its audit row.
pub(crate) fn insert(
    tx: &Tx<'_>,
    caller: &Caller,
    account: &Account,
    action: &str,
) -> Result<(), UserError> {
    let Some(kind) = kind_word(account.principal.kind) else {
        return Err(UserError::BadName(account.principal.to_string()));
    };
    let name = &account.principal.name;
    if principals::by_name(tx, &caller.scope, kind, name)?.is_some() {
        return Err(UserError::Exists(name.clone()));
    }
    let row = principals::PrincipalRow {
        principal: account.id,
        scope: caller.scope.clone(),
        kind: kind.into(),
        name: name.clone(),
        roles: role_words(&account.roles),
        state: "active".into(),
        created_at: account.created_at,
    };
    principals::insert(tx, &row)?;
    let detail = format!("roles: {}", row.roles);
    let subject = account.principal.to_string();
    audit::insert(tx, caller, account.created_at, action, &subject, &detail)?;
    Ok(())
}

fn owner(tx: &Tx<'_>, scope: &Scope) -> Result<Option<Account>, StoreError> {
    let rows = principals::with_role(tx, scope, Role::Owner.as_str(), 1)?;
    rows.first().map(account).transpose()
}
