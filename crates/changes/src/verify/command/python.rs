//! Commands of Python.

use std::path::Path;

use super::{Missing, Planned, REPORT_DIR, Reader, SCRIPT_DIR, Streams, inside_work, words};
use crate::verify::detect::{Ecosystem, PythonRunner, text};
use crate::verify::prepare::{BuildTools, Prepared, Provision};
use matrix_sandbox::toolchain::{Tool, Toolchain, Toolchains};

const UNITTEST_RUNNER: &str = include_str!("../scripts/run_unittest.py");
const SYNTAX_CHECK: &str = include_str!("../scripts/check_syntax.py");

/// What `[build-system]` says about how the wheel is made.
struct BuildSystem {
    /// The module of the back end.
    module: String,
    /// The repository brings the back end itself.
    in_tree: bool,
    /// Parts of the wheel are compiled by cargo.
    compiles_rust: bool,
}

impl BuildSystem {
    fn read(here: &Path) -> Self {
        let table = text(&here.join("pyproject.toml"))
            .and_then(|text| text.parse::<toml::Table>().ok())
            .and_then(|table| table.get("build-system").cloned());
        let member = |key: &str| table.as_ref().and_then(|table| table.get(key));
        let back_end = member("build-backend").and_then(toml::Value::as_str);
        let back_end = back_end.unwrap_or("setuptools.build_meta");
        let requires = member("requires").and_then(toml::Value::as_array);
        let rust = [
            "maturin",
            "setuptools-rust",
            "setuptools_rust",
            "puccinialin",
        ];
        let compiles_rust = requires.into_iter().flatten().any(|line| {
            let line = line.as_str().unwrap_or_default();
            rust.iter().any(|name| line.starts_with(name))
        });
        Self {
            module: back_end
                .split(['.', ':'])
                .next()
                .unwrap_or_default()
                .to_owned(),
            in_tree: member("backend-path").is_some(),
            compiles_rust,
        }
    }
}

impl Planned {
    pub(super) fn python_test(
        &mut self,
        runner: PythonRunner,
        here: &Path,
        toolchain: &Toolchain,
    ) -> Result<(), Missing> {
        self.source_layout(here);
        self.reader = Reader::Junit;
        match runner {
            PythonRunner::Pytest => {
                if !self.has_module("pytest") && !toolchain.tools.contains(&Tool::Pytest) {
                    let reason = "the tests are written for pytest, which is neither in the lock \
                                  file nor installed beside python3; add it to one of them";
                    return Err(Missing(reason.to_owned()));
                }
                let report = format!("--junitxml={REPORT_DIR}/pytest.xml");
                self.command =
                    words(&["python3", "-m", "pytest", "-p", "no:cacheprovider", &report]);
            }
            PythonRunner::Unittest => {
                self.scripts.push(("run_unittest.py", UNITTEST_RUNNER));
                let script = format!("{SCRIPT_DIR}/run_unittest.py");
                let report = format!("{REPORT_DIR}/unittest.xml");
                self.command = words(&["python3", &script, &report]);
            }
        }
        Ok(())
    }

    pub(super) fn python_lint(&mut self, toolchain: &Toolchain) {
        self.streams = Streams::Separate;
        if toolchain.tools.contains(&Tool::Ruff) || self.has_module("ruff") {
            self.command = words(&[
                "python3",
                "-m",
                "ruff",
                "check",
                "--no-cache",
                "--output-format=sarif",
                ".",
            ]);
            self.reader = Reader::SarifOutput;
        } else {
            self.scripts.push(("check_syntax.py", SYNTAX_CHECK));
            let script = format!("{SCRIPT_DIR}/check_syntax.py");
            self.command = words(&["python3", &script]);
            self.reader = Reader::SyntaxJson;
            self.notes.push(String::from(
                "ruff is not installed; the compiler's syntax check ran instead",
            ));
        }
    }

    /// The wheel, with what its back end needs and the repository's own crates where it compiles
    /// Rust.
    pub(super) fn python_build(
        &mut self,
        here: &Path,
        toolchain: &Toolchain,
        toolchains: &Toolchains,
        prepared: &Prepared,
        provision: &Provision,
    ) -> Result<(), Missing> {
        let system = BuildSystem::read(here);
        let tools = match provision {
            Provision::Ready(ready) => ready.build.as_deref(),
            Provision::Nothing | Provision::Unavailable { .. } => None,
        };
        match tools {
            Some(BuildTools::Fetched { mount, notes, .. }) => {
                self.mounts.push(mount.clone());
                self.path.insert(0, mount.target.join("bin"));
                self.notes.extend(notes.iter().cloned());
                self.python_path(&mount.target);
            }
            Some(BuildTools::Beside) => {}
            Some(BuildTools::Unavailable { reason }) => return Err(Missing(reason.clone())),
            // Nobody looked: what is there decides.
            None => self.back_end_is_there(&system, toolchain)?,
        }
        if !toolchain.tools.contains(&Tool::Pip) {
            let reason = "building the wheel needs pip, which python3 does not have";
            return Err(Missing(reason.to_owned()));
        }
        if system.compiles_rust {
            let rust = toolchains.get(Ecosystem::Cargo).ok_or_else(|| {
                let why = Toolchains::missing(Ecosystem::Cargo);
                Missing(format!("the wheel has parts in Rust: {why}"))
            })?;
            self.add(Ecosystem::Cargo, rust);
            for (place, provision) in prepared.all() {
                if place.split('/').next() == Some(Ecosystem::Cargo.as_str()) {
                    if let Provision::Unavailable { reason } = provision {
                        return Err(Missing(reason.clone()));
                    }
                    self.provide(provision);
                }
            }
            self.tell_cargo()?;
        }
        self.reader = Reader::PythonBuild;
        self.command = words(&[
            "python3",
            "-m",
            "pip",
            "wheel",
            "--no-index",
            "--no-deps",
            "--no-build-isolation",
            "--no-cache-dir",
            "--wheel-dir",
            "dist",
            ".",
        ]);
        Ok(())
    }

    fn back_end_is_there(
        &self,
        system: &BuildSystem,
        toolchain: &Toolchain,
    ) -> Result<(), Missing> {
        let module = system.module.as_str();
        let beside = module == "setuptools" && toolchain.tools.contains(&Tool::PythonBuild);
        if beside || system.in_tree || self.has_module(module) {
            return Ok(());
        }
        Err(Missing(format!(
            "building the wheel offline needs pip and `{module}`; install both beside python3 or \
             add them to the lock file"
        )))
    }

    /// Puts a directory before everything else that is imported.
    fn python_path(&mut self, first: &Path) {
        let mut path = first.to_string_lossy().into_owned();
        if let Some(rest) = self.env.get("PYTHONPATH") {
            path = format!("{path}:{rest}");
        }
        self.env.insert("PYTHONPATH".to_owned(), path);
    }

    /// Makes `src/` importable where the repository has that layout, before every installed
    /// package: a project that its own tools depend on is also among those, in another version.
    fn source_layout(&mut self, here: &Path) {
        if here.join("src").is_dir() {
            self.python_path(&inside_work(&self.directory).join("src"));
        }
    }

    /// Whether the prepared packages hold this Python module.
    fn has_module(&self, module: &str) -> bool {
        self.mounts
            .iter()
            .any(|mount| mount.target.starts_with("/deps") && mount.source.join(module).is_dir())
    }
}
