//! Lock files as the tools write them, and what they install on Linux with `CPython` 3.11.

use std::fmt::Write as _;

use super::super::marker::tests::linux;
use super::*;

fn chosen(files: &[(&str, &str)]) -> Wanted {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(root.path().join(name), content).unwrap();
    }
    wanted(root.path(), &linux()).unwrap().unwrap()
}

fn names(wanted: &Wanted) -> Vec<&str> {
    let name = |line: &'_ str| line.split(" --").next().map(str::len);
    wanted
        .lines
        .iter()
        .map(|line| &line[..name(line).unwrap_or(0)])
        .collect()
}

const HASH: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

fn uv_package(name: &str, version: &str, wheel: &str, more: &str) -> String {
    let mut text = format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
    text.push_str("source = { registry = \"https://index.test/simple\" }\n");
    text.push_str(more);
    let file = format!("{name}-{version}-{wheel}");
    let _ = writeln!(
        text,
        "wheels = [{{ url = \"https://files.test/{file}\", hash = \"{HASH}\" }}]\n"
    );
    text
}

#[test]
fn uv_installs_what_the_project_and_its_test_groups_lead_to_here() {
    let own = "version = 1\nrequires-python = \">=3.8\"\n\n[[package]]\nname = \"mine\"\nversion = \"0.1\"\n\
        source = { editable = \".\" }\ndependencies = [\n  { name = \"a\" },\n  { name = \"pywin\", marker = \"sys_platform == 'win32'\" },\n\
          { name = \"forked\", version = \"1.0\", marker = \"python_full_version < '3.9'\" },\n\
          { name = \"forked\", version = \"2.0\", marker = \"python_full_version >= '3.9'\" },\n]\n\
        [package.optional-dependencies]\ndocs = [{ name = \"sphinx\" }]\n\
        [package.dev-dependencies]\ndev = [{ name = \"Py.Test\" }]\nnotebooks = [{ name = \"jupyter\" }]\n\n";
    let any = "py3-none-any.whl";
    let text = [
        own.to_owned(),
        uv_package(
            "a",
            "1.0",
            any,
            "dependencies = [{ name = \"b\", extra = [\"fast\"] }]\n",
        ),
        uv_package(
            "b",
            "1.0",
            any,
            "[package.optional-dependencies]\nfast = [{ name = \"c\" }]\n",
        )
        .replace("[package.optional", "optional")
        .replace("optional-dependencies]\nfast", "optional-dependencies.fast"),
        uv_package("c", "1.0", "cp311-cp311-manylinux_2_17_x86_64.whl", ""),
        uv_package("pywin", "1.0", "cp311-cp311-win_amd64.whl", ""),
        uv_package("forked", "1.0", any, ""),
        uv_package("forked", "2.0", any, ""),
        uv_package("py-test", "8.0", any, ""),
        uv_package("jupyter", "1.0", any, ""),
        uv_package("sphinx", "1.0", any, ""),
    ]
    .concat();
    let wanted = chosen(&[("uv.lock", &text)]);
    assert_eq!(
        names(&wanted),
        ["a==1.0", "b==1.0", "c==1.0", "forked==2.0", "py-test==8.0"]
    );
    assert!(wanted.lines.iter().all(|line| line.ends_with(HASH)));
    assert!(wanted.notes.is_empty() && wanted.complete, "{wanted:?}");
}

#[test]
fn what_cannot_be_installed_is_left_out_and_said() {
    let text = [
        "version = 1\n\n[[package]]\nname = \"mine\"\nversion = \"0.1\"\nsource = { virtual = \".\" }\n\
         dependencies = [{ name = \"fine\" }, { name = \"mac\" }, { name = \"source\" }, { name = \"forge\" }, { name = \"old\" }]\n\n"
            .to_owned(),
        uv_package("fine", "1.0", "cp38-abi3-manylinux2014_x86_64.whl", ""),
        uv_package("mac", "1.0", "cp311-cp311-macosx_11_0_arm64.whl", ""),
        uv_package("old", "1.0", "cp39-cp39-manylinux2014_x86_64.whl", ""),
        "[[package]]\nname = \"source\"\nversion = \"2.0\"\nsource = { registry = \"https://index.test\" }\n\
         sdist = { url = \"https://files.test/source-2.0.tar.gz\", hash = \"sha256:00\" }\n\n\
         [[package]]\nname = \"forge\"\nversion = \"3.0\"\nsource = { git = \"https://forge.test/x\" }\n"
            .to_owned(),
    ]
    .concat();
    let wanted = chosen(&[("uv.lock", &text)]);
    assert_eq!(names(&wanted), ["fine==1.0"]);
    let notes = wanted.notes.join("\n");
    for part in [
        "mac 1.0 has no wheel for this machine",
        "old 1.0 has no wheel for this machine",
        "source 2.0 has no wheel, and nothing is built",
        "forge comes from https://forge.test/x",
    ] {
        assert!(notes.contains(part), "{part} in {notes}");
    }
}

#[test]
fn poetry_follows_the_manifest() {
    let manifest = "[tool.poetry.dependencies]\npython = '^3.8'\na = '^1.0'\nwin = { version = '*', platform = 'win32' }\n\
        [tool.poetry.group.dev.dependencies]\npytest = '*'\n[tool.poetry.group.docs.dependencies]\nsphinx = '*'\n";
    let package = |name: &str, version: &str, pythons: &str, more: &str| {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\noptional = false\npython-versions = \"{pythons}\"\n\
             files = [{{ file = \"{name}-{version}-py3-none-any.whl\", hash = \"{HASH}\" }}]\n{more}\n"
        )
    };
    let needs = "[package.dependencies]\ncolorama = {version = \"*\", markers = \"sys_platform == 'win32'\"}\n\
        tomli = {version = \">=1\", markers = \"python_version < '3.11'\"}\npluggy = \">=1\"\n";
    let text = [
        package("a", "1.1", ">=3.7", ""),
        package("win", "1.0", "*", ""),
        package("pytest", "8.0", ">=3.8", needs),
        package("colorama", "0.4", "*", ""),
        package("tomli", "2.0", "*", ""),
        package("pluggy", "1.3", "<3.9", ""),
        package("pluggy", "1.5", ">=3.9", ""),
        package("sphinx", "1.0", "*", ""),
        String::from("[metadata]\nlock-version = \"2.0\"\ncontent-hash = \"00\"\n"),
    ]
    .concat();
    let wanted = chosen(&[("poetry.lock", &text), ("pyproject.toml", manifest)]);
    assert_eq!(names(&wanted), ["a==1.1", "pluggy==1.5", "pytest==8.0"]);
}

#[test]
fn flat_lock_files_are_filtered_by_marker_and_group() {
    let pdm = "[metadata]\nlock_version = \"4.5.0\"\n\n[[package]]\nname = \"a\"\nversion = \"1.0\"\ngroups = [\"default\"]\n\n\
        [[package]]\nname = \"pytest\"\nversion = \"8.0\"\ngroups = [\"test\"]\n\n\
        [[package]]\nname = \"sphinx\"\nversion = \"7.0\"\ngroups = [\"docs\"]\n\n\
        [[package]]\nname = \"win\"\nversion = \"1.0\"\ngroups = [\"default\"]\nmarker = \"sys_platform == 'win32'\"\n";
    assert_eq!(
        names(&chosen(&[("pdm.lock", pdm)])),
        ["a==1.0", "pytest==8.0"]
    );

    let pipfile = r#"{"_meta": {"hash": {}}, "default": {"a": {"version": "==1.0", "hashes": ["sha256:00"]},
        "win": {"version": "==1.0", "markers": "sys_platform == 'win32'"}, "own": {"path": "."}},
        "develop": {"pytest": {"version": "==8.0"}}}"#;
    assert_eq!(
        names(&chosen(&[("Pipfile.lock", pipfile)])),
        ["a==1.0", "pytest==8.0"]
    );

    let pylock = "lock-version = \"1.0\"\n[[packages]]\nname = \"a\"\nversion = \"1.0\"\n\
        wheels = [{ url = \"https://files.test/a-1.0-py3-none-any.whl\", hashes = { sha256 = \"aa\" } }]\n\
        [[packages]]\nname = \"win\"\nversion = \"1.0\"\nmarker = \"os_name == 'nt'\"\n";
    let wanted = chosen(&[("pylock.toml", pylock)]);
    assert_eq!(wanted.lines, ["a==1.0 --hash=sha256:aa"]);
}

#[test]
fn a_lock_file_that_is_not_understood_says_so() {
    for (name, text) in [
        ("uv.lock", "version = 9\n"),
        ("uv.lock", "not toml ["),
        ("poetry.lock", "[[package]]\nname = 'a'\n"),
        ("pdm.lock", ""),
        ("pylock.toml", "lock-version = \"2.0\"\n"),
        ("Pipfile.lock", "{"),
    ] {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(name), text).unwrap();
        let refused = wanted(root.path(), &linux()).unwrap().unwrap_err();
        assert!(refused.contains(name), "{refused}");
    }
}

#[test]
fn a_version_cannot_carry_a_second_line() {
    let lock = "lock-version = '1.0'\n[[packages]]\nname = 'a'\nversion = '1.0'\n[[packages]]\nname = 'b'\nversion = \"1.0 #\\n--no-binary=c\\nc\"\n[[packages]]\nname = 'd'\nversion = '1.0 # e'\n[[packages]]\nname = \"f\\n--pre\"\nversion = '1.0'\n";
    let wanted = chosen(&[("pylock.toml", lock)]);
    assert_eq!(wanted.lines, ["a==1.0"]);
    assert_eq!(wanted.notes.len(), 3, "{:?}", wanted.notes);
    assert!(!wanted.notes.concat().contains('\n'), "{:?}", wanted.notes);
}
