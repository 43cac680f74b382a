//! A directory with a repository, a data directory and the program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_mins(1);

/// The checks of the small repository: quick, and each of another kind.
pub(crate) const CHECKS: &str = "\
checks:
  - { name: unit, kind: test_results, run: 'grep -q good state.txt', timeout: 20s }
  - { name: compile, kind: build_log, run: 'echo built', timeout: 20s }
  - { name: style, kind: lint, run: 'true', timeout: 20s }
";

/// A plan that the small repository's checks agree with.
pub(crate) const HARMLESS: &str = "  - create: { path: new.txt, content: \"hello\\n\" }\n";

/// The text of a plan with these operations, indented by two.
pub(crate) fn plan(operations: &str) -> String {
    format!(
        "version: 1\ntitle: A small thing\ngoal: It is there.\n\
         author: {{ name: A, email: a@example.org }}\nbase: main\noperations:\n{operations}"
    )
}

/// The harmless plan, raised to a level of risk.
pub(crate) fn raised(level: &str) -> String {
    let risk = format!("risk: {{ raise: {level}, because: 'it touches money' }}\n");
    plan(HARMLESS) + &risk
}

/// The project's top directory.
pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Whether the tests run as root; some things can only be tried as root, others only as not.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A repository, a data directory, and nothing of the person's own configuration.
pub(crate) struct Site {
    directory: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Site {
    /// A site without a repository.
    pub(crate) fn bare() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("matrix-cli-")
            .tempdir()
            .unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            directory,
            variables: Vec::new(),
        }
    }

    /// The same with a variable of the environment for every command.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// A small repository with these checks.
    pub(crate) fn small(checks: &str) -> Self {
        let site = Self::bare();
        fs::create_dir(site.repository()).unwrap();
        site.write("matrix.yaml", checks);
        site.write("state.txt", "good\n");
        site.write("text.txt", "one\ntwo\nthree\n");
        site.git(&["init", "--quiet", "--initial-branch=main"]);
        site.commit();
        site
    }

    /// The repository of an example.
    pub(crate) fn example(name: &str) -> Self {
        let site = Self::bare();
        let source = top().join("examples").join(name).join("repository");
        let mut copy = Command::new("cp");
        copy.arg("-R").arg(source).arg(site.repository());
        assert!(copy.status().unwrap().success());
        site.git(&["init", "--quiet", "--initial-branch=main"]);
        site.commit();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes a file of the repository.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.repository().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
            .args(arguments)
            .current_dir(self.repository())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=more"]);
    }

    /// The program with these arguments, on this data directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command_elsewhere(&[]);
        command.arg("--data-dir").arg(self.data()).args(arguments);
        command
    }

    /// The program with these arguments alone.
    pub(crate) fn command_elsewhere(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_matrix"));
        command.args(arguments).stdin(Stdio::null());
        command.env("XDG_CONFIG_HOME", self.path("config"));
        let own: Vec<_> = std::env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| name == "COLUMNS" || name.to_string_lossy().starts_with("MATRIX_"))
            .collect();
        for name in own {
            command.env_remove(name);
        }
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }

    /// Runs the program to its end.
    pub(crate) fn matrix(&self, arguments: &[&str]) -> Done {
        finish(self.command(arguments))
    }

    /// Writes a plan and gives its path.
    pub(crate) fn plan_file(&self, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path("plan.yaml");
        fs::write(&path, text).unwrap();
        path
    }

    /// The command that runs a change of a plan's text.
    pub(crate) fn change_command(&self, plan: impl AsRef<[u8]>) -> Command {
        let path = self.plan_file(plan);
        self.change_of(&path)
    }

    /// The command that runs a change of a plan's file.
    pub(crate) fn change_of(&self, plan: &Path) -> Command {
        let mut command = self.command(&["change", "run", "--json", "--repo"]);
        command.arg(self.repository()).arg("--plan").arg(plan);
        command
    }

    /// Runs a change of a plan's text to its end.
    pub(crate) fn change(&self, plan: impl AsRef<[u8]>) -> Done {
        finish(self.change_command(plan))
    }

    /// Runs a change of one of an example's plans to its end.
    pub(crate) fn example_change(&self, name: &str, plan: &str) -> Done {
        let plans = top().join("examples").join(name).join("plans");
        finish(self.change_of(&plans.join(format!("{plan}.yaml"))))
    }

    /// The ids of all runs.
    pub(crate) fn runs(&self) -> Vec<String> {
        let listed = self.matrix(&["run", "list", "--json"]);
        if listed.code == 6 {
            return Vec::new();
        }
        let runs = listed.expect(0).json();
        let runs = runs["runs"].as_array().unwrap().iter();
        runs.map(|run| run["run"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A change as it is now.
    pub(crate) fn show(&self, run: &str) -> Value {
        self.matrix(&["change", "show", run, "--json"])
            .expect(0)
            .json()
    }

    /// Whether a process hosts the data directory.
    pub(crate) fn is_hosted(&self) -> bool {
        fs::File::options()
            .write(true)
            .open(self.data().join("host.lock"))
            .is_ok_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)))
    }

    /// Changes one row of the database behind the program's back.
    pub(crate) fn tamper(&self, sql: &str) {
        let script = "import sqlite3, sys\n\
                      database = sqlite3.connect(sys.argv[1])\n\
                      assert database.execute(sys.argv[2]).rowcount == 1\n\
                      database.commit()\n";
        let mut command = Command::new("python3");
        command.args(["-c", script]);
        command.arg(self.data().join("matrix.db")).arg(sql);
        finish(command).expect(0);
    }

    /// Every hash of the journal, recomputed.
    pub(crate) fn journal_holds(&self) {
        self.matrix(&["journal", "verify"]).expect(0);
    }

    /// Processes that still know this directory.
    fn left_behind(&self) -> Vec<String> {
        let place = self.directory.path().to_string_lossy().into_owned();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|process| {
                let line = fs::read(process.path().join("cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                line.contains(&place).then_some(line)
            })
            .collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        eventually("nothing of the site runs any more", || {
            self.left_behind().is_empty().then_some(())
        });
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn of(output: &Output) -> Self {
        let done = Self {
            // A process that was ended by a signal has no code.
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert!(!done.err.contains("panicked"), "{done:?}");
        done
    }

    /// Fails unless the exit code is this one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    /// Fails unless the text is on standard output or standard error.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let found = self.out.contains(text) || self.err.contains(text);
        assert!(found, "`{text}` is not in\n{}\n{}", self.out, self.err);
        self
    }

    /// The last line of standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let line = self.out.lines().next_back();
        let line = line.unwrap_or_else(|| panic!("no output: {}", self.err));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}: {}", self.err))
    }

    /// A text of the last line's object.
    #[track_caller]
    pub(crate) fn text(&self, key: &str) -> String {
        text(&self.json(), key)
    }

    /// The status of a kind of evidence.
    #[track_caller]
    pub(crate) fn status(&self, kind: &str) -> String {
        let change = self.json();
        let evidence = change["evidence"].as_array().unwrap();
        let found = evidence.iter().find(|evidence| evidence["kind"] == kind);
        text(
            found.unwrap_or_else(|| panic!("no {kind}: {change}")),
            "status",
        )
    }
}

/// A text of an object.
#[track_caller]
pub(crate) fn text(value: &Value, key: &str) -> String {
    let found = value[key].as_str();
    found
        .unwrap_or_else(|| panic!("no text `{key}`: {value}"))
        .to_owned()
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command) -> Done {
    Done::of(&command.output().unwrap())
}

/// A command that was started; it does not outlive its test, however that ends.
pub(crate) struct Started {
    child: Option<Child>,
}

impl Started {
    /// What it writes to standard error; whoever takes it must read it.
    pub(crate) fn take_stderr(&mut self) -> ChildStderr {
        let child = self.child.as_mut().unwrap();
        child.stderr.take().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Waits for the end of one that was killed.
    pub(crate) fn end_killed(mut self) {
        let mut child = self.child.take().unwrap();
        drop(child.wait());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Done {
        let child = self.child.take().unwrap();
        Done::of(&child.wait_with_output().unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Starts a command whose output is collected.
pub(crate) fn start(mut command: Command) -> Started {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = Some(command.spawn().unwrap());
    Started { child }
}

/// Looks until there is something, or fails.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "patience is measured on the machine's clock"
)]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}
