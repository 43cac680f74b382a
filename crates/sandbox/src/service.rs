//! Services: sandboxed programs that outlive the process that started them.
//!
//! A service has a supervisor of its own, this same program again, in a session of its own. It runs
//! the launcher, writes the program's output to a log with a cap, and forwards connections from one
//! loopback port of the host to the one declared port inside. A [`Record`] names the supervisor and
//! the sandbox's first process by id *and* start time, so that an id which was given to another
//! process later is never signalled.
//!
//! When the supervisor dies, the launcher's socket closes and the launcher ends the service: there
//! is no state in which the service runs and nobody watches it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use matrix_core::system::SystemClock;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::detect::{Options, Sandbox, make_private_directory};
use crate::error::SandboxError;
use crate::run::Wishes;
use crate::spec::{Limits, Network, OutputSink, Profile, SandboxSpec};
use crate::sys;
use crate::wire::{self, Job, Lines};

/// First argument of a service's supervisor.
pub(crate) const SERVICE: &str = "__service";

/// How long a start may take until the program is executed.
const START: Duration = Duration::from_secs(30);
/// How long a killed tree may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// A program to keep running.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// The program; its profile and network are set by the start, its wall-clock, processor and
    /// output limits are lifted.
    pub sandbox: SandboxSpec,
    /// The loopback port that the program listens on, inside.
    pub port: u16,
    /// The loopback port of the host that leads to it.
    pub host_port: u16,
    /// A private directory of this service for its log and socket.
    pub directory: PathBuf,
    /// How large the log may grow; the older half is given up.
    pub log_bytes: u64,
    /// How long the program may take to end when asked, before it is killed.
    pub grace: Duration,
}

/// A process, told apart from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since the machine's start (field 22 of `/proc/PID/stat`).
    pub started: u64,
}

/// A running service, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The supervisor.
    pub supervisor: Process,
    /// The first process of the sandbox.
    pub first: Process,
    /// The loopback port of the host.
    pub host_port: u16,
    /// The loopback port inside.
    pub port: u16,
    /// The socket that leads inside.
    pub socket: PathBuf,
    /// The log; the older half, if any, stands beside it with `.1`.
    pub log: PathBuf,
    /// How long the program may take to end when asked.
    pub grace: Duration,
}

/// Whether a service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its supervisor and its first process are there.
    Running,
    /// Neither is.
    Stopped,
    /// One of them is there: it is just starting or ending.
    Changing,
}

/// What the supervisor is told.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    job: Job,
    launcher: PathBuf,
    scratch: PathBuf,
    host_port: u16,
    socket: PathBuf,
    log: PathBuf,
    log_bytes: u64,
    grace: Duration,
}

/// What the supervisor answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ready { supervisor: u32, first: u32 },
    Failed { detail: String },
}

fn error(detail: impl Into<String>) -> SandboxError {
    SandboxError::Service {
        detail: detail.into(),
    }
}

impl Process {
    /// The process that has this id now.
    pub fn of(pid: u32) -> Option<Self> {
        let (state, started) = stat(pid)?;
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, started })
    }

    /// Whether it is still there. A process that has ended and was not yet reaped is not.
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// A handle that stays with this very process; `None` when it is gone.
    fn handle(self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
        // Looked at after opening: if it is the same process now, it is what was opened.
        self.alive().then_some(handle)
    }
}

fn stat(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

impl Record {
    /// A network with nothing but this service, on the same port as inside it: for a health
    /// command in a sandbox of its own.
    pub fn network(&self) -> Network {
        Network::Egress {
            socket: self.socket.clone(),
            port: self.port,
        }
    }

    /// Whether it runs.
    pub fn status(&self) -> Status {
        match (self.supervisor.alive(), self.first.alive()) {
            (true, true) => Status::Running,
            (false, false) => Status::Stopped,
            _ => Status::Changing,
        }
    }

    /// Asks the program to end, kills what has not ended after the grace, and returns when the
    /// supervisor and every process of the service are gone. A service that is not running is
    /// stopped already.
    ///
    /// # Errors
    /// [`SandboxError::Service`] when something is still there afterwards.
    pub async fn stop(&self) -> Result<(), SandboxError> {
        if let Some(handle) = self.supervisor.handle() {
            let failed = |failure| error(format!("cannot signal the supervisor: {failure}"));
            rustix::process::pidfd_send_signal(&handle, Signal::TERM).map_err(failed)?;
            if !gone(&handle, self.grace + GONE).await {
                rustix::process::pidfd_send_signal(&handle, Signal::KILL).map_err(failed)?;
                gone(&handle, GONE).await;
            }
        }
        if let Some(handle) = self.first.handle() {
            // Without a supervisor the launcher is ending it; this only makes sure.
            let _ = rustix::process::pidfd_send_signal(&handle, Signal::KILL);
            gone(&handle, GONE).await;
        }
        match self.status() {
            Status::Stopped => Ok(()),
            status => Err(error(format!(
                "process {} is still there ({status:?})",
                self.supervisor.pid
            ))),
        }
    }

    /// Asks the published port for `path` and returns the status code of the answer.
    ///
    /// # Errors
    /// When nothing answers in time or the answer is not HTTP.
    pub async fn http_status(&self, path: &str, patience: Duration) -> io::Result<u16> {
        let ask = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.host_port)).await?;
            let path = if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            };
            if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path"));
            }
            let request =
                format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(4096).read_to_end(&mut answer).await?;
            let answer = String::from_utf8_lossy(&answer);
            let code = answer
                .strip_prefix("HTTP/1.")
                .and_then(|rest| rest.get(2..5)?.parse().ok());
            code.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
        };
        timeout(patience, ask).await?
    }
}

/// Whether the process behind the handle ended within the time.
async fn gone(handle: &OwnedFd, patience: Duration) -> bool {
    let Ok(watched) = handle.try_clone() else {
        return false;
    };
    let wait = tokio::task::spawn_blocking(move || {
        let patience = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut poll = [PollFd::new(&watched, PollFlags::IN)];
        rustix::event::poll(&mut poll, Some(&patience)).is_ok_and(|ready| ready > 0)
    });
    wait.await.unwrap_or(false)
}

impl Sandbox {
    /// Starts a service and returns once its program is executed. Whether it is healthy is for the
    /// caller to find out.
    ///
    /// # Errors
    /// [`SandboxError::Service`] when the port is taken or the program cannot be started.
    pub async fn start_service(&self, spec: ServiceSpec) -> Result<Record, SandboxError> {
        let refused = |failure: io::Error| error(format!("cannot start the service: {failure}"));
        make_private_directory(&spec.directory).map_err(refused)?;
        let order = self.order(spec);
        crate::check::check(&order.job.spec, &self.forbidden())?;
        let (ours, theirs) = StdUnixStream::pair().map_err(refused)?;
        let mut child = Command::new(&self.shared.options.launcher)
            .arg(SERVICE)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(refused)?;
        ours.set_nonblocking(true).map_err(refused)?;
        let mut ours = tokio::net::UnixStream::from_std(ours).map_err(refused)?;
        let answered = timeout(START, converse(&mut ours, &order)).await;
        // The process we started has left its child on its own.
        drop(child.wait().await);
        let answer = match answered {
            Ok(answer) => answer.map_err(refused)?,
            Err(_) => return Err(error("the supervisor does not answer")),
        };
        record(&answer, order)
    }

    fn forbidden(&self) -> Vec<&Path> {
        self.shared
            .options
            .forbidden
            .iter()
            .map(AsRef::as_ref)
            .collect()
    }

    fn order(&self, service: ServiceSpec) -> Order {
        let socket = service.directory.join("publish.socket");
        let mut spec = service.sandbox;
        spec.profile = Profile::Service;
        spec.network = Network::Publish {
            port: service.port,
            socket: socket.clone(),
        };
        spec.limits = Limits {
            wall: Duration::from_secs(u64::MAX >> 1),
            cpu: Duration::from_secs(u64::MAX >> 1),
            output_bytes: u64::MAX,
            ..spec.limits
        };
        Order {
            job: self.job(spec),
            launcher: self.shared.options.launcher.clone(),
            scratch: self.shared.options.scratch.clone(),
            host_port: service.host_port,
            socket,
            log: service.directory.join("service.log"),
            log_bytes: service.log_bytes.max(4096),
            grace: service.grace,
        }
    }
}

async fn converse(socket: &mut tokio::net::UnixStream, order: &Order) -> io::Result<Answer> {
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    socket.write_all(&line).await?;
    let mut lines = Lines::default();
    let mut buffer = [0; 4096];
    loop {
        let length = socket.read(&mut buffer).await?;
        if length == 0 {
            return Err(io::Error::other("the supervisor ended without an answer"));
        }
        let answers = lines.push(buffer.get(..length).unwrap_or_default())?;
        if let Some(answer) = answers.into_iter().next() {
            return Ok(answer);
        }
    }
}

fn record(answer: &Answer, order: Order) -> Result<Record, SandboxError> {
    let (supervisor, first) = match answer {
        Answer::Ready { supervisor, first } => (*supervisor, *first),
        Answer::Failed { detail } => return Err(error(detail.clone())),
    };
    let ended = || error("the service ended as soon as it was started");
    let Network::Publish { port, .. } = order.job.spec.network else {
        return Err(error("the service has no port"));
    };
    Ok(Record {
        supervisor: Process::of(supervisor).ok_or_else(ended)?,
        first: Process::of(first).ok_or_else(ended)?,
        host_port: order.host_port,
        port,
        socket: order.socket,
        log: order.log,
        grace: order.grace,
    })
}

/// The supervisor's `main`: leaves its parent, then serves.
pub(crate) fn main() -> ExitCode {
    if sys::close_from(3).is_err() {
        return ExitCode::FAILURE;
    }
    match sys::fork() {
        Ok(sys::Forked::Parent(_)) => return ExitCode::SUCCESS,
        Ok(sys::Forked::Child) => {}
        Err(_) => return ExitCode::FAILURE,
    }
    let _ = rustix::process::setsid();
    match supervise() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn supervise() -> io::Result<()> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = fs::File::options().read(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    let mut socket = StdUnixStream::from(socket);
    let order: Order = read_order(&mut socket)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(order, socket))
}

fn read_order(socket: &mut StdUnixStream) -> io::Result<Order> {
    let mut lines = Lines::default();
    let mut buffer = [0; 4096];
    loop {
        let length = socket.read(&mut buffer)?;
        if length == 0 {
            return Err(io::Error::other("no order came"));
        }
        let orders = lines.push(buffer.get(..length).unwrap_or_default())?;
        if let Some(order) = orders.into_iter().next() {
            return Ok(order);
        }
    }
}

/// Runs the service until it ends or is told to.
async fn serve(order: Order, mut starter: StdUnixStream) -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, order.host_port));
    let published = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(failure) => {
            let detail = format!("cannot listen on {address}: {failure}");
            return wire::send(&mut starter, &Answer::Failed { detail });
        }
    };
    let mut told = signal(SignalKind::terminate())?;
    let sink = Log::open(&order.log, order.log_bytes)?.sink();
    let options = Options::new(
        &order.launcher,
        &order.scratch,
        Arc::new(SystemClock::start()),
    );
    let sandbox = Sandbox::trusted(options, order.job.place.clone(), order.job.users);
    let (cancel, cancelled) = watch::channel(false);
    let (terminate, terminated) = watch::channel(false);
    let (started, begun) = oneshot::channel();
    let wishes = Wishes {
        cancel: cancelled,
        terminate: terminated,
        started: Some(started),
    };
    let program = sandbox.execute(order.job.spec.clone(), sink, wishes);
    let mut program = std::pin::pin!(program);
    let first = tokio::select! {
        ended = &mut program => {
            let detail = match ended {
                Ok(outcome) => format!("the program ended at once: {:?}", outcome.ending),
                Err(failure) => failure.to_string(),
            };
            return wire::send(&mut starter, &Answer::Failed { detail });
        }
        first = begun => first.unwrap_or(0).unsigned_abs(),
    };
    let ready = Answer::Ready {
        supervisor: std::process::id(),
        first,
    };
    // Whoever started the service may be gone; the service is not.
    drop(wire::send(&mut starter, &ready));
    drop(starter);
    let forwarding = tokio::task::spawn(forward(published, order.socket.clone()));
    let asked = tokio::select! {
        _ = &mut program => false,
        _ = told.recv() => true,
    };
    if asked {
        let _ = terminate.send(true);
        if timeout(order.grace, &mut program).await.is_err() {
            let _ = cancel.send(true);
            drop(program.await);
        }
    }
    forwarding.abort();
    // The socket leads nowhere now.
    drop(fs::remove_file(&order.socket));
    Ok(())
}

/// Connections at once from the host to the service.
const CONNECTIONS: usize = 256;

async fn forward(published: TcpListener, socket: PathBuf) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS {
            drop(connections.join_next().await);
        }
        while connections.try_join_next().is_some() {}
        match published.accept().await {
            Ok((mut outer, _)) => {
                let socket = socket.clone();
                connections.spawn(async move {
                    if let Ok(mut inner) = crate::socket::connect(&socket).await {
                        // Either side may close at any time.
                        drop(tokio::io::copy_bidirectional(&mut outer, &mut inner).await);
                    }
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A log in two halves, so that the newer one can always grow.
struct Log {
    path: PathBuf,
    file: fs::File,
    written: u64,
    half: u64,
}

impl Log {
    fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        let file = fs::File::options().create(true).append(true).open(path)?;
        Ok(Self {
            written: file.metadata()?.len(),
            path: path.to_owned(),
            file,
            half: bytes / 2,
        })
    }

    fn sink(mut self) -> OutputSink {
        // A log on a full disk loses lines rather than stopping the service.
        Box::new(move |_, bytes| drop(self.write(bytes)))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = usize::try_from(self.half).unwrap_or(usize::MAX).max(1);
        for piece in bytes.chunks(room) {
            if self.written.saturating_add(piece.len() as u64) > self.half {
                let mut older = self.path.clone().into_os_string();
                older.push(".1");
                fs::rename(&self.path, older)?;
                self.file = fs::File::options()
                    .create(true)
                    .append(true)
                    .open(&self.path)?;
                self.written = 0;
            }
            self.file.write_all(piece)?;
            self.written += piece.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.alive());
        let later = Process {
            started: own.started + 1,
            ..own
        };
        assert!(
            !later.alive(),
            "an id that was used again passed for the same process"
        );
        assert!(later.handle().is_none());
    }

    #[test]
    fn the_log_never_passes_its_cap_and_keeps_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::open(&path, 1000).unwrap();
        for number in 0..200 {
            log.write(format!("line {number:04}\n").as_bytes()).unwrap();
        }
        log.write(&[b'x'; 5000]).unwrap();
        log.write(b"last\n").unwrap();
        let size = |path: &Path| fs::metadata(path).map_or(0, |status| status.len());
        assert!(size(&path) + size(&directory.path().join("log.1")) <= 1000);
        assert!(fs::read_to_string(&path).unwrap().ends_with("last\n"));
    }
}
