//! From a recipe to the command that is executed: program, arguments, environment, what is
//! mounted, and how its output is read.

mod cargo;
mod node;
mod python;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use matrix_evidence::Kind;
use matrix_sandbox::spec::Mount;

use super::config::DEFAULT_TIMEOUT;
use super::detect::{Ecosystem, Recipe};
use super::prepare::{Crates, Prepared, Provision};
use super::project::Invocation;
use matrix_sandbox::toolchain::{Toolchain, Toolchains};

/// Where a check may leave reports, inside.
pub(crate) const REPORT_DIR: &str = "/report";
/// Where our own small programs are shown, inside.
pub(crate) const SCRIPT_DIR: &str = "/matrix";

/// Where the crates of several projects are brought together, inside.
const CRATES: &str = "/tmp/matrix-crates";

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
    /// The same, and what cannot be built counts as not run; the judge compares it with base.
    PythonBuild,
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
    if *recipe == Recipe::PythonBuild {
        planned.python_build(&here, toolchain, toolchains, prepared, provision)?;
    }
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
            // Planned before any toolchain is looked at, and after everything is provided.
            Recipe::Custom { .. } | Recipe::PythonBuild => {}
        }
        Ok(())
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
mod tests;
