//! What building the project's own wheel takes: the `requires` of `[build-system]`.
//!
//! They are fetched as wheels into a directory of their own, because what builds a project may
//! need other versions of the same packages than its tests. Where the interpreter has all of them
//! already, nothing is fetched. No lock file pins them; that is said.

use std::collections::BTreeMap;
use std::path::Path;

use super::declared::{self, Requirement};
use super::{BuildTools, Config, Preparer, Provision, Ready};
use super::{install, marker, mount};
use crate::verify::detect::{Ecosystem, text};
use crate::verify::error::VerifyError;
use matrix_sandbox::toolchain::Tool;

/// The directory of ours that holds them.
const NAME: &str = "build";

/// Prints the versions of everything that the interpreter has.
const INSTALLED: &str = "import importlib.metadata as m, json; \
    print(json.dumps({d.metadata['Name']: d.version for d in m.distributions() \
    if d.metadata['Name']}))";

/// The requirements of a project's build back end; nothing if it declares no build.
fn requirements(here: &Path) -> Option<Vec<String>> {
    let manifest: toml::Table = text(&here.join("pyproject.toml"))?.parse().ok()?;
    let system = manifest.get("build-system")?;
    let listed = system.get("requires").and_then(toml::Value::as_array);
    let mut lines: Vec<String> = match listed {
        Some(listed) => listed
            .iter()
            .filter_map(|line| line.as_str().map(str::to_owned))
            .collect(),
        None => vec![String::from("setuptools")],
    };
    let names = |line: &String, name: &str| {
        Requirement::parse(line).is_some_and(|requirement| requirement.name == name)
    };
    // Older versions of setuptools ask for it only when they are run.
    if lines.iter().any(|line| names(line, "setuptools"))
        && !lines.iter().any(|line| names(line, "wheel"))
    {
        lines.push(String::from("wheel"));
    }
    Some(lines)
}

/// Adds to a project's provision what its build takes.
pub(in super::super) async fn add(
    preparer: &Preparer,
    tree: &Path,
    directory: &str,
    provision: Provision,
) -> Result<Provision, VerifyError> {
    let mut ready = match provision {
        Provision::Nothing => Ready::default(),
        Provision::Ready(ready) => ready,
        Provision::Unavailable { .. } => return Ok(provision),
    };
    let Some(lines) = requirements(&tree.join(directory)) else {
        return Ok(if ready == Ready::default() {
            Provision::Nothing
        } else {
            Provision::Ready(ready)
        });
    };
    ready.build = tools(preparer, directory, &lines).await?.map(Box::new);
    Ok(Provision::Ready(ready))
}

async fn tools(
    preparer: &Preparer,
    directory: &str,
    lines: &[String],
) -> Result<Option<BuildTools>, VerifyError> {
    let Some(python) = preparer.toolchains.get(Ecosystem::Python) else {
        return Ok(None);
    };
    let unavailable = |reason: String| Ok(Some(BuildTools::Unavailable { reason }));
    let ask = async |script| {
        preparer
            .search
            .ask(&python.program, &["-I", "-c", script])
            .await
    };
    let environment = ask(marker::ASK).await;
    let environment = environment.and_then(|answer| marker::Environment::read(&answer));
    let installed: BTreeMap<String, String> = ask(INSTALLED)
        .await
        .and_then(|answer| serde_json::from_str(&answer).ok())
        .unwrap_or_default();
    if let Some(environment) = &environment
        && lines
            .iter()
            .all(|line| is_beside(line, &installed, environment))
    {
        return Ok(Some(BuildTools::Beside));
    }
    let lines = match plain(lines) {
        Ok(lines) => lines,
        Err(reason) => return unavailable(reason),
    };
    if !python.tools.contains(&Tool::Pip) {
        return unavailable(String::from(
            "the build requires packages but python3 has no pip; install it with the system's \
             package manager",
        ));
    }
    let Some(config) = Config::ask(preparer, &python.program).await else {
        return unavailable(String::from(
            "pip did not say where it gets packages from; see `pip config list`",
        ));
    };
    let (mut fetch, command) = match install(preparer, directory, &lines, NAME, config) {
        Ok(made) => made,
        Err(reason) => return unavailable(reason),
    };
    fetch.command = command;
    fetch.what = "build requirements";
    fetch.show = |fetch, kept| Ready {
        mounts: vec![mount(fetch, kept, NAME)],
        ..Ready::default()
    };
    fetch.notes = vec![format!(
        "built with {} as pyproject.toml names them; nothing pins their versions",
        lines.join(", ")
    )];
    Ok(match fetch.provision(preparer).await? {
        Provision::Ready(ready) => {
            let (Some(key), Some(mount)) = (ready.key, ready.mounts.into_iter().next()) else {
                return Ok(None);
            };
            let notes = ready.notes;
            Some(BuildTools::Fetched { key, mount, notes })
        }
        Provision::Unavailable { reason } => Some(BuildTools::Unavailable { reason }),
        Provision::Nothing => None,
    })
}

/// The lines as pip gets them.
fn plain(lines: &[String]) -> Result<Vec<String>, String> {
    let one = |line: &String| {
        declared::plain(line).ok_or_else(|| {
            format!(
                "the build requires `{}`, which is no plain requirement, and nothing else is \
                 fetched",
                declared::shown(line)
            )
        })
    };
    lines.iter().map(one).collect()
}

/// Whether the interpreter has what a requirement asks for, or it does not count here.
fn is_beside(
    line: &str,
    installed: &BTreeMap<String, String>,
    environment: &marker::Environment,
) -> bool {
    let Some(wanted) = Requirement::parse(line) else {
        return false;
    };
    let counts = wanted.marker.as_ref();
    if counts.is_some_and(|marker| environment.holds(marker, &[]) == Some(false)) {
        return true;
    }
    let normal = |name: &String| matrix_evidence::lockfile::Ecosystem::Pypi.normalise(name);
    installed.iter().any(|(name, version)| {
        normal(name) == wanted.name && marker::within(version, &wanted.versions) == Some(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_interpreter_lacks_is_fetched() {
        let installed = [("Setuptools", "65.5.0"), ("flit_core", "3.9.0")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into();
        let linux = marker::tests::linux();
        for (line, expected) in [
            ("setuptools", true),
            ("setuptools >= 61, < 70", true),
            ("setuptools>=77", false),
            ("flit-core >=3.2,<4", true),
            ("wheel", false),
            ("tomli; python_version < '3.11'", true),
            ("hatchling @ https://index.test/h.whl", false),
        ] {
            assert_eq!(is_beside(line, &installed, &linux), expected, "{line}");
        }
    }

    #[test]
    fn pip_gets_what_was_looked_at_and_not_the_line() {
        let lines = |lines: &[&str]| {
            let owned: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            plain(&owned)
        };
        assert_eq!(lines(&["a # why", "b >=1"]).unwrap(), ["a", "b >=1"]);
        let refused = lines(&["a", "wheel #\n--no-binary=docopt\ndocopt"]).unwrap_err();
        assert!(refused.contains("no plain requirement"), "{refused}");
    }

    #[test]
    fn setuptools_brings_wheel_and_no_build_system_needs_nothing() {
        let root = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(root.path().join("pyproject.toml"), text).unwrap();
        assert_eq!(requirements(root.path()), None);
        write("[project]\nname = 'a'\n");
        assert_eq!(requirements(root.path()), None);
        write("[build-system]\nrequires = ['setuptools>=61']\n");
        let lines = requirements(root.path()).unwrap();
        assert_eq!(lines, ["setuptools>=61", "wheel"]);
        write("[build-system]\nrequires = ['hatchling']\nbuild-backend = 'hatchling.build'\n");
        assert_eq!(requirements(root.path()).unwrap(), ["hatchling"]);
    }
}
