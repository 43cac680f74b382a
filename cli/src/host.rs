//! Owning a data directory: one process at a time holds its lock, does its work, and answers on
//! its socket.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use matrix_changes::retention::{Retention, keep_up};
use matrix_changes::signing::Keyring;
use matrix_changes::{ChangeFunction, Layout, Settings, Workshop};
use matrix_core::system::{SystemClock, SystemEntropy};
use matrix_core::{Authorizer, Caller, Clock, Code, Entropy, Problem, Scope};
use matrix_engine::{Engine, EngineOptions, Journal, OnFullDisk, Scheduling};
use matrix_identity::principals::Accounts;
use matrix_sandbox::egress::{Destination, Upstream};
use matrix_sandbox::spec::Limits as SandboxLimits;
use matrix_server::{HostFacts, HostMode, Limits, Rooms, Server, bind_socket};
use matrix_store::{Blobs, Database, OpenMode};
use matrix_worktree::Git;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::authority::Authority;
use crate::config::Config;
use crate::environment::Environment;
use crate::reader;
use crate::sealing::Sealing;

/// The data directory cannot be used.
pub(crate) const UNUSABLE: Code = Code::new("HOST-0002", 500, 1, "data directory cannot be used");
/// Another process holds the data directory and does not let go.
pub(crate) const BUSY: Code = Code::new("HOST-0003", 409, 1, "data directory is in use");
/// The data directory was removed or replaced while a process was its host.
pub(crate) const GONE: Code = Code::new("HOST-0004", 500, 1, "data directory is gone");

/// How often a host looks whether its data directory is still there.
const GONE_CHECK: Duration = Duration::from_secs(1);

/// How long an owner may show no heartbeat.
const LEASE: Duration = Duration::from_secs(15);

/// The longest path of a socket that is used as it is; a temporary name beside it is longer.
const SOCKET_PATH_MAX: usize = 96;

/// Runs driven at once.
const CONCURRENCY: usize = 64;

/// How long a host waits for steps under way when it is to end.
const FAREWELL: Duration = Duration::from_secs(10);

/// A host in this process.
pub(crate) struct Host {
    /// The engine.
    pub(crate) engine: Engine,
    /// The routes.
    pub(crate) server: Server,
    /// The accounts.
    pub(crate) accounts: Accounts,
    /// The owner.
    pub(crate) owner: Caller,
    /// The stages' tools.
    pub(crate) workshop: Workshop,
    working: JoinHandle<()>,
    answering: JoinHandle<()>,
    keeping: JoinHandle<()>,
    sealing: Sealing,
    sealer: JoinHandle<()>,
    closing: watch::Sender<bool>,
    layout: Layout,
    place: Place,
    lock: File,
}

/// The place where a host's lock lies: a path, and the file that was behind it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    layout: Layout,
    device: u64,
    inode: u64,
}

impl Place {
    fn of(layout: &Layout, lock: &File) -> io::Result<Self> {
        let data = lock.metadata()?;
        Ok(Self {
            layout: layout.clone(),
            device: data.dev(),
            inode: data.ino(),
        })
    }

    /// Whether the path still leads to the lock that is held.
    fn stands(&self) -> bool {
        match fs::metadata(self.layout.lock()) {
            Ok(data) => (data.dev(), data.ino()) == (self.device, self.inode),
            // Only what is certain counts: a file system may fail for a while.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Ready when the data directory is not there any more, or is another one; whatever this
    /// process still wrote would be lost.
    pub(crate) async fn lost(&self) -> Problem {
        while self.stands() {
            tokio::time::sleep(GONE_CHECK).await;
        }
        let text = format!(
            "{} was removed or replaced while this process was its host",
            self.layout.root().display()
        );
        Problem::new(GONE, text).help("what was recorded in it is gone with it; restore a copy")
    }
}

/// Takes the lock of a data directory, or gives nothing when another process has it.
pub(crate) fn try_lock(layout: &Layout) -> Result<Option<File>, Problem> {
    let open = || -> io::Result<Option<File>> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(layout.root())?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(layout.lock())?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    };
    open().map_err(|error| unusable(layout.root(), &error))
}

/// Whether some process hosts the data directory now.
pub(crate) fn is_hosted(layout: &Layout) -> bool {
    File::options()
        .write(true)
        .open(layout.lock())
        .is_ok_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

/// A place of the data directory that cannot be used.
pub(crate) fn unusable(path: &Path, error: &io::Error) -> Problem {
    let text = format!("{} cannot be used: {error}", path.display());
    let code = match error.kind() {
        io::ErrorKind::StorageFull => matrix_store::error::FULL,
        _ => UNUSABLE,
    };
    Problem::new(code, text).help("name a directory that you may write with --data-dir")
}

impl Host {
    /// Becomes host with a lock that was taken, and begins to work.
    pub(crate) async fn start(
        config: &Config,
        environment: &Environment,
        mode: HostMode,
        lock: File,
    ) -> Result<Self, Problem> {
        let layout = reader::layout(config);
        let place = Place::of(&layout, &lock).map_err(|error| unusable(&layout.lock(), &error))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let database = Database::open(&layout.database(), OpenMode::Host)?;
        let blobs = Blobs::open(layout.blobs())?;
        blobs.clear_incoming()?;
        let git = Git::find(environment.path()).await?;
        let accounts = Accounts::new(
            database.clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            Scope::local(),
        );
        let owner = accounts.claim(&reader::user_name()).await?;
        let journal = journal(environment, (&database, &blobs), &clock, &entropy);
        let settings = settings(config, environment, layout.clone());
        let workshop = Workshop::new(settings, database, blobs, clock, entropy, git);
        let options = options(mode, &workshop, config.scheduling.clone());
        let function = Arc::new(ChangeFunction::new(workshop.clone()));
        let engine = Engine::new(journal, vec![function], options.clone());
        let sealing = Sealing::new(engine.clone(), Keyring::at(layout.keys()));
        let authority = Authority::new(layout.policy(), accounts.clone());
        let authorizer: Arc<dyn Authorizer> = Arc::new(authority);
        let rooms = Rooms {
            engine: engine.clone(),
            workshop: workshop.clone(),
            accounts: accounts.clone(),
            authorizer,
            owner: owner.clone(),
        };
        let facts = HostFacts {
            worker: options.worker,
            mode,
            version: env!("CARGO_PKG_VERSION").into(),
            data_directory: layout.root().to_owned(),
        };
        let server = Server::new(rooms, facts, Limits::default());
        let path = socket(&layout).map_err(|error| unusable(&layout.socket(), &error))?;
        let listener = bind_socket(&path)?;
        let (closing, closes) = watch::channel(false);
        let answering = tokio::spawn({
            let server = server.clone();
            async move { matrix_server::serve_socket(listener, server, closed(closes)).await }
        });
        let working = tokio::spawn({
            let engine = engine.clone();
            async move { engine.work().await }
        });
        let sealer = tokio::spawn(sealing.clone().keep_up());
        let keeping = tokio::spawn(keep_up(workshop.clone(), owner.clone()));
        Ok(Self {
            engine,
            server,
            accounts,
            owner,
            workshop,
            working,
            answering,
            keeping,
            sealing,
            sealer,
            closing,
            layout,
            place,
            lock,
        })
    }

    /// Where it is host.
    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Lets go of every run at its next step boundary, answers who still asks, and gives the
    /// directory up. Steps that take longer than patience allows are cut off; they are done again.
    pub(crate) async fn end(self) {
        self.keeping.abort();
        self.engine.drain();
        drop(tokio::time::timeout(FAREWELL, self.working).await);
        self.sealer.abort();
        self.sealing.seal().await;
        self.closing.send_replace(true);
        drop(self.answering.await);
        remove_socket(&self.layout, &self.place);
        drop(self.lock);
    }

    /// Ends at once; what was under way is done again by the next host.
    pub(crate) fn abandon(self) {
        self.working.abort();
        self.sealer.abort();
        self.keeping.abort();
        self.answering.abort();
        remove_socket(&self.layout, &self.place);
    }
}

/// The journal over a database and its blobs.
#[cfg_attr(
    not(debug_assertions),
    expect(unused_variables, reason = "builds for testing can be told to crash")
)]
fn journal(
    environment: &Environment,
    (database, blobs): (&Database, &Blobs),
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Journal {
    let journal = Journal::new(
        database.clone(),
        blobs.clone(),
        Arc::clone(clock),
        Arc::clone(entropy),
    );
    #[cfg(debug_assertions)]
    let journal = journal.crash_at(crash_point(environment));
    journal
}

/// Removes the host's socket. Nobody else can have made one here while we hold the lock, unless
/// the directory is another one by now.
fn remove_socket(layout: &Layout, place: &Place) {
    if place.stands() {
        drop(fs::remove_file(layout.socket()));
    }
}

/// Ready when the sender says so or is gone.
pub(crate) async fn closed(mut closes: watch::Receiver<bool>) {
    drop(closes.wait_for(|closed| *closed).await);
}

/// The host's socket by a name that fits into a socket's address, which holds some hundred bytes:
/// a deep data directory is named through a descriptor of it.
pub(crate) fn socket(layout: &Layout) -> io::Result<PathBuf> {
    static DIRECTORY: OnceLock<File> = OnceLock::new();
    let path = layout.socket();
    if path.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok(path);
    }
    let directory = if let Some(directory) = DIRECTORY.get() {
        directory
    } else {
        let opened = File::open(layout.root())?;
        DIRECTORY.get_or_init(|| opened)
    };
    let name = path.file_name().unwrap_or_default();
    Ok(Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(name))
}

/// What the operator's configuration means for changes.
pub(crate) fn settings(config: &Config, environment: &Environment, layout: Layout) -> Settings {
    Settings {
        layout,
        launcher: "/proc/self/exe".into(),
        search: matrix_changes::verify::toolchain::Search {
            env: environment.all().clone(),
        },
        vulnerabilities: config.vulnerabilities.value.clone(),
        sandboxes: config.sandboxes.value,
        fetch_hosts: config
            .fetch_hosts
            .value
            .iter()
            .map(|text| destination(text))
            .collect(),
        upstream: upstream(environment),
        limits: SandboxLimits::default(),
        retention: Retention {
            artifacts: config.keep_artifacts.value,
            releases: config.keep_releases.value,
        },
    }
}

/// `host` or `host:port`; without a port that of HTTPS.
fn destination(text: &str) -> Destination {
    match text
        .rsplit_once(':')
        .map(|(host, port)| (host, port.parse()))
    {
        Some((host, Ok(port))) => Destination::new(host, port),
        _ => Destination::new(text, 443),
    }
}

/// The proxy of this machine, from the usual variables.
fn upstream(environment: &Environment) -> Option<Upstream> {
    let text = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"]
        .into_iter()
        .find_map(|name| environment.get(name))?;
    let rest = text
        .strip_prefix("http://")
        .unwrap_or(text)
        .trim_end_matches('/');
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, rest),
    };
    let Destination { host, port } = destination(place);
    let authorization = credentials.map(|plain| {
        use base64::Engine as _;
        format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(plain)
        )
    });
    Some(Upstream {
        host,
        port,
        authorization,
    })
}

fn options(mode: HostMode, workshop: &Workshop, scheduling: Scheduling) -> EngineOptions {
    let mut random = [0_u8; 8];
    workshop.entropy().fill(&mut random);
    EngineOptions {
        worker: format!("{}-{:016x}", std::process::id(), u64::from_be_bytes(random)),
        concurrency: CONCURRENCY,
        lease: LEASE,
        on_full_disk: match mode {
            HostMode::Serve => OnFullDisk::Retry,
            HostMode::Oneshot | HostMode::Background => OnFullDisk::Stop,
        },
        scheduling,
    }
}

/// `MATRIX_CRASH_AT=before:N` or `after:N` kills the process at a boundary of the journal, in
/// builds for testing only.
#[cfg(debug_assertions)]
fn crash_point(environment: &Environment) -> Option<matrix_engine::journal::CrashPoint> {
    use matrix_engine::journal::CrashPoint;
    let (when, seq) = environment.get("MATRIX_CRASH_AT")?.split_once(':')?;
    let seq = seq.parse().ok()?;
    match when {
        "before" => Some(CrashPoint::Before(seq)),
        "after" => Some(CrashPoint::After(seq)),
        _ => None,
    }
}
