//! The one door to the `git` program.
//!
//! Every process of this room is started here: with a cleared environment, no configuration but
//! ours, no transport, hook, pager, file monitor, prompt, lazy fetch or replaced object, and with
//! limits on time and output. A caller names the repository's directory outright, so that git
//! never searches for one and never asks who owns it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// How long one git command may take unless its caller says otherwise.
pub const DEFAULT_TIME: Duration = Duration::from_mins(2);
/// How many bytes one git command may print unless its caller says otherwise.
pub const DEFAULT_OUTPUT: u64 = 256 << 20;
/// How much of the error stream is kept.
const STDERR_KEPT: u64 = 64 << 10;
/// The oldest git that has every option used here.
const OLDEST: (u32, u32) = (2, 36);

const CONFIGURATION: &[&str] = &[
    "advice.detachedHead=false",
    "core.attributesFile=/dev/null",
    "core.autocrlf=false",
    "core.bigFileThreshold=32m",
    "core.commitGraph=false",
    "core.compression=1",
    "core.eol=lf",
    "core.excludesFile=/dev/null",
    "core.fileMode=true",
    "core.fsmonitor=false",
    "core.fsync=committed,reference",
    "core.hooksPath=/dev/null",
    "core.ignoreCase=false",
    "core.multiPackIndex=false",
    "core.pager=cat",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.quotePath=true",
    "core.sshCommand=false",
    "core.symlinks=true",
    "core.untrackedCache=false",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "pack.threads=2",
    "pack.useBitmaps=false",
    "protocol.allow=never",
    "safe.directory=*",
    "submodule.recurse=false",
    "tar.umask=0022",
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_ASKPASS", "false"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_EDITOR", "false"),
    ("GIT_GRAFT_FILE", "/dev/null"),
    ("GIT_LITERAL_PATHSPECS", "1"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_PAGER", "cat"),
    ("GIT_SSH_COMMAND", "false"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("HOME", "/nonexistent"),
    ("LC_ALL", "C"),
    ("TZ", "UTC"),
    ("XDG_CONFIG_HOME", "/nonexistent"),
];

/// What went wrong with the git program.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// No program of that name can be started.
    #[error("git cannot be started: `{program}`")]
    NotFound {
        /// The program's path as it was given, or `git`.
        program: String,
        /// Why not.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The installed git lacks options this room needs.
    #[error(
        "git {found} is too old: {}.{} or later is needed",
        OLDEST.0,
        OLDEST.1
    )]
    TooOld {
        /// The version it reports.
        found: String,
    },
    /// It ran longer than allowed and was killed.
    #[error("git {command} took longer than {} s and was stopped", limit.as_secs())]
    TimedOut {
        /// The git command, such as `pack-objects`.
        command: String,
        /// How long it was allowed.
        limit: Duration,
    },
    /// It printed more than allowed and was killed.
    #[error("git {command} printed more than {limit} bytes and was stopped")]
    TooMuchOutput {
        /// The git command.
        command: String,
        /// How many bytes it was allowed.
        limit: u64,
    },
    /// It ended with a failure that no caller expected.
    #[error("git {command} failed ({status}): {message}")]
    Failed {
        /// The git command.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said, cut to its last lines.
        message: String,
    },
    /// It printed something this room does not understand.
    #[error("git {command} printed something unexpected: {what}")]
    Unexpected {
        /// The git command.
        command: String,
        /// What was expected and what came.
        what: String,
    },
    /// A file or a pipe failed.
    #[error("{what} failed")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl GitError {
    /// An input or output error with what was being done.
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }

    /// An answer that cannot be read.
    pub(crate) fn unexpected(command: &str, what: impl Into<String>) -> Self {
        Self::Unexpected {
            command: command.to_owned(),
            what: what.into(),
        }
    }
}

/// The git program of this machine.
#[derive(Debug, Clone)]
pub struct Git {
    program: PathBuf,
    version: String,
}

impl Git {
    /// Looks at the program at this absolute path.
    pub async fn at(program: &Path) -> Result<Self, GitError> {
        let mut git = Self {
            program: program.to_owned(),
            version: String::new(),
        };
        let printed = git.command("version", None).text().await?;
        let version = printed.strip_prefix("git version ").unwrap_or(&printed);
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
        let (major, minor) = (numbers.next().flatten(), numbers.next().flatten());
        version.clone_into(&mut git.version);
        match major.zip(minor) {
            Some(found) if found >= OLDEST => Ok(git),
            _ => Err(GitError::TooOld { found: git.version }),
        }
    }

    /// Finds the program in a list of directories in the form of `PATH`.
    pub async fn find(path_variable: &OsStr) -> Result<Self, GitError> {
        let found = std::env::split_paths(path_variable)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join("git"))
            .find(|candidate| candidate.is_file());
        match found {
            Some(program) => Self::at(&program).await,
            None => Err(GitError::NotFound {
                program: "git".into(),
                source: None,
            }),
        }
    }

    /// The version it reports, such as `2.47.3`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Begins a command on the repository whose git directory is given, or on none.
    pub(crate) fn command(&self, name: &str, git_dir: Option<&Path>) -> Invocation {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(ENVIRONMENT.iter().copied());
        for setting in CONFIGURATION {
            command.args(["-c", setting]);
        }
        // Never the caller's directory: it may be inside a repository, or gone.
        command.current_dir(git_dir.unwrap_or_else(|| Path::new("/")));
        if let Some(git_dir) = git_dir {
            command.env("GIT_DIR", git_dir);
        }
        command.arg("--no-pager").arg(name);
        Invocation {
            name: name.to_owned(),
            program: self.program.clone(),
            command,
            input: Vec::new(),
            time: DEFAULT_TIME,
            output: DEFAULT_OUTPUT,
        }
    }
}

/// One git command that has not run yet.
#[derive(Debug)]
pub(crate) struct Invocation {
    name: String,
    program: PathBuf,
    command: Command,
    input: Vec<u8>,
    time: Duration,
    output: u64,
}

/// How a command ended and what it printed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Outcome {
    /// The error stream as text, cut to its last lines.
    pub(crate) fn message(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(4);
        let mut message = lines[from..].join("; ");
        if message.len() > 1000 {
            message = message.chars().take(1000).collect();
        }
        message
    }
}

impl Invocation {
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Reads objects from these directories too; quoted as git wants it, so that any path works.
    pub(crate) fn alternates(self, directories: &[&Path]) -> Self {
        let mut value = OsString::new();
        for directory in directories {
            if !value.is_empty() {
                value.push(":");
            }
            value.push(quoted(directory));
        }
        self.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", value)
    }

    pub(crate) fn work_tree(mut self, directory: &Path) -> Self {
        self.command
            .env("GIT_WORK_TREE", directory)
            .current_dir(directory);
        self
    }

    /// Runs it in another directory than the repository's.
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    pub(crate) fn time(mut self, limit: Duration) -> Self {
        self.time = limit;
        self
    }

    pub(crate) fn output(mut self, bytes: u64) -> Self {
        self.output = bytes;
        self
    }

    /// Runs it and gives the outcome, whatever the exit status.
    pub(crate) async fn outcome(mut self) -> Result<Outcome, GitError> {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = self.command.spawn().map_err(|source| GitError::NotFound {
            program: self.program.display().to_string(),
            source: Some(source),
        })?;
        let group = Group(child.id());
        let talk = converse(&mut child, &self.input, self.output);
        match tokio::time::timeout(self.time, talk).await {
            Ok(Ok(Some(outcome))) => {
                group.ended();
                Ok(outcome)
            }
            Ok(Ok(None)) => Err(GitError::TooMuchOutput {
                command: self.name,
                limit: self.output,
            }),
            Ok(Err(source)) => Err(GitError::io(
                format!("talking to git {}", self.name),
                source,
            )),
            Err(_) => Err(GitError::TimedOut {
                command: self.name,
                limit: self.time,
            }),
        }
    }

    /// Runs it and gives what it printed; any exit status but zero is an error.
    pub(crate) async fn bytes(self) -> Result<Vec<u8>, GitError> {
        let command = self.name.clone();
        let outcome = self.outcome().await?;
        if outcome.status.success() {
            return Ok(outcome.stdout);
        }
        Err(GitError::Failed {
            command,
            status: outcome.status,
            message: outcome.message(),
        })
    }

    /// Runs it and gives what it printed as text, without the last line's end.
    pub(crate) async fn text(self) -> Result<String, GitError> {
        let command = self.name.clone();
        let bytes = self.bytes().await?;
        let text = String::from_utf8(bytes)
            .map_err(|_| GitError::unexpected(&command, "text that is not UTF-8"))?;
        Ok(text.trim_end_matches('\n').to_owned())
    }
}

/// Ends the process group when the command is given up.
struct Group(Option<u32>);

impl Group {
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let kill = rustix::process::Signal::KILL;
            if let Err(error) = rustix::process::kill_process_group(pid, kill) {
                tracing::debug!(%error, "a stopped git was gone already");
            }
        }
    }
}

/// Writes the input, reads both streams and waits; `None` when it printed too much.
async fn converse(child: &mut Child, input: &[u8], limit: u64) -> std::io::Result<Option<Outcome>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async move {
        let Some(mut stdin) = stdin else {
            return Ok(());
        };
        match stdin.write_all(input).await {
            // A command that ends early says why itself.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(Stop::Io),
        }
    };
    let errors = async {
        let mut kept = Vec::new();
        if let Some(mut stderr) = stderr {
            (&mut stderr)
                .take(STDERR_KEPT)
                .read_to_end(&mut kept)
                .await?;
            tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
        }
        Ok::<_, Stop>(kept)
    };
    let answer = async {
        match stdout {
            Some(stdout) => read_limited(stdout, limit).await,
            None => Ok(Vec::new()),
        }
    };
    // The first failure ends all three: a process that prints too much may never end by itself.
    match tokio::try_join!(write, answer, errors) {
        Ok(((), stdout, stderr)) => Ok(Some(Outcome {
            status: child.wait().await?,
            stdout,
            stderr,
        })),
        Err(Stop::TooMuch) => Ok(None),
        Err(Stop::Io(error)) => Err(error),
    }
}

enum Stop {
    TooMuch,
    Io(std::io::Error),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

async fn read_limited(stream: impl AsyncRead + Unpin, limit: u64) -> Result<Vec<u8>, Stop> {
    let mut bytes = Vec::new();
    stream.take(limit + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > limit {
        return Err(Stop::TooMuch);
    }
    Ok(bytes)
}

/// A path in double quotes with C escapes, as git reads lists of directories.
pub(crate) fn quoted(path: &Path) -> OsString {
    let mut bytes = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' => bytes.extend([b'\\', *byte]),
            b'\n' => bytes.extend(b"\\n"),
            other => bytes.push(*other),
        }
    }
    bytes.push(b'"');
    OsStr::from_bytes(&bytes).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn git() -> Git {
        Git::find(OsStr::new("/usr/bin:/usr/local/bin:/bin"))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = Git::at(Path::new("/nonexistent/git")).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/git"), "{error}");
        let error = Git::find(OsStr::new("relative:/nonexistent")).await;
        assert!(matches!(error, Err(GitError::NotFound { .. })));
    }

    #[tokio::test]
    async fn output_beyond_the_limit_ends_the_command() {
        let error = git()
            .await
            .command("version", None)
            .output(3)
            .bytes()
            .await
            .unwrap_err();
        assert!(matches!(error, GitError::TooMuchOutput { limit: 3, .. }));
    }

    #[tokio::test]
    async fn a_command_that_waits_for_nothing_is_stopped() {
        // `mktemp`-free way to block: a FIFO nobody writes to, given as the input of hash-object.
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let error = git()
            .await
            .command("hash-object", None)
            .arg(&fifo)
            .time(Duration::from_millis(50))
            .bytes()
            .await
            .unwrap_err();
        assert!(matches!(error, GitError::TimedOut { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_failure_says_which_command_and_why() {
        let error = git()
            .await
            .command("rev-parse", Some(Path::new("/")))
            .arg("HEAD")
            .bytes()
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("git rev-parse failed"), "{text}");
    }
}
