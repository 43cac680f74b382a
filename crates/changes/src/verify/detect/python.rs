//! Python.

use std::path::Path;

use matrix_evidence::Kind;

use super::files::any_file;
use super::{PythonRunner, Recipe, text};

pub(super) fn checks(here: &Path) -> Vec<(Kind, Recipe)> {
    let project = text(&here.join("pyproject.toml"));
    let declared = [
        "setup.py",
        "setup.cfg",
        "requirements.txt",
        "tox.ini",
        "Pipfile",
        "poetry.lock",
        "uv.lock",
        "pdm.lock",
        "pylock.toml",
        "Pipfile.lock",
    ];
    let manifest = project.is_some() || declared.iter().any(|name| here.join(name).is_file());
    // Without a manifest, deeper files may belong to a project of their own.
    let near = |path: &str| {
        manifest || !path.contains('/') || path.starts_with("tests/") || path.starts_with("test/")
    };
    let tests = any_file(here, |path| near(path) && python_test_file(path));
    let has_code = any_file(here, |path| near(path) && has_extension(path, "py"));
    if !has_code || !(manifest || tests) {
        return Vec::new();
    }
    let mut checks = vec![(Kind::Lint, Recipe::PythonLint)];
    if tests {
        let runner = python_runner(here, project.as_deref());
        checks.push((Kind::TestResults, Recipe::PythonTest { runner }));
    }
    let builds = project
        .and_then(|text| text.parse::<toml::Table>().ok())
        .is_some_and(|table| table.contains_key("build-system"));
    if builds {
        checks.push((Kind::BuildLog, Recipe::PythonBuild));
    }
    checks
}

fn python_runner(here: &Path, project: Option<&str>) -> PythonRunner {
    let files = [
        "setup.py",
        "setup.cfg",
        "tox.ini",
        "requirements.txt",
        "requirements-dev.txt",
        "dev-requirements.txt",
        "requirements-test.txt",
        "Pipfile",
    ];
    let declared = here.join("pytest.ini").is_file()
        || here.join("conftest.py").is_file()
        || here.join("tests/conftest.py").is_file()
        || project.is_some_and(|text| text.contains("pytest"))
        || files
            .iter()
            .any(|name| text(&here.join(name)).is_some_and(|text| text.contains("pytest")));
    if declared {
        PythonRunner::Pytest
    } else {
        PythonRunner::Unittest
    }
}

fn has_extension(path: &str, wanted: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == wanted)
}

fn python_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    has_extension(name, "py") && (name.starts_with("test") || name.ends_with("_test.py"))
}
