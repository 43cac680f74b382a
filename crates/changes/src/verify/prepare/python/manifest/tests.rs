//! Manifests as people write them.

use super::*;

fn read_of(files: &[(&str, &str)]) -> Declared {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(root.path().join(name), content).unwrap();
    }
    read(root.path(), &BTreeSet::new()).unwrap()
}

fn names(declared: &Declared) -> Vec<&str> {
    let all = declared.requirements.iter();
    all.map(|requirement| requirement.name.as_str()).collect()
}

#[test]
fn lists_of_a_setup_script_are_read_where_nothing_is_computed() {
    for (script, expected) in [
        (
            "setup(install_requires=['a', \"b>=1\",  # why\n  'c'])",
            Some(vec!["a", "b", "c"]),
        ),
        ("setup(\n  install_requires = [\n  ],\n)", Some(vec![])),
        (
            "setup(install_requires=('a',), tests_require=['t'])",
            Some(vec!["a", "t"]),
        ),
        ("setup(install_requires=read('requirements.txt'))", None),
        ("setup(install_requires=['a'] + more)", None),
        ("setup(install_requires=['a' if x else 'b'])", None),
        ("setup(install_requires=['a' 'b'])", None),
        ("setup(install_requires=[f'a{x}'])", None),
        ("setup(extras_require={'test': ['a']})", None),
        (
            "my_install_requires = ['x']; y = {'install_requires': ['z']}",
            Some(vec![]),
        ),
        ("setup(install_requires=['a'", None),
    ] {
        let declared = read_of(&[("setup.py", script)]);
        assert_eq!(
            names(&declared),
            expected.clone().unwrap_or_default(),
            "{script}"
        );
        let unread = declared
            .left_out
            .iter()
            .any(|note| note.contains("setup.py"));
        assert_eq!(unread, expected.is_none(), "{script}: {declared:?}");
    }
}

#[test]
fn what_is_not_of_the_index_is_said() {
    let pyproject = "[project]\ndependencies = ['a', 'b @ https://forge.test/b.whl']\n[dependency-groups]\ntest = ['c', {include-group = 'gone'}]\n[tool.poetry.dependencies]\nd = { git = 'https://forge.test/d' }\n";
    let cfg = "[options]\ninstall_requires =\n    e\n    f @ file:///f\n";
    let declared = read_of(&[("pyproject.toml", pyproject), ("setup.cfg", cfg)]);
    assert_eq!(names(&declared), ["a", "c", "e"]);
    let said = declared.left_out.join("\n");
    for part in ["`b @ https", "`gone` is included", "`d (git)`", "`f @ file"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}
