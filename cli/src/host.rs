//! Hosting a data directory: doing its work and answering on its socket. A directory that keeps
//! its state in itself has one host; on a database that others reach, too, there may be several,
//! each with an engine and a socket of its own.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use matrix_agents::service::Agents;
use matrix_agents::{AgentFunction, Toolbox};
use matrix_changes::retention::{Retention, keep_up};
use matrix_changes::service::Orders;
use matrix_changes::signing::Keyring;
use matrix_changes::{ChangeFunction, Layout, Settings, Workshop};
use matrix_core::system::{SystemClock, SystemEntropy};
use matrix_core::{Authorizer, Caller, Clock, Entropy, Problem, Scope};
use matrix_engine::retention::{self, RetentionFunction};
use matrix_engine::schedule::{ScheduleFunction, Starter};
use matrix_engine::tasks::TaskOrders;
use matrix_engine::{
    DurableFunction, Engine, EngineOptions, Journal, OnFullDisk, Scheduling, TaskFunction,
};
use matrix_identity::principals::Accounts;
use matrix_models::Gateway;
use matrix_models::batch::{BatchFunction, FileFunction};
use matrix_models::inference::ModelLog;
use matrix_sandbox::egress::{Destination, Upstream};
use matrix_sandbox::spec::Limits as SandboxLimits;
use matrix_server::{HostFacts, HostMode, Rooms, Server, bind_socket, serve_socket};
use matrix_store::{Blobs, Database};
use matrix_worktree::Git;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::authority::Authority;
use crate::beside::Beside;
use crate::config::Config;
use crate::environment::Environment;
use crate::models::Books;
use crate::place::{self, Place, unusable};
use crate::sealing::Sealing;
use crate::telling::{self, Telling};
use crate::{blobs, database, models, reader};

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
    /// The engine's work; a host that only asks has none.
    working: Option<Working>,
    /// What it tells those outside, if it drives runs.
    telling: Option<Telling>,
    books: Books,
    beside: Option<Beside>,
    answering: JoinHandle<()>,
    closing: watch::Sender<bool>,
    layout: Layout,
    place: Place,
    lock: File,
}

/// What a host does by itself.
struct Working {
    engine: JoinHandle<()>,
    keeping: Vec<JoinHandle<()>>,
    sealing: Sealing,
    sealer: JoinHandle<()>,
}

/// Whether a host drives runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// It does, and holds the lock.
    Drive,
    /// It only carries requests to the database; other hosts drive what follows from them.
    Ask,
}

impl Host {
    /// Becomes host with a lock that was taken, and begins to work; a host that only asks needs no
    /// lock on the file.
    pub(crate) async fn start(
        config: &Config,
        environment: &Environment,
        (mode, duty): (HostMode, Duty),
        lock: File,
    ) -> Result<Self, Problem> {
        let (clock, entropy) = of_the_system();
        let options = options(mode, environment, &*entropy, config.scheduling.clone());
        let mut layout = reader::layout(config);
        let place = Place::of(&layout, &lock).map_err(|error| unusable(&layout.lock(), &error))?;
        let shared = config.database.value.as_ref();
        let alone = match shared {
            Some(_) => {
                layout = layout.of_process(&options.worker);
                Some(place::begin_alone(&layout).await?)
            }
            None => None,
        };
        let database = database::for_host(config, &layout, &clock, &*entropy).await?;
        let means = (Arc::clone(&clock), Arc::clone(&entropy));
        let blobs = blobs::for_host(config, &layout, means, alone.is_some())?;
        let git = Git::find(environment.path()).await?;
        let accounts = accounts(&database, &clock, &entropy);
        let owner = accounts.claim(&reader::user_name()).await?;
        let exporter = telling::exporter(config)?;
        let sink = exporter.clone().map(telling::sink);
        let journal =
            journal(environment, (&database, &blobs), &clock, &entropy).told_to(sink.clone());
        let settings = settings(config, environment, layout.clone());
        let authorizer = authorizer(&layout, &accounts);
        let means = (&database, &clock, &entropy);
        let asking = (&authorizer, sink);
        let models = models::gateway(config, environment, means, asking, &options.worker)?;
        let workshop = Workshop::new(settings, database, blobs, clock, entropy, git);
        let starters = starters(&workshop, &authorizer);
        let functions = functions(&workshop, starters.clone(), models.clone());
        let engine = engine(shared.is_some(), journal, functions, options.clone());
        let events = reader::events(engine.database(), engine.blobs());
        let rooms = Rooms {
            engine: engine.clone(),
            events: events.clone(),
            workshop: workshop.clone(),
            agents: agents(&workshop),
            models: models.clone(),
            starters,
            accounts: accounts.clone(),
            authorizer: Arc::clone(&authorizer),
            owner: owner.clone(),
        };
        let facts = facts(options.worker, mode, &layout);
        let server = Server::new(rooms, facts, config.model_limits.limits());
        let (closing, answering) = answer(listen(&layout)?, &server);
        let beside = shared.map(|shared| Beside::start(engine.clone(), shared.address(), duty));
        let working =
            (duty == Duty::Drive).then(|| Working::start(&engine, &workshop, &owner, mode));
        let telling = (duty == Duty::Drive)
            .then(|| Telling::start(&engine, &events, (&layout, &authorizer), exporter));
        let books = Books::open(models, engine.clone(), owner.clone());
        Ok(Self {
            engine,
            server,
            accounts,
            owner,
            workshop,
            working,
            telling,
            books,
            beside,
            answering,
            closing,
            layout,
            place,
            lock,
        })
    }

    /// Where its things lie.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where it is host.
    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Lets go of every run at its next step boundary, answers who still asks, and gives the
    /// directory up. Steps that take longer than patience allows are cut off; they are done again.
    pub(crate) async fn end(self) {
        self.engine.drain();
        if let Some(working) = self.working {
            working.end().await;
        }
        if let Some(telling) = self.telling {
            telling.end().await;
        }
        self.closing.send_replace(true);
        drop(self.answering.await);
        self.books.close().await;
        if let Some(beside) = self.beside {
            beside.end().await;
        }
        remove_socket(&self.layout, &self.place);
        drop(self.lock);
    }

    /// Ends at once; what was under way is done again by the next host.
    pub(crate) fn abandon(self) {
        if let Some(working) = self.working {
            working.abandon();
        }
        if let Some(telling) = self.telling {
            telling.abandon();
        }
        if let Some(beside) = self.beside {
            beside.abandon();
        }
        self.books.abandon();
        self.answering.abort();
        remove_socket(&self.layout, &self.place);
    }
}

impl Working {
    fn start(engine: &Engine, workshop: &Workshop, owner: &Caller, mode: HostMode) -> Self {
        let mut keeping = vec![tokio::spawn(keep_up(workshop.clone(), owner.clone()))];
        // A command begins no removal that nobody asked for, least of all before it holds a run.
        if matches!(mode, HostMode::Serve | HostMode::Worker) {
            let kept = workshop.retention().keeping();
            let removing = retention::keep_up(engine.clone(), owner.clone(), kept);
            keeping.push(tokio::spawn(removing));
        }
        let layout = workshop.layout();
        let name = database::named(layout).ok().flatten();
        let sealing = Sealing::new(engine.clone(), Keyring::at(layout.keys()), name);
        let driving = engine.clone();
        Self {
            engine: tokio::spawn(async move { driving.work().await }),
            keeping,
            sealer: tokio::spawn(sealing.clone().keep_up()),
            sealing,
        }
    }

    /// After the engine was told to let go.
    async fn end(self) {
        self.keeping.iter().for_each(JoinHandle::abort);
        drop(tokio::time::timeout(FAREWELL, self.engine).await);
        self.sealer.abort();
        self.sealing.seal().await;
    }

    fn abandon(self) {
        self.engine.abort();
        self.sealer.abort();
        self.keeping.iter().for_each(JoinHandle::abort);
    }
}

fn facts(worker: String, mode: HostMode, layout: &Layout) -> HostFacts {
    HostFacts {
        worker,
        mode,
        version: env!("CARGO_PKG_VERSION").into(),
        data_directory: layout.root().to_owned(),
    }
}

/// The machine's time and chance.
fn of_the_system() -> (Arc<dyn Clock>, Arc<dyn Entropy>) {
    (Arc::new(SystemClock::start()), Arc::new(SystemEntropy))
}

/// Answers on the host's socket until it is told to close.
fn answer(listener: UnixListener, server: &Server) -> (watch::Sender<bool>, JoinHandle<()>) {
    let (closing, closes) = watch::channel(false);
    let answering = serve_socket(listener, server.clone(), closed(closes));
    (closing, tokio::spawn(answering))
}

/// Opens the host's socket. Of several hosts each has its own, and takes away those of hosts that
/// were killed.
fn listen(layout: &Layout) -> Result<UnixListener, Problem> {
    let path = layout.socket();
    let failed = |error: io::Error| unusable(&path, &error);
    if path.starts_with(layout.sockets()) {
        fs::create_dir_all(layout.sockets()).map_err(failed)?;
        for left in fs::read_dir(layout.sockets()).map_err(failed)?.flatten() {
            let dead = std::os::unix::net::UnixStream::connect(left.path())
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if dead {
                drop(fs::remove_file(left.path()));
            }
        }
    }
    Ok(bind_socket(&socket(layout).map_err(failed)?)?)
}

type Starters = Vec<Arc<dyn Starter>>;
type Functions = Vec<Arc<dyn DurableFunction>>;

/// Who may sign in.
fn accounts(database: &Database, clock: &Arc<dyn Clock>, entropy: &Arc<dyn Entropy>) -> Accounts {
    let (clock, entropy) = (Arc::clone(clock), Arc::clone(entropy));
    Accounts::new(database.clone(), clock, entropy, Scope::local())
}

/// The policies of the data directory.
fn authorizer(layout: &Layout, accounts: &Accounts) -> Arc<dyn Authorizer> {
    Arc::new(Authority::new(layout.policy(), accounts.clone()))
}

/// Who knows what schedules ask for.
fn starters(workshop: &Workshop, authorizer: &Arc<dyn Authorizer>) -> Starters {
    vec![
        Arc::new(Orders::new(workshop.clone(), Arc::clone(authorizer))),
        Arc::new(TaskOrders::new(Arc::clone(authorizer))),
    ]
}

/// An engine for itself, or beside others on one database.
fn engine(beside: bool, journal: Journal, functions: Functions, options: EngineOptions) -> Engine {
    if beside {
        Engine::beside_others(journal, functions, options)
    } else {
        Engine::new(journal, functions, options)
    }
}

/// Every kind of run that this program executes.
pub(crate) fn functions(workshop: &Workshop, starters: Starters, models: Gateway) -> Functions {
    let (database, blobs) = (workshop.database().clone(), workshop.blobs().clone());
    vec![
        Arc::new(AgentFunction::new(
            models.clone(),
            agent_workshop(workshop),
            Toolbox::built_in(),
            Arc::clone(workshop.clock()),
        )),
        Arc::new(BatchFunction::new(models, database.clone(), blobs)),
        Arc::new(ChangeFunction::new(workshop.clone())),
        Arc::new(TaskFunction),
        Arc::new(RetentionFunction::new(database.clone())),
        Arc::new(ScheduleFunction::new(database, starters)),
        Arc::new(ModelLog),
        Arc::new(FileFunction),
    ]
}

/// The agents of this directory.
fn agents(workshop: &Workshop) -> Agents {
    let clock = Arc::clone(workshop.clock());
    Agents::new(workshop.database().clone(), clock, Toolbox::built_in())
}

/// What agents work with.
fn agent_workshop(workshop: &Workshop) -> matrix_agents::Workshop {
    let layout = workshop.layout().clone();
    matrix_agents::Workshop {
        machine: workshop.machine().clone(),
        git: workshop.git().clone(),
        blobs: workshop.blobs().clone(),
        workplaces: Arc::new(move |run| layout.work(run)),
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
    let inside = path.strip_prefix(layout.root()).unwrap_or(&path);
    let directory = if let Some(directory) = DIRECTORY.get() {
        directory
    } else {
        let opened = File::open(layout.root())?;
        DIRECTORY.get_or_init(|| opened)
    };
    Ok(Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(inside))
}

/// What the operator's configuration means for changes.
pub(crate) fn settings(config: &Config, environment: &Environment, layout: Layout) -> Settings {
    Settings {
        layout,
        launcher: "/proc/self/exe".into(),
        search: matrix_sandbox::toolchain::Search {
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
        retention: retention_of(config),
    }
}

/// What the operator wants kept.
pub(crate) fn retention_of(config: &Config) -> Retention {
    Retention {
        artifacts: config.keep_artifacts.value,
        runs: config.keep_runs.value,
        releases: config.keep_releases.value,
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

#[cfg_attr(
    not(debug_assertions),
    expect(
        unused_variables,
        reason = "builds for testing can be told another lease"
    )
)]
fn options(
    mode: HostMode,
    environment: &Environment,
    entropy: &dyn Entropy,
    scheduling: Scheduling,
) -> EngineOptions {
    let mut random = [0_u8; 8];
    entropy.fill(&mut random);
    let lease = LEASE;
    // Every process must have the same lease, so it is nothing to configure.
    #[cfg(debug_assertions)]
    let lease = environment
        .get("MATRIX_LEASE_MS")
        .and_then(|text| text.parse().ok())
        .map_or(lease, Duration::from_millis);
    EngineOptions {
        worker: format!("{}-{:016x}", std::process::id(), u64::from_be_bytes(random)),
        concurrency: CONCURRENCY,
        lease,
        on_full_disk: match mode {
            HostMode::Serve | HostMode::Worker => OnFullDisk::Retry,
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
