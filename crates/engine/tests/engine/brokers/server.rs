//! A broker of a test's own: a real server on a free port, with its data in a temporary directory.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    pub(super) port: u16,
    process: Option<Child>,
    _directory: tempfile::TempDir,
}

impl Server {
    /// NATS with `JetStream`.
    pub(super) fn nats() -> Self {
        Self::start("nats-server", |port, directory| {
            ["-a", "127.0.0.1", "-p", port, "-js", "-sd", directory]
                .map(str::to_owned)
                .into()
        })
    }

    /// Redis that keeps what it acknowledges.
    pub(super) fn redis() -> Self {
        Self::start("redis-server", |port, directory| {
            let all = "--bind 127.0.0.1 --save --appendonly yes --appendfsync always";
            let all = all.split(' ').map(|part| match part {
                "--save" => vec![part.to_owned(), String::new()],
                part => vec![part.to_owned()],
            });
            all.flatten()
                .chain(["--port", port, "--dir", directory].map(str::to_owned))
                .collect()
        })
    }

    /// Kafka as librdkafka has it for tests: in memory, so it forgets everything when it is killed.
    pub(super) fn kafka() -> Self {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/engine/brokers/cluster.py"
        );
        Self::start_program(python(), |port, _| vec![script.to_owned(), port.to_owned()])
    }

    /// Starts it again with one more argument.
    pub(super) fn begin_with(&mut self, argument: &str) {
        self.kill();
        self.arguments.push(argument.to_owned());
        self.begin();
        self.arguments.pop();
    }

    fn start(name: &str, arguments: impl Fn(&str, &str) -> Vec<String>) -> Self {
        Self::start_program(program(name), arguments)
    }

    fn start_program(program: PathBuf, arguments: impl Fn(&str, &str) -> Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut server = Self {
            program,
            arguments: arguments(&port.to_string(), directory.path().to_str().unwrap()),
            port,
            process: None,
            _directory: directory,
        };
        server.begin();
        server
    }

    /// Starts it again, with the data it had.
    pub(super) fn begin(&mut self) {
        let process = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.unwrap());
        #[expect(clippy::disallowed_methods, reason = "a real server takes real time")]
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "the server does not listen");
            std::thread::yield_now();
        }
    }

    /// Kills it, as a power cut of its machine would.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a server's program is. A machine without it fails the test.
fn program(name: &str) -> PathBuf {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"];
    let found = folders
        .iter()
        .map(|folder| PathBuf::from(folder).join(name));
    let found = found.into_iter().find(|path| path.exists());
    assert!(
        found.is_some(),
        "{name} is not installed, so nothing can be said about it: `apt-get install {name}`, or \
         `cargo xtask test`, which does that"
    );
    found.unwrap()
}

/// The interpreter of the environment that has librdkafka.
fn python() -> PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "only the test's caller knows where the tools are"
    )]
    let folder = std::env::var_os("MATRIX_TEST_TOOLS");
    assert!(
        folder.is_some(),
        "MATRIX_TEST_TOOLS is not set: run `cargo xtask test`, which installs librdkafka for Python"
    );
    let folder = folder.unwrap_or_default();
    // A relative path is meant from the workspace, where that command runs.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    workspace.join(folder).join("bin/python")
}
