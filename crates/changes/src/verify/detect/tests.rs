//! What is found in small trees of every kind.

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

fn keys(files: &[(&str, &str)]) -> Vec<String> {
    detect(tree(files).path()).iter().map(Found::key).collect()
}

#[test]
fn several_ecosystems_in_one_repository_each_count() {
    let found = keys(&[
        ("Cargo.toml", "[package]\nname='a'\n"),
        (
            "web/package.json",
            r#"{"scripts":{"test":"jest","lint":"eslint ."}}"#,
        ),
        ("tool/pyproject.toml", "[build-system]\nrequires=[]\n"),
        ("tool/tests/test_a.py", ""),
        ("go.mod", "module a\n"),
    ]);
    assert_eq!(
        found,
        [
            "build_log/cargo",
            "build_log/go",
            "build_log/python/tool",
            "lint/cargo",
            "lint/go",
            "lint/node/web",
            "lint/python/tool",
            "test_results/cargo",
            "test_results/go",
            "test_results/node/web",
            "test_results/python/tool",
        ]
    );
}

#[test]
fn a_manifest_below_one_of_its_kind_belongs_to_it() {
    let found = keys(&[
        ("Cargo.toml", "[workspace]\n"),
        ("crates/a/Cargo.toml", "[package]\nname='a'\n"),
        (
            "node_modules/x/package.json",
            r#"{"scripts":{"test":"jest"}}"#,
        ),
    ]);
    assert_eq!(
        found,
        ["build_log/cargo", "lint/cargo", "test_results/cargo"]
    );
}

#[test]
fn nothing_is_found_in_what_is_not_understood() {
    assert!(
        keys(&[
            ("Cargo.toml", "not toml ["),
            ("package.json", "{"),
            ("a.txt", "")
        ])
        .is_empty()
    );
    assert!(
        keys(&[(
            "package.json",
            r#"{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}"#
        )])
        .is_empty()
    );
    assert!(
        keys(&[("setup.py", "")])
            .iter()
            .all(|key| !key.starts_with("test"))
    );
}

#[test]
fn a_makefile_fills_only_what_no_language_gives() {
    let rules = "test lint: dep\n\techo\nCC := cc\nbuild:\n\techo\n.PHONY: x\n";
    assert_eq!(
        keys(&[("Makefile", rules)]),
        ["build_log/make", "lint/make", "test_results/make"]
    );
    let beside = keys(&[
        ("Makefile", rules),
        ("package.json", r#"{"scripts":{"test":"x"}}"#),
    ]);
    assert_eq!(beside, ["build_log/make", "lint/make", "test_results/node"]);
}

#[test]
fn the_node_runner_is_recognised_only_where_the_script_is_nothing_else() {
    for (script, expected) in [
        ("node --test", Some("")),
        ("node --test 'test/**/*.js'", Some("'test/**/*.js'")),
        ("node --test && echo done", None),
        ("node --tests", None),
        ("NODE_ENV=x node --test", None),
    ] {
        let manifest = serde_json::json!({"scripts": {"test": script}}).to_string();
        let found = detect(tree(&[("package.json", &manifest)]).path());
        let arguments = match &found[0].recipe {
            Recipe::NodeTest { arguments } => Some(arguments.as_str()),
            _ => None,
        };
        assert_eq!(arguments, expected, "{script}");
    }
}

#[test]
fn a_symlink_out_of_the_tree_is_not_read() {
    let outside = tree(&[("Cargo.toml", "[package]\nname='a'\n")]);
    let root = tempfile::tempdir().unwrap();
    let link = root.path().join("Cargo.toml");
    std::os::unix::fs::symlink(outside.path().join("Cargo.toml"), link).unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("sub")).unwrap();
    assert!(detect(root.path()).is_empty());
}
