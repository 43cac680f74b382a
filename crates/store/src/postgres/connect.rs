//! Refusing a server that is too old, tables of another version, and a login that could see past
//! its tenant.

use tokio_postgres::Client;

use crate::error::StoreError;
use crate::postgres::migrate::newest_version;

/// The oldest server we know to work, as `server_version_num` writes it.
const VERSION_MIN: i32 = 15_00_00;

const LOGIN: &str = "
    SELECT current_setting('server_version_num')::INT,
           session_user::TEXT,
           r.rolsuper OR r.rolbypassrls,
           CASE WHEN 3 = (SELECT count(*) FROM pg_roles
                          WHERE rolname IN ('matrix_owner', 'matrix_engine', 'matrix_app'))
                THEN pg_has_role(session_user, 'matrix_engine', 'MEMBER')
                     AND pg_has_role(session_user, 'matrix_app', 'MEMBER') END,
           CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = 'matrix_owner')
                THEN pg_has_role(session_user, 'matrix_owner', 'MEMBER') END,
           EXISTS (SELECT FROM pg_roles
                   WHERE rolname IN ('matrix_engine', 'matrix_app')
                     AND (rolsuper OR rolbypassrls))
    FROM pg_roles r WHERE r.rolname = session_user";

/// Becomes the engine for as long as nothing else is asked, and gives limits: no statement, lock
/// or forgotten transaction holds others up for longer.
const SETTINGS: &str = "
    SET ROLE matrix_engine;
    SET search_path TO matrix;
    SET synchronous_commit TO on;
    SET statement_timeout TO 25000;
    SET lock_timeout TO 10000;
    SET idle_in_transaction_session_timeout TO 60000;
    SET client_min_messages TO warning";

/// Refuses what must not be used at run time and makes a connection ours.
pub(crate) async fn admit(client: &Client) -> Result<(), StoreError> {
    let row = client.query_one(LOGIN, &[]).await?;
    check_version(row.try_get(0)?)?;
    let login: String = row.try_get(1)?;
    let refuse = |why: &str| Err(StoreError::Unfit(format!("the login `{login}` {why}")));
    if row.try_get::<_, bool>(2)? {
        return refuse(
            "is a superuser or bypasses row-level security, which keeps tenants apart; use one \
             that is only a member of matrix_engine and matrix_app",
        );
    }
    match row.try_get::<_, Option<bool>>(3)? {
        None => {
            return Err(StoreError::Unfit(
                "the database was not prepared for Matrix: its roles are missing; prepare it \
                 with `matrix database migrate`"
                    .into(),
            ));
        }
        Some(false) => {
            return refuse("is not a member of both matrix_engine and matrix_app; grant it them");
        }
        Some(true) => {}
    }
    if row.try_get::<_, Option<bool>>(4)? == Some(true) {
        return refuse(
            "is a member of matrix_owner, which could switch row-level security off; use that \
             one for migrating only",
        );
    }
    if row.try_get::<_, bool>(5)? {
        return Err(StoreError::Unfit(
            "matrix_engine or matrix_app is a superuser or bypasses row-level security; take \
             that right from it"
                .into(),
        ));
    }
    client.batch_execute(SETTINGS).await?;
    check_tables(client).await
}

/// Refuses servers that are too old.
pub(super) fn check_version(version: i32) -> Result<(), StoreError> {
    if version >= VERSION_MIN {
        return Ok(());
    }
    let (major, minor) = (version / 10_000, version % 10_000);
    Err(StoreError::Unfit(format!(
        "the database is PostgreSQL {major}.{minor}; Matrix needs 15 or newer"
    )))
}

/// The tables are those that this program was written for.
async fn check_tables(client: &Client) -> Result<(), StoreError> {
    let known = client
        .query_one(
            "SELECT to_regclass('matrix.refinery_schema_history') IS NOT NULL",
            &[],
        )
        .await?;
    let found: Option<i32> = if known.try_get(0)? {
        client
            .query_one("SELECT max(version) FROM refinery_schema_history", &[])
            .await?
            .try_get(0)?
    } else {
        None
    };
    let (found, wanted) = (found.unwrap_or(0), newest_version());
    if found == wanted {
        return Ok(());
    }
    let what = if found < wanted {
        "migrate it with `matrix database migrate`"
    } else {
        "a newer Matrix has migrated it; use that one"
    };
    Err(StoreError::Unfit(format!(
        "the database's tables are of version {found}, this program's of version {wanted}; {what}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused_by_their_version() {
        assert!(check_version(15_00_04).is_ok());
        let refused = check_version(14_00_09).unwrap_err().to_string();
        assert!(refused.contains("PostgreSQL 14.9"), "{refused}");
    }
}
