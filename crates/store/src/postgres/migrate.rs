//! Roles, schema and tables; done by an administrator's login, never at run time.

use tokio_postgres::Client;

use crate::error::StoreError;
use crate::postgres::Address;
use crate::postgres::connect::check_version;
use crate::postgres::drive::Driver;

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// The version of the tables that this program was written for.
pub(super) fn newest_version() -> i32 {
    embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(refinery::Migration::version)
        .max()
        .unwrap_or(0)
}

/// How long a whole migration may take.
const MIGRATION_MAX: std::time::Duration = std::time::Duration::from_hours(1);

/// Brings a database to the tables of this program: makes the roles `matrix_owner`, `matrix_engine`
/// and `matrix_app` and the schema `matrix` where they are missing, then migrates as the owner.
/// The owner's login may be a superuser, or any that may make roles and schemas and is a member of
/// `matrix_owner`. `login` is then granted what it needs at run time, and made where it is missing, without a
/// password. Blocks.
pub fn migrate(owner: &Address, login: Option<&str>) -> Result<(), StoreError> {
    let address = owner.clone();
    let login = login.map(str::to_owned);
    // A thread of its own: the caller may be part of a runtime.
    let migration = std::thread::Builder::new()
        .name("migration".into())
        .spawn(move || {
            let driver = Driver::own()?;
            let mut client = address.connect(&driver)?;
            let work = run(&mut client, login.as_deref());
            let late = || StoreError::Unavailable("the migration took too long".into());
            driver.wait(work, MIGRATION_MAX).ok_or_else(late)?
        })?;
    migration
        .join()
        .unwrap_or_else(|_| Err(StoreError::Unavailable("the migration stopped".into())))
}

/// Two processes that migrate at once wait for each other by this number.
const LOCK: &str = "SELECT pg_advisory_lock(7223914)";

const ROLES: &str = "
    DO $$
    DECLARE name TEXT;
    BEGIN
        FOREACH name IN ARRAY ARRAY['matrix_owner', 'matrix_engine', 'matrix_app'] LOOP
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE '
                               'NOREPLICATION NOBYPASSRLS', name);
            END IF;
        END LOOP;
        IF NOT pg_has_role(current_user, 'matrix_owner', 'MEMBER') THEN
            EXECUTE format('GRANT matrix_owner TO %I', current_user);
        END IF;
        IF to_regnamespace('matrix') IS NULL THEN
            CREATE SCHEMA matrix AUTHORIZATION matrix_owner;
        END IF;
    END $$";

const BECOME_OWNER: &str = "
    SET ROLE matrix_owner;
    SET search_path TO matrix;
    GRANT USAGE ON SCHEMA matrix TO matrix_engine, matrix_app";

const AFTER: &str = "GRANT SELECT ON refinery_schema_history TO matrix_engine";

async fn run(client: &mut Client, login: Option<&str>) -> Result<(), StoreError> {
    let version = client
        .query_one("SELECT current_setting('server_version_num')::INT", &[])
        .await?;
    check_version(version.try_get(0)?)?;
    client.batch_execute(LOCK).await?;
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        StoreError::Unavailable(format!(
            "the database could not be migrated: {what}: {error}"
        ))
    };
    client
        .batch_execute(ROLES)
        .await
        .map_err(|error| failed("its roles", &StoreError::from(error)))?;
    if let Some(login) = login {
        let make = "SELECT format('CREATE ROLE %I LOGIN', $1::TEXT)
                    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::TEXT)";
        if let Some(make) = client.query_opt(make, &[&login]).await? {
            let make: String = make.try_get(0)?;
            client
                .batch_execute(&make)
                .await
                .map_err(|error| failed("the login", &StoreError::from(error)))?;
        }
        let grant = "SELECT format('GRANT matrix_engine, matrix_app TO %I', $1::TEXT)";
        let grant: String = client.query_one(grant, &[&login]).await?.try_get(0)?;
        client
            .batch_execute(&grant)
            .await
            .map_err(|error| failed("the login's rights", &StoreError::from(error)))?;
    }
    client.batch_execute(BECOME_OWNER).await?;
    embedded::migrations::runner()
        .run_async(client)
        .await
        .map_err(|error| failed("its tables", &error))?;
    client.batch_execute(AFTER).await?;
    Ok(())
}
