//! `POST /api/v1/users`.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use matrix_identity::{Role, UserAdd};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::list::User;
use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::Server;

/// A person who shall be able to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name: 1 to 64 letters, digits, `.`, `_`, `-` or `@`.
    pub name: String,
    /// `approver`, `submitter` or both; or `worker`; or `client`.
    #[schema(value_type = Vec<String>)]
    pub roles: BTreeSet<Role>,
}

/// A user with the token they sign in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserWithToken {
    /// The user.
    pub user: User,
    /// The token. It is shown this once and kept nowhere.
    pub token: String,
}

/// Adds a user, which ends self-approval: the data directory then has more than one.
#[utoipa::path(
    post, path = "/api/v1/users", operation_id = "user_add", tag = "users",
    request_body = NewUser,
    responses((status = 201, description = "The user and their token.", body = UserWithToken)),
)]
pub(crate) async fn add(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(NewUser { name, roles }): Body<NewUser>,
) -> Result<(StatusCode, Json<UserWithToken>), Failure> {
    let request = server.authorise(caller, UserAdd { name, roles })?;
    let added = server.accounts().user_add(request).await?;
    let answer = UserWithToken {
        user: added.account.into(),
        token: added.token.reveal().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}
