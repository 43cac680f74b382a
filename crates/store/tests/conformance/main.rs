//! One suite for both databases: every function of every table module has a case here, and each
//! case is run on SQLite and on PostgreSQL, as the application's own login. A case says what the
//! function does and what it keeps from another tenant. A function without a case fails the suite.
//!
//! What only PostgreSQL has (roles, several processes, a connection that breaks) stands beside it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod cases;
mod months;
mod processes;
mod roles;
mod schema;
mod server;
mod site;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::cases::Case;
use crate::server::Server;
use crate::site::Site;

/// Runs every case; all that fail are named.
fn run(site: impl Fn() -> Site) {
    let mut failed = Vec::new();
    for Case { name, works, walls } in cases::all() {
        for (part, test) in [("works", works), ("walls", walls)] {
            let site = site();
            if catch_unwind(AssertUnwindSafe(|| test(&site))).is_err() {
                failed.push(format!("{name}: {part}"));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_function_holds_on_sqlite() {
    run(Site::sqlite);
}

#[test]
fn every_function_holds_on_postgresql() {
    let server = Server::start();
    let name = server.database();
    let database = server.connect(&name);
    run(|| {
        server.empty(&name);
        Site::over(database.clone())
    });
}

#[test]
fn every_function_has_a_case() {
    let cases: BTreeSet<String> = cases::all().map(|case| case.name.to_owned()).collect();
    let mut functions = BTreeSet::new();
    let tables = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tables");
    for file in std::fs::read_dir(tables).unwrap() {
        let path = file.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("pub fn ") {
                let name = name.split(['(', '<']).next().unwrap();
                functions.insert(format!("{module}::{name}"));
            }
        }
    }
    for pure in ["mod::all_statements", "principals::token_hint"] {
        assert!(functions.remove(pure), "{pure} is gone");
    }
    assert_eq!(
        functions.difference(&cases).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "functions without a case"
    );
    assert_eq!(
        cases.difference(&functions).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "cases without a function"
    );
}
