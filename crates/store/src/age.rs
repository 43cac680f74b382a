//! How old the tables of a database file are, beside those that this program was written for.

use std::collections::BTreeSet;

use rusqlite::Connection;

use crate::error::StoreError;

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// Whose tables a database file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// This program's.
    Same,
    /// An older program's, or none yet: a host brings them to this program's.
    Older,
    /// A newer program's. This one knows neither what is in them nor what must hold.
    Newer,
}

/// Looks at the record of migrations.
pub(crate) fn of(connection: &Connection) -> Result<Age, StoreError> {
    let (applied, known) = (applied(connection)?, known());
    Ok(if !applied.is_subset(&known) {
        Age::Newer
    } else if applied == known {
        Age::Same
    } else {
        Age::Older
    })
}

/// Makes the tables this program's; refuses a newer program's.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    refuse_newer(of(connection)?)?;
    let migrated = embedded::migrations::runner().run(connection);
    migrated.map(drop).map_err(|error| {
        StoreError::Unavailable(format!("the database could not be migrated: {error}"))
    })
}

/// Refuses what nobody may work on.
pub(crate) fn refuse_newer(age: Age) -> Result<(), StoreError> {
    match age {
        Age::Newer => Err(StoreError::Unfit(
            "its tables are those of a newer program".into(),
        )),
        Age::Same | Age::Older => Ok(()),
    }
}

fn known() -> BTreeSet<i64> {
    let runner = embedded::migrations::runner();
    let migrations = runner.get_migrations().iter();
    migrations.map(|one| one.version().into()).collect()
}

fn applied(connection: &Connection) -> Result<BTreeSet<i64>, StoreError> {
    let is_there = "SELECT EXISTS (SELECT 1 FROM sqlite_master
                                    WHERE type = 'table' AND name = 'refinery_schema_history')";
    if !connection.query_row(is_there, [], |row| row.get(0))? {
        return Ok(BTreeSet::new());
    }
    let mut versions = connection.prepare("SELECT version FROM refinery_schema_history")?;
    let versions = versions.query_map([], |row| row.get(0))?;
    Ok(versions.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_older_until_the_last_migration_and_newer_behind_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(of(&connection).unwrap(), Age::Older, "there is nothing");
        let first = refinery::Target::Version(1);
        let runner = embedded::migrations::runner().set_target(first);
        runner.run(&mut connection).unwrap();
        assert_eq!(of(&connection).unwrap(), Age::Older);
        migrate(&mut connection).unwrap();
        assert_eq!(of(&connection).unwrap(), Age::Same);
        migrate(&mut connection).unwrap();
        let later = "INSERT INTO refinery_schema_history VALUES (1000000, 'later', '', '1')";
        connection.execute(later, []).unwrap();
        assert_eq!(of(&connection).unwrap(), Age::Newer);
        let refused = migrate(&mut connection).unwrap_err();
        assert!(matches!(refused, StoreError::Unfit(_)), "{refused}");
    }
}
