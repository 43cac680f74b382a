//! From a recipe to the command that is executed: program, arguments, environment, what is
//! mounted, and how its output is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use matrix_evidence::Kind;
use matrix_sandbox::spec::Mount;

use super::config::DEFAULT_TIMEOUT;
use super::detect::{Ecosystem, NodeManager, PythonRunner, Recipe, text};
use super::prepare::{Crates, Prepared, Provision};
use super::project::Invocation;
use super::toolchain::{Tool, Toolchain, Toolchains};

/// Where a check may leave reports, inside.
pub(crate) const REPORT_DIR: &str = "/report";
/// Where our own small programs are shown, inside.
pub(crate) const SCRIPT_DIR: &str = "/matrix";

/// Where the crates of several projects are brought together, inside.
const CRATES: &str = "/tmp/matrix-crates";

const UNITTEST_RUNNER: &str = include_str!("scripts/run_unittest.py");
const SYNTAX_CHECK: &str = include_str!("scripts/check_syntax.py");

/// How the output of a command becomes a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The text of Rust's test harness, as cargo shows it.
    Libtest,
    /// `--message-format=json` of cargo.
    CargoJson,
    /// `JUnit` files in the report directory; without one the command is broken.
    Junit,
    /// `JUnit` files in the report directory; without one the exit code is the one test case.
    JunitOrExit,
    /// SARIF on standard output.
    SarifOutput,
    /// SARIF files in the report directory; without one the exit code is the one finding.
    SarifOrExit,
    /// One JSON object a line, as our syntax check writes them.
    SyntaxJson,
    /// `go test -json`.
    GoTest,
    /// `FILE:LINE:COLUMN: MESSAGE` lines.
    GoVet,
    /// Only the exit code counts.
    Build,
}

/// Whether the two output streams are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    /// One pipe for both, because their order carries meaning.
    Merged,
    /// The report is on standard output alone.
    Separate,
}

/// A command ready for the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) command: Vec<String>,
    /// A line for the shell before the command.
    pub(crate) setup: Option<String>,
    pub(crate) streams: Streams,
    /// Relative to the work tree's root.
    pub(crate) directory: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) path: Vec<PathBuf>,
    pub(crate) mounts: Vec<Mount>,
    /// Files of ours shown in [`SCRIPT_DIR`].
    pub(crate) scripts: Vec<(&'static str, &'static str)>,
    pub(crate) reader: Reader,
    pub(crate) timeout: Duration,
    pub(crate) tools: BTreeMap<String, String>,
    pub(crate) notes: Vec<String>,
    /// The crates of every project that the command may build.
    pub(crate) crates: Vec<Crates>,
}

/// The tool or dependency that keeps a check from running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) String);

/// Makes the command of an invocation for a tree.
pub(crate) fn plan(
    kind: Kind,
    invocation: &Invocation,
    tree: &Path,
    toolchains: &Toolchains,
    prepared: &Prepared,
) -> Result<Planned, Missing> {
    let mut planned = Planned {
        command: Vec::new(),
        setup: None,
        streams: Streams::Merged,
        directory: invocation.directory.clone(),
        env: BTreeMap::from([("MATRIX_REPORT_DIR".to_owned(), REPORT_DIR.to_owned())]),
        path: Vec::new(),
        mounts: Vec::new(),
        scripts: Vec::new(),
        reader: Reader::Build,
        timeout: DEFAULT_TIMEOUT,
        tools: BTreeMap::new(),
        notes: Vec::new(),
        crates: Vec::new(),
    };
    let here = tree.join(&invocation.directory);
    let recipe = &invocation.recipe;
    if let Recipe::Custom { run, timeout_ms } = recipe {
        for (ecosystem, toolchain) in toolchains.all() {
            planned.add(ecosystem, toolchain);
        }
        for (place, provision) in prepared.all() {
            if let Provision::Unavailable { reason } = provision {
                planned.notes.push(format!("{place}: {reason}"));
            }
            planned.provide(provision);
        }
        planned.tell_cargo()?;
        planned.command = words(&["/bin/sh", "-c", run]);
        planned.timeout = Duration::from_millis(*timeout_ms);
        planned.reader = match kind {
            Kind::TestResults => Reader::JunitOrExit,
            Kind::BuildLog => Reader::Build,
            _ => Reader::SarifOrExit,
        };
        return Ok(planned);
    }
    let ecosystem = ecosystem_of(recipe);
    let toolchain = toolchains
        .get(ecosystem)
        .ok_or_else(|| Missing(Toolchains::missing(ecosystem)))?;
    planned.add(ecosystem, toolchain);
    if ecosystem == Ecosystem::Make {
        // A makefile may call any of them.
        for (other, toolchain) in toolchains.all() {
            planned.add(other, toolchain);
        }
    }
    let provision = prepared.get(ecosystem, &invocation.directory);
    if let Provision::Unavailable { reason } = provision {
        return Err(Missing(reason.clone()));
    }
    planned.provide(provision);
    planned.tell_cargo()?;
    planned.fill(kind, recipe, &here, toolchain)?;
    Ok(planned)
}

fn ecosystem_of(recipe: &Recipe) -> Ecosystem {
    match recipe {
        Recipe::CargoLint | Recipe::CargoTest | Recipe::CargoBuild => Ecosystem::Cargo,
        Recipe::NodeScript { .. } | Recipe::NodeTest { .. } => Ecosystem::Node,
        Recipe::PythonTest { .. } | Recipe::PythonLint | Recipe::PythonBuild => Ecosystem::Python,
        Recipe::GoTest | Recipe::GoLint | Recipe::GoBuild => Ecosystem::Go,
        Recipe::Make { .. } | Recipe::Custom { .. } => Ecosystem::Make,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Planned {
    fn add(&mut self, ecosystem: Ecosystem, toolchain: &Toolchain) {
        let name = ecosystem.as_str().to_owned();
        if self.tools.insert(name, toolchain.version.clone()).is_some() {
            return;
        }
        self.mounts.extend(toolchain.mounts.iter().cloned());
        self.env.extend(toolchain.env.clone());
        for directory in &toolchain.path {
            let system = directory == Path::new("/usr/bin") || directory == Path::new("/bin");
            if !system && !self.path.contains(directory) {
                self.path.push(directory.clone());
            }
        }
    }

    fn provide(&mut self, provision: &Provision) {
        if let Provision::Ready(ready) = provision {
            self.notes.extend(ready.notes.iter().cloned());
            self.mounts.extend(ready.mounts.iter().cloned());
            self.crates.extend(ready.crates.clone());
            self.path.extend(ready.path.iter().cloned());
            for (key, value) in &ready.env {
                join_env(&mut self.env, key, value);
            }
            if let Some(setup) = &ready.setup {
                self.set_up(setup);
            }
        }
    }

    fn set_up(&mut self, line: &str) {
        match &mut self.setup {
            Some(before) => {
                before.push_str(" && ");
                before.push_str(line);
            }
            None => self.setup = Some(line.to_owned()),
        }
    }

    /// Tells cargo where its crates are. It takes them from one directory, so those of several
    /// projects are linked into one: what has the same name and version is the same crate.
    fn tell_cargo(&mut self) -> Result<(), Missing> {
        let crates = std::mem::take(&mut self.crates);
        let directory = match crates.as_slice() {
            [] => return Ok(()),
            [only] => only.directory.clone(),
            _ => PathBuf::from(CRATES),
        };
        let mut all = toml::Table::new();
        for one in &crates {
            let sources = std::fs::read_to_string(&one.config)
                .ok()
                .and_then(|text| text.parse::<toml::Table>().ok())
                .ok_or_else(|| Missing(String::from("the crates that were fetched are gone")))?;
            let sources = sources.get("source").and_then(toml::Value::as_table);
            for (name, source) in sources.into_iter().flatten() {
                let mut source = source.clone();
                if let Some(place) = source.get_mut("directory") {
                    *place = directory.to_string_lossy().into_owned().into();
                }
                all.insert(name.clone(), source);
            }
        }
        let config = toml::Table::from_iter([(String::from("source"), all.into())]).to_string();
        self.set_up("mkdir -p \"$CARGO_HOME\"");
        if crates.len() > 1 {
            self.set_up(&format!("mkdir -p {CRATES}"));
            for one in &crates {
                let from = quoted(&one.directory.to_string_lossy());
                self.set_up(&format!("ln -sfn {from}/* {CRATES}/"));
            }
        }
        let line = format!(
            "printf %s {} > \"$CARGO_HOME/config.toml\"",
            quoted(&config)
        );
        self.set_up(&line);
        Ok(())
    }

    fn fill(
        &mut self,
        kind: Kind,
        recipe: &Recipe,
        here: &Path,
        toolchain: &Toolchain,
    ) -> Result<(), Missing> {
        match recipe {
            Recipe::CargoLint | Recipe::CargoTest | Recipe::CargoBuild => {
                self.cargo(recipe, toolchain);
            }
            Recipe::NodeScript { manager, script } => {
                self.node_script(kind, *manager, script, toolchain)?;
            }
            Recipe::NodeTest { arguments } => self.node_test(arguments, toolchain),
            Recipe::PythonTest { runner } => self.python_test(*runner, here, toolchain)?,
            Recipe::PythonLint => self.python_lint(toolchain),
            Recipe::PythonBuild => self.python_build(here, toolchain)?,
            Recipe::GoTest => {
                self.command = words(&["go", "test", "-json", "./..."]);
                self.reader = Reader::GoTest;
                self.streams = Streams::Separate;
            }
            Recipe::GoLint => {
                self.command = words(&["go", "vet", "./..."]);
                self.reader = Reader::GoVet;
            }
            Recipe::GoBuild => self.command = words(&["go", "build", "./..."]),
            Recipe::Make { target } => {
                self.command = words(&["make", target]);
                self.reader = exit_reader(kind);
            }
            // Planned before any toolchain is looked at.
            Recipe::Custom { .. } => {}
        }
        Ok(())
    }

    fn cargo(&mut self, recipe: &Recipe, toolchain: &Toolchain) {
        match recipe {
            Recipe::CargoLint => {
                let verb = if toolchain.tools.contains(&Tool::Clippy) {
                    "clippy"
                } else {
                    self.notes.push(String::from(
                        "clippy is not installed; `cargo check` ran instead",
                    ));
                    "check"
                };
                self.command = words(&[
                    "cargo",
                    verb,
                    "--offline",
                    "--workspace",
                    "--all-targets",
                    "--message-format=json",
                ]);
                self.reader = Reader::CargoJson;
                self.streams = Streams::Separate;
            }
            Recipe::CargoTest => {
                self.command = words(&[
                    "cargo",
                    "test",
                    "--offline",
                    "--workspace",
                    "--no-fail-fast",
                ]);
                self.reader = Reader::Libtest;
            }
            _ => {
                self.command = words(&["cargo", "build", "--offline", "--workspace", "--release"]);
            }
        }
    }

    fn node_script(
        &mut self,
        kind: Kind,
        manager: NodeManager,
        script: &str,
        toolchain: &Toolchain,
    ) -> Result<(), Missing> {
        let (program, tool) = match manager {
            NodeManager::Npm => ("npm", Tool::Npm),
            NodeManager::Pnpm => ("pnpm", Tool::Pnpm),
        };
        if !toolchain.tools.contains(&tool) {
            let reason = format!(
                "the script `{script}` needs {program}, which was not found; install it beside node"
            );
            return Err(Missing(reason));
        }
        self.command = words(&[program, "run", "--silent", script]);
        self.reader = exit_reader(kind);
        Ok(())
    }

    fn node_test(&mut self, arguments: &str, toolchain: &Toolchain) {
        let major = toolchain
            .version
            .trim_start_matches("node v")
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok());
        // The reporter for JUnit came with Node 20.
        let line = if major.is_some_and(|major| major >= 20) {
            self.reader = Reader::Junit;
            format!(
                "exec node --test --test-reporter=spec --test-reporter-destination=stdout \
                 --test-reporter=junit --test-reporter-destination={REPORT_DIR}/node.xml {arguments}"
            )
        } else {
            self.reader = Reader::JunitOrExit;
            format!("exec node --test {arguments}")
        };
        self.command = words(&["/bin/sh", "-c", line.trim()]);
    }

    fn python_test(
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

    fn python_lint(&mut self, toolchain: &Toolchain) {
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

    fn python_build(&mut self, here: &Path, toolchain: &Toolchain) -> Result<(), Missing> {
        let backend = text(&here.join("pyproject.toml"))
            .and_then(|text| text.parse::<toml::Table>().ok())
            .and_then(|table| {
                let backend = table.get("build-system")?.get("build-backend")?;
                backend.as_str().map(str::to_owned)
            })
            .unwrap_or_else(|| String::from("setuptools.build_meta"));
        let module = backend.split(['.', ':']).next().unwrap_or_default();
        let beside = module == "setuptools" && toolchain.tools.contains(&Tool::PythonBuild);
        if !toolchain.tools.contains(&Tool::Pip) || !(beside || self.has_module(module)) {
            let reason = format!(
                "building the wheel offline needs pip and `{module}`; install both beside python3 \
                 or add them to the lock file"
            );
            return Err(Missing(reason));
        }
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

    /// Makes `src/` importable where the repository has that layout, before every installed
    /// package: a project that its own tools depend on is also among those, in another version.
    fn source_layout(&mut self, here: &Path) {
        if here.join("src").is_dir() {
            let inside = inside_work(&self.directory).join("src");
            let mut path = inside.to_string_lossy().into_owned();
            if let Some(installed) = self.env.get("PYTHONPATH") {
                path = format!("{path}:{installed}");
            }
            self.env.insert("PYTHONPATH".to_owned(), path);
        }
    }

    /// Whether the prepared packages hold this Python module.
    fn has_module(&self, module: &str) -> bool {
        self.mounts
            .iter()
            .any(|mount| mount.target.starts_with("/deps") && mount.source.join(module).is_dir())
    }
}

/// A directory of the work tree as the command sees it.
pub(crate) fn inside_work(directory: &str) -> PathBuf {
    let work = PathBuf::from("/work");
    if directory.is_empty() {
        work
    } else {
        work.join(directory)
    }
}

fn exit_reader(kind: Kind) -> Reader {
    match kind {
        Kind::TestResults => Reader::JunitOrExit,
        Kind::Lint | Kind::SecurityScan => Reader::SarifOrExit,
        Kind::BuildLog | Kind::DependencyAudit | Kind::Sbom => Reader::Build,
    }
}

/// A text as one word for a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Lists of paths are joined; every other variable is set.
fn join_env(env: &mut BTreeMap<String, String>, key: &str, value: &str) {
    match env.get_mut(key) {
        Some(before) if key.ends_with("PATH") && before != value => {
            before.push(':');
            before.push_str(value);
        }
        _ => {
            env.insert(key.to_owned(), value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::prepare::Ready;

    fn crates_of(host: &Path, project: &str, source: &str) -> Provision {
        let config = host.join(format!("{project}.toml"));
        let directory = format!("/deps/cargo-{project}/vendor");
        let text = format!(
            "[source.{source}]\nreplace-with = 'vendored-sources'\n\
             [source.vendored-sources]\ndirectory = '{directory}'\n"
        );
        std::fs::write(&config, text).unwrap();
        Provision::Ready(Ready {
            crates: Some(Crates {
                config,
                directory: directory.into(),
            }),
            ..Ready::default()
        })
    }

    fn custom(prepared: &Prepared) -> Planned {
        let invocation = Invocation {
            recipe: Recipe::Custom {
                run: "make".into(),
                timeout_ms: 1_000,
            },
            directory: String::new(),
        };
        let tree = tempfile::tempdir().unwrap();
        let toolchains = Toolchains::default();
        plan(
            Kind::TestResults,
            &invocation,
            tree.path(),
            &toolchains,
            prepared,
        )
        .unwrap()
    }

    /// What the setup leaves in cargo's home when a shell executes it.
    fn configured(setup: &str) -> String {
        let home = tempfile::tempdir().unwrap();
        let ran = std::process::Command::new("/bin/sh")
            .args(["-c", setup])
            .env("CARGO_HOME", home.path())
            .status();
        assert!(ran.unwrap().success(), "{setup}");
        std::fs::read_to_string(home.path().join("config.toml")).unwrap()
    }

    #[test]
    fn a_check_over_two_cargo_projects_sees_the_crates_of_both() {
        let host = tempfile::tempdir().unwrap();
        let mut prepared = Prepared::default();
        let one = crates_of(host.path(), "a", "first");
        prepared.insert(Ecosystem::Cargo, "a", one);
        let alone = custom(&prepared).setup.unwrap();
        assert!(
            configured(&alone).contains("/deps/cargo-a/vendor"),
            "{alone}"
        );

        let two = crates_of(host.path(), "b", "\"it's second\"");
        prepared.insert(Ecosystem::Cargo, "b", two);
        let both = custom(&prepared).setup.unwrap();
        for project in ["a", "b"] {
            let link = format!("ln -sfn '/deps/cargo-{project}/vendor'/* {CRATES}/");
            assert!(both.contains(&link), "{both}");
        }
        let config: toml::Table = configured(&both).parse().unwrap();
        let sources = config["source"].as_table().unwrap();
        assert!(sources.contains_key("first") && sources.contains_key("it's second"));
        assert_eq!(
            sources["vendored-sources"]["directory"].as_str(),
            Some(CRATES)
        );
    }
}
