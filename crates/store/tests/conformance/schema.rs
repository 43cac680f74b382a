//! The two schemas are one: the same tables with the same columns, and every statement is
//! understood by both databases.

use std::collections::BTreeMap;

use matrix_store::{Database, OpenMode, Param, Statement, StoreError, tables};

use crate::server::{LOGIN, Server};

type Tables = BTreeMap<String, Vec<String>>;

/// `table|column|type|nullable`, in the order of columns.
fn tables_of(listing: &str) -> Tables {
    let mut tables = Tables::new();
    for line in listing.lines() {
        let (table, column) = line.split_once('|').unwrap();
        let column = column
            .replace("|BIGINT|", "|INTEGER|")
            .replace("|BYTEA|", "|BLOB|");
        tables.entry(table.to_owned()).or_default().push(column);
    }
    for columns in tables.values_mut() {
        // A column that a migration adds stands at the end of one and the other; their order
        // within a table is nobody's business, for no statement relies on it.
        columns.sort();
    }
    tables
}

const SQLITE: Statement = Statement::new(
    "test.columns",
    "SELECT m.name || '|' || c.name || '|' || c.type || '|' || (c.\"notnull\" = 0)
     FROM sqlite_master m JOIN pragma_table_info(m.name) c
     WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'
           AND m.name <> 'refinery_schema_history'
     ORDER BY m.name, c.cid",
);

const POSTGRES: &str = "
    SELECT c.relname || '|' || a.attname || '|' || upper(format_type(a.atttypid, a.atttypmod))
           || '|' || (NOT a.attnotnull)::int
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'matrix'::regnamespace AND c.relkind IN ('r', 'p')
          AND NOT c.relispartition AND c.relname <> 'refinery_schema_history'
          AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.relname, a.attnum";

#[test]
fn both_databases_have_the_same_tables_and_understand_every_statement() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("matrix.db");
    let sqlite = Database::open(&path, OpenMode::Host).unwrap();
    let rows = sqlite
        .read_now::<_, StoreError, _>(|tx| tx.query(&SQLITE, &[]))
        .unwrap();
    let lines: Vec<String> = rows.iter().map(|row| row.get(0).unwrap()).collect();
    let server = Server::start();
    let name = server.database();
    let ours = tables_of(&lines.join("\n"));
    assert!(ours.len() > 10, "{ours:?}");
    assert_eq!(ours, tables_of(&server.admin(&name, POSTGRES)));

    // As a login that may do everything, for a statement may belong to either role.
    server.admin(
        &name,
        &format!("GRANT matrix_engine, matrix_app TO {LOGIN}"),
    );
    for statement in tables::all_statements() {
        let prepare = format!(
            "SET search_path TO matrix; PREPARE p AS {}",
            statement.postgres
        );
        server.admin(&name, &prepare);
        let highest = |sql: &str| (1..=20).rev().find(|n| sql.contains(&format!("${n}")));
        assert_eq!(
            highest(statement.sql),
            highest(statement.postgres),
            "the texts of {} have other parameters",
            statement.name
        );
    }
    // A wrong number of parameters, and a value of another type, are errors and no panic.
    let database = server.connect(&name);
    let wrong: Result<_, StoreError> = database.read_now(|tx| {
        tx.query(
            &Statement::new("test.wrong", "SELECT $1::BIGINT"),
            &[Param::Text("x")],
        )
    });
    assert!(wrong.is_err());
    let none: Result<_, StoreError> =
        database.read_now(|tx| tx.query(&Statement::new("test.none", "SELECT $1::BIGINT"), &[]));
    assert!(none.is_err());
    let alive: Vec<_> = database
        .read_now::<_, StoreError, _>(matrix_store::tables::workers::list)
        .unwrap();
    assert_eq!(alive, []);
}
