//! What says how a change is checked: whatever is changed of it stands in the facts.

use crate::bench::{Files, write};
use matrix_changes::verify::{Facts, Project};

/// What the gate is told of these two revisions.
fn changed(base: Files<'_>, head: Files<'_>) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let (before, after) = (root.path().join("base"), root.path().join("head"));
    for (path, files) in [(&before, base), (&after, head)] {
        std::fs::create_dir_all(path).unwrap();
        write(path, files);
    }
    Facts::of_project(&Project::detect(&before, &after, None)).checks_changed
}

#[test]
fn a_script_that_is_reached_by_a_detour() {
    let base = r#"{"scripts":{"test":"npm run -s unit","unit":"npm run inner:*","inner:a":"jest","start":"x"}}"#;
    for (script, told) in [("inner:a", true), ("unit", true), ("start", false)] {
        let head = match script {
            "inner:a" => base.replace("\"jest\"", "\"true\""),
            "unit" => base.replace("npm run inner:*", "true"),
            _ => base.replace("\"x\"", "\"y\""),
        };
        let found = changed(&[("package.json", base)], &[("package.json", &head)]);
        let expected: Vec<String> = told
            .then(|| format!("package.json: scripts.{script}"))
            .into_iter()
            .collect();
        assert_eq!(found, expected, "{script}");
    }
}

#[test]
fn a_file_that_a_makefile_includes() {
    let makefile = ("Makefile", "-include build/rules.inc\ntest: unit\n");
    let found = changed(
        &[makefile, ("build/rules.inc", "unit:\n\t./unit.sh\n")],
        &[makefile, ("build/rules.inc", "unit:\n\ttrue\n")],
    );
    assert_eq!(found, ["build/rules.inc"]);
}

#[test]
fn a_module_that_stands_in_for_the_runner() {
    let project = [
        ("pyproject.toml", "[project]\nname = 'a'\n"),
        ("tests/test_a.py", "def test_a():\n    assert False\n"),
    ];
    for (path, told) in [
        ("pytest.py", true),
        ("unittest/__init__.py", true),
        ("tests/conftest.py", true),
        ("src/_pytest.py", true),
        ("ledger.py", false),
        ("ledger/__init__.py", false),
    ] {
        let mut head = project.to_vec();
        head.push((path, "raise SystemExit(0)\n"));
        let found = changed(&project, &head);
        assert_eq!(
            found.iter().any(|name| name == path),
            told,
            "{path}: {found:?}"
        );
    }
}
