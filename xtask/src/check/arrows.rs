//! Which crate may use which. The table is the one of `docs/architecture.md`.

use crate::check::Finding;
use crate::workspace::{Package, Workspace};

/// What a room may use.
enum May {
    /// These rooms and no other.
    Use(&'static [&'static str]),
    /// Every room.
    UseAll,
}

const TABLE: &[(&str, May)] = &[
    ("matrix-core", May::Use(&[])),
    ("matrix-store", May::Use(&["matrix-core"])),
    ("matrix-sandbox", May::Use(&["matrix-core"])),
    ("matrix-worktree", May::Use(&["matrix-core"])),
    ("matrix-evidence", May::Use(&["matrix-core"])),
    (
        "matrix-engine",
        May::Use(&["matrix-core", "matrix-store", "matrix-evidence"]),
    ),
    (
        "matrix-identity",
        May::Use(&["matrix-core", "matrix-store", "matrix-engine"]),
    ),
    (
        "matrix-models",
        May::Use(&["matrix-core", "matrix-store", "matrix-engine"]),
    ),
    (
        "matrix-agents",
        May::Use(&[
            "matrix-core",
            "matrix-store",
            "matrix-sandbox",
            "matrix-worktree",
            "matrix-engine",
            "matrix-models",
        ]),
    ),
    (
        "matrix-changes",
        May::Use(&[
            "matrix-agents",
            "matrix-core",
            "matrix-store",
            "matrix-engine",
            "matrix-identity",
            "matrix-sandbox",
            "matrix-worktree",
            "matrix-evidence",
        ]),
    ),
    (
        "matrix-server",
        May::Use(&[
            "matrix-core",
            "matrix-store",
            "matrix-engine",
            "matrix-identity",
            "matrix-models",
            "matrix-agents",
            "matrix-changes",
            "matrix-evidence",
        ]),
    ),
    ("matrix", May::UseAll),
    ("xtask", May::Use(&[])),
];

/// Crates from outside that only some rooms may name, because what they stand for is decided there.
const GUARDED: &[(&str, &[&str])] = &[
    ("rusqlite", &["matrix-store"]),
    ("refinery", &["matrix-store"]),
    ("libsqlite3-sys", &["matrix-store"]),
    ("sqlx", &["matrix-store"]),
    ("tokio-postgres", &["matrix-store"]),
    ("axum", &["matrix-server"]),
    ("utoipa", &["matrix-server"]),
    ("async-graphql", &["matrix-server"]),
    ("cedar-policy", &["matrix-identity"]),
    ("clap", &["matrix", "xtask"]),
    ("clap_complete", &["matrix", "xtask"]),
    ("anyhow", &["matrix", "xtask"]),
];

/// Compares the real edges with the table.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.packages.iter().flat_map(package).collect()
}

fn package(package: &Package) -> Vec<Finding> {
    let Some((_, may)) = TABLE.iter().find(|(name, _)| *name == package.name) else {
        return vec![Finding::error(
            &package.name,
            "this crate is not in the table of rooms; give it a row in docs/architecture.md and \
             in xtask/src/check/arrows.rs",
        )];
    };
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        let name = dependency.name.as_str();
        let ours = dependency.path.is_some();
        let allowed = match may {
            May::UseAll => true,
            May::Use(rooms) => rooms.contains(&name),
        };
        // A crate may name itself, to give its own tests a feature.
        if ours && !allowed && name != package.name {
            findings.push(Finding::error(
                &package.name,
                format!("may not use {name}: arrows point down only (docs/architecture.md)"),
            ));
        }
        if let Some((_, rooms)) = GUARDED.iter().find(|(guarded, _)| *guarded == name)
            && !rooms.contains(&package.name.as_str())
        {
            findings.push(Finding::error(
                &package.name,
                format!("may not use {name}: only {} may", rooms.join(" and ")),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn messages(name: &str, dependencies: &[(&str, bool)]) -> Vec<String> {
        package(&Package {
            name: name.into(),
            dependencies: dependencies
                .iter()
                .map(|(name, ours)| Dependency {
                    name: (*name).into(),
                    path: ours.then(|| "crates/x".into()),
                })
                .collect(),
        })
        .into_iter()
        .map(|finding| finding.message)
        .collect()
    }

    #[test]
    fn an_arrow_that_points_down_is_fine() {
        let dependencies = [
            ("matrix-core", true),
            ("matrix-store", true),
            ("serde", false),
        ];
        assert!(messages("matrix-engine", &dependencies).is_empty());
    }

    #[test]
    fn an_arrow_that_points_up_is_found() {
        let found = messages("matrix-evidence", &[("matrix-engine", true)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("may not use matrix-engine"), "{found:?}");
    }

    #[test]
    fn the_database_driver_belongs_to_the_store() {
        assert!(messages("matrix-store", &[("rusqlite", false)]).is_empty());
        let found = messages("matrix-engine", &[("rusqlite", false)]);
        assert_eq!(found, ["may not use rusqlite: only matrix-store may"]);
    }

    #[test]
    fn an_unknown_crate_needs_a_row() {
        assert_eq!(messages("matrix-surprise", &[]).len(), 1);
    }

    #[test]
    fn no_row_lets_two_rooms_use_each_other() {
        for (name, may) in TABLE {
            let May::Use(rooms) = may else { continue };
            for room in *rooms {
                let back = TABLE.iter().any(|(other, may)| {
                    other == room && matches!(may, May::Use(rooms) if rooms.contains(name))
                });
                assert!(!back, "{name} and {room} may use each other");
            }
        }
    }
}
