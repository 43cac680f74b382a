//! Definitions of checks that change.

use super::scripts::{package_scripts, scripts_changed};
use super::*;

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    root
}

#[test]
fn scripts_that_checks_run_are_told_and_their_data_is_not() {
    let files = [
        ("test.sh", "exit 1"),
        ("tools/lint.py", "pass"),
        ("state.txt", "good"),
        ("other.sh", "exit 1"),
        (
            "web/package.json",
            r#"{"scripts":{"test":"node --no-warnings check.js"}}"#,
        ),
        ("web/check.js", "a"),
    ];
    let base = tree(&files);
    let head = tree(&[
        ("state.txt", "bad"),
        ("test.sh", "true"),
        ("web/check.js", "b"),
    ]);
    let mut commands = vec![
        (PathBuf::new(), "cd . && sh -eu ./test.sh".to_owned()),
        (
            PathBuf::new(),
            "python3 tools/lint.py; grep good state.txt".to_owned(),
        ),
    ];
    commands.extend(package_scripts(base.path()));
    assert_eq!(
        scripts_changed(base.path(), head.path(), &commands),
        [
            "test.sh: a check runs it",
            "tools/lint.py: a check runs it",
            "web/check.js: a check runs it"
        ]
    );
    assert!(scripts_changed(base.path(), base.path(), &commands).is_empty());
}

#[test]
fn settings_of_checks_are_told_and_others_are_not() {
    let base = tree(&[
        (
            "Cargo.toml",
            "[package]\nname='a'\nversion='1.0.0'\n[lints.rust]\nunused='deny'\n",
        ),
        (
            "web/package.json",
            r#"{"version":"1","scripts":{"test":"jest","start":"x"}}"#,
        ),
        ("src/a.rs", "a"),
    ]);
    let head = tree(&[
        ("Cargo.toml", "[package]\nname='a'\nversion='1.1.0'\n"),
        (
            "web/package.json",
            r#"{"version":"2","scripts":{"test":"true","start":"y"}}"#,
        ),
        ("src/a.rs", "b"),
        ("web/jest.config.js", "x"),
    ]);
    assert_eq!(
        changed(base.path(), head.path()),
        [
            "Cargo.toml: lints",
            "web/jest.config.js",
            "web/package.json: scripts.test"
        ]
    );
    assert!(changed(base.path(), base.path()).is_empty());
}
