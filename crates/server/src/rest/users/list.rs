//! `GET /api/v1/users`: who may sign in.

use axum::extract::State;
use matrix_core::id::PrincipalId;
use matrix_core::{PrincipalKind, Timestamp};
use matrix_identity::UserRead;
use matrix_identity::principals::{Account, AccountState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Asked;
use crate::problem::Failure;
use crate::rest::page::{Page, PageQuery};
use crate::server::{Server, blocking};

/// A person or a program that may sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Its id.
    #[schema(value_type = String)]
    pub id: PrincipalId,
    /// `user` or `service_account`.
    #[schema(value_type = String)]
    pub kind: PrincipalKind,
    /// Its name.
    pub name: String,
    /// `owner`, `approver`, `submitter`.
    pub roles: Vec<String>,
    /// Whether it may sign in.
    pub active: bool,
    /// Since when it exists, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
}

impl From<Account> for User {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            kind: account.principal.kind,
            name: account.principal.name,
            roles: account.roles.iter().map(ToString::to_string).collect(),
            active: account.state == AccountState::Active,
            created_at: account.created_at,
        }
    }
}

/// Users and service accounts, in the order they were added. Tokens are never shown.
#[utoipa::path(
    get, path = "/api/v1/users", operation_id = "user_list", tag = "users", params(PageQuery),
    responses((status = 200, description = "A page of users.", body = Page<User>)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Asked(page): Asked<PageQuery>,
) -> Result<Page<User>, Failure> {
    let after = page.cursor.as_deref().map(str::parse).transpose();
    let after = after.map_err(|error| Failure::malformed(format!("the cursor: {error}")))?;
    let request = server.authorise(caller, UserRead { after })?;
    let accounts = server.accounts().clone();
    let found = blocking(move || accounts.user_list(&request)).await?;
    let page = Page::cut(found, page.limit(), |account| account.id.to_string());
    Ok(page.map(User::from))
}
