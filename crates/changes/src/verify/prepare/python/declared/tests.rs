//! Manifests as people write them.

use super::*;

fn declared(files: &[(&str, &str)]) -> Wanted {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    wanted(root.path(), "")
}

#[test]
fn only_plain_requirements_reach_pip() {
    for (line, expected) in [
        ("requests", Some("requests")),
        (
            "requests[socks] >=2.0, <3  # comment",
            Some("requests[socks] >=2.0, <3"),
        ),
        (
            "a==1.0 ; python_version < '3.9'",
            Some("a==1.0 ; python_version < '3.9'"),
        ),
        (
            "a==1.0 --hash=sha256:00ff",
            Some("a==1.0 --hash=sha256:00ff"),
        ),
        ("--index-url https://evil.test", None),
        ("-e .", None),
        ("./local", None),
        ("a @ https://evil.test/a.whl", None),
        ("git+https://evil.test/a", None),
        ("-r other.txt", None),
        ("a --config-settings=x", None),
        ("a #\n--no-binary=b\nb", None),
        ("a ; python_version > '3'\n--no-binary=b\nb", None),
        ("a ; python_version > '3'\u{2028}--no-binary=b", None),
        ("a ; python_version > '3'\u{85}b", None),
        ("a ; python_version > '3'\u{c}b", None),
        ("a==1\r-r b", None),
        ("a ; python_version > '3' --global-option=x", None),
        ("a == --global-option =x", None),
        ("a[ --pre]", None),
        ("a ; python_version > '3' --hash=sha256:00 --pre", None),
        ("# nothing", None),
        ("", None),
    ] {
        assert_eq!(plain(line).as_deref(), expected, "{line}");
    }
}

#[test]
fn a_requirement_is_one_line() {
    for line in ["a\n--pre", "a ; x == 'y'\n--pre", "a\u{2029}b", "a>=1\0"] {
        assert_eq!(Requirement::parse(line), None, "{line:?}");
    }
    assert_eq!(Requirement::parse(" a>=1\n").unwrap().versions, ">=1");
}

#[test]
fn what_hides_a_second_line_is_left_out() {
    let pyproject = "[project]\ndependencies = ['a', \"b ; os_name == 'posix'\\n--no-binary=c\\nc\"]\n[tool.poetry.dependencies]\nd = { version = '1', markers = \"os_name == 'posix'\\n--no-binary=c\" }\ne = \"1\\n--no-binary=c\"\n";
    let wanted = declared(&[("pyproject.toml", pyproject)]);
    assert_eq!(wanted.lines, ["a"]);
    assert_eq!(wanted.notes.len(), 3, "{:?}", wanted.notes);
    let said = wanted.notes.concat();
    assert!(!said.contains('\n'), "{said}");
}

#[test]
fn manifests_name_what_tests_need() {
    let pyproject = "[project]\ndependencies = ['a>=1']\n[project.optional-dependencies]\ntest = ['pytest']\ndocs = ['sphinx']\n[dependency-groups]\ndev = ['ruff', {include-group = 'x'}]\nx = ['inner']\n";
    let setup = "[metadata]\nname = mine\n[options]\npython_requires = >=3.8\ninstall_requires =\n    b>=2\n    c\n[options.extras_require]\ntest = d\ndocs =\n    sphinx\n";
    let wanted = declared(&[("pyproject.toml", pyproject), ("setup.cfg", setup)]);
    let lines = ["a>=1", "b>=2", "c", "d", "inner", "pytest", "ruff"];
    assert_eq!(wanted.lines, lines);
    assert!(!wanted.complete && wanted.notes.is_empty());
}

#[test]
fn poetry_and_pipenv_manifests_become_ranges_that_pip_knows() {
    let pyproject = "[tool.poetry.dependencies]\npython = '^3.8'\na = '^1.2.3'\nb = '~1.2'\nc = '*'\nd = '1.5'\ne = { version = '^0.3', extras = ['x'], markers = \"os_name == 'posix'\" }\nf = { git = 'https://forge.test/f' }\n";
    let pipfile = "[packages]\ng = '*'\n[dev-packages]\nh = '==2.0'\n";
    let wanted = declared(&[("pyproject.toml", pyproject), ("Pipfile", pipfile)]);
    assert_eq!(
        wanted.lines,
        [
            "a>=1.2.3,<2",
            "b>=1.2,<1.3",
            "c",
            "d==1.5",
            "e[x]>=0.3,<0.4 ; os_name == 'posix'",
            "g",
            "h==2.0"
        ]
    );
}

#[test]
fn requirements_files_name_others_within_the_repository() {
    let wanted = declared(&[
        (
            "requirements.txt",
            "-r requirements/base.txt\nb\n-e .\n--index-url https://x.test\n",
        ),
        (
            "requirements/base.txt",
            "a==1.0 \\\n  ; python_version > '3'\n-r ../requirements.txt\n-r ../../etc/passwd\n--requirement=gone.txt\n",
        ),
    ]);
    assert_eq!(wanted.lines, ["a==1.0 ; python_version > '3'", "b"]);
    let notes = wanted.notes.join("\n");
    for part in [
        "--index-url https://x.test",
        "requirements/../../etc/passwd is not in the repository",
        "requirements/gone.txt is named but cannot be read",
    ] {
        assert!(notes.contains(part), "{part} in {notes}");
    }
}

#[test]
fn digests_count_for_all_or_for_none() {
    let hash = "--hash=sha256:00ff";
    let pinned = format!("a==1.0 {hash}\n");
    let all = declared(&[("requirements.txt", &pinned)]);
    assert!(all.complete);
    assert_eq!(all.lines, [pinned.trim()]);
    let some = declared(&[
        ("requirements.txt", &pinned),
        ("requirements-dev.txt", "pytest\n"),
    ]);
    assert_eq!(some.lines, ["a==1.0", "pytest"]);
    assert!(!some.complete && some.notes[0].contains("digests"));
}

#[test]
fn the_project_itself_is_not_installed_but_its_requirements_are_followed() {
    let pyproject = "[project]\nname = 'mine'\ndependencies = ['a>=1']\n[project.optional-dependencies]\nsocks = ['pysocks']\ndocs = ['sphinx']\n";
    let wanted = declared(&[
        ("pyproject.toml", pyproject),
        (
            "requirements.txt",
            "-e .[socks]\n./lib\n-e git+https://forge.test/x\n",
        ),
        ("lib/setup.py", "setup(install_requires=['inner>=2'])\n"),
    ]);
    assert_eq!(wanted.lines, ["a>=1", "inner>=2", "pysocks"]);
    let notes = wanted.notes.join("\n");
    for part in [
        "`-e .[socks]` of requirements.txt: the project is not installed",
        "`./lib` of requirements.txt: the project is not installed",
        "left out: `-e git+https://forge.test/x` of requirements.txt",
    ] {
        assert!(notes.contains(part), "{part} in {notes}");
    }
}

#[test]
fn files_that_a_manifest_names_are_followed() {
    let pyproject = "[project]\ndynamic = ['dependencies']\n[tool.setuptools.dynamic]\ndependencies = { file = ['deps/base.in'] }\n";
    let wanted = declared(&[
        ("pyproject.toml", pyproject),
        ("deps/base.in", "a\n"),
        (
            "setup.cfg",
            "[options]\ninstall_requires = file: other.txt, gone.txt\n",
        ),
        ("other.txt", "b==1\n"),
    ]);
    assert_eq!(wanted.lines, ["a", "b==1"]);
    assert_eq!(wanted.notes, ["gone.txt is named but cannot be read"]);
}
