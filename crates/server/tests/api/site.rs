//! A host with everything real but the durable function, and a client that sends what it is told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use matrix_agents::service::Agents;
use matrix_changes::Layout;
use matrix_changes::verify::Search;
use matrix_changes::workshop::{Settings, Workshop};
use matrix_core::system::{SystemClock, SystemEntropy};
use matrix_core::{Authorised, Caller, Clock, Entropy, RunId, Scope};
use matrix_engine::spans::SpanSink;
use matrix_engine::{
    DurableFunction, Engine, EngineOptions, Events, Journal, NewRun, OnFullDisk, Run, RunError,
    Step,
};
use matrix_identity::{Access, Accounts, PolicyEngine, Role, UserAdd};
use matrix_models::provider::{Http, HttpOptions, Providers};
use matrix_models::sources::KeySources;
use matrix_models::{Gateway, GatewayParts, Guards, Registry};
use matrix_server::{
    AllowedNames, Client, Exposure, HostFacts, HostMode, Limits, Rooms, Server, bind, bind_socket,
    serve_socket, serve_tcp,
};
use matrix_store::{Blobs, Database, OpenMode};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The operating-system user of the tests.
const OWNER: &str = "olga";

/// The host's name among the owners of runs.
const WORKER: &str = "host-1";

/// One step, then whatever its input says: wait for a signal, ask a question, work until it is
/// cancelled, or end.
struct Function;

#[async_trait]
impl DurableFunction for Function {
    fn kind(&self) -> &'static str {
        "test"
    }

    fn version(&self) -> &'static str {
        "1"
    }

    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        run.step(Step::read("first"), |_| async { Ok(1_u32) })
            .await?;
        match input.as_str() {
            Some("signal") => run.signal("go").await,
            Some("long") => {
                run.step(Step::read("long"), |context| async move {
                    context.progress(40, Some(100), "rows").await?;
                    let mut cancelled = context.cancelled.clone();
                    drop(cancelled.wait_for(|cancelled| *cancelled).await);
                    Ok(json!("stopped"))
                })
                .await
            }
            Some("question") => {
                let decision = run.approval("gate", &json!({ "diff": "abc" })).await?;
                Ok(json!(decision.verdict))
            }
            _ => Ok(input),
        }
    }
}

/// A host with its two doors open.
pub(crate) struct Site {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) engine: Engine,
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) owner: Caller,
    /// The token of a service account that may submit and read.
    pub(crate) service: String,
    /// The token of a user who may submit and approve.
    pub(crate) user: String,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Site {
    pub(crate) async fn open() -> Self {
        Self::with(Limits::default()).await
    }

    /// One whose runs are told to a tracing system.
    pub(crate) async fn told_to(sink: Arc<dyn SpanSink>) -> Self {
        Self::of(Limits::default(), Some(sink)).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::of(limits, None).await
    }

    async fn of(limits: Limits, sink: Option<Arc<dyn SpanSink>>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let layout = Layout::new(directory.path(), None);
        let database = Database::open(&layout.database(), OpenMode::Host).unwrap();
        let blobs = Blobs::open(layout.blobs()).unwrap();
        let engine = engine((&database, &blobs), &clock, &entropy, sink.clone());
        let accounts = Accounts::new(
            database.clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            Scope::local(),
        );
        let owner = accounts.claim(OWNER).await.unwrap();
        let policy = PolicyEngine::load(&layout.policy()).unwrap();
        let access = Access::new(Arc::new(policy), Arc::new(accounts.clone()));
        let (service, user) = tokens(&accounts, &access, &owner, directory.path()).await;
        let workshop = workshop(&layout, database, blobs, clock, entropy).await;
        let events = Events::new(
            engine.database().clone(),
            engine.blobs().clone(),
            matrix_changes::TOPICS,
            Arc::new(matrix_changes::verify::secrets_in),
        );
        let rooms = Rooms {
            engine: engine.clone(),
            agents: Agents::new(
                engine.database().clone(),
                Arc::clone(engine.clock()),
                matrix_agents::Toolbox::built_in(),
            ),
            models: gateway(&engine, &access, sink),
            events,
            workshop,
            starters: Vec::new(),
            accounts,
            authorizer: Arc::new(access),
            owner: owner.clone(),
        };
        let host = HostFacts {
            worker: WORKER.into(),
            mode: HostMode::Serve,
            version: "0.1.0".into(),
            data_directory: directory.path().to_owned(),
        };
        let server = Server::new(rooms, host, limits);
        let loopback = "127.0.0.1:0".parse().unwrap();
        let listener = bind(loopback, Exposure::Loopback).await.unwrap();
        let address = listener.local_addr().unwrap();
        let names = AllowedNames::loopback(address);
        let socket = layout.socket();
        let unix = bind_socket(&socket).unwrap();
        let stop = watch::Sender::new(false);
        let doors = (listener, names, unix);
        let tasks = open_doors(doors, &server, &engine, &stop);
        Self {
            directory,
            engine,
            server,
            address,
            socket,
            owner,
            service,
            user,
            stop,
            tasks,
        }
    }

    /// Tells both doors to close and waits until they have.
    pub(crate) async fn close(mut self) {
        self.stop.send_replace(true);
        self.engine.drain();
        for task in std::mem::take(&mut self.tasks) {
            let ended = tokio::time::timeout(Duration::from_secs(20), task).await;
            ended.expect("a door or the engine did not end").unwrap();
        }
    }

    /// Begins to tell both doors to close.
    pub(crate) fn begin_close(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.socket).await.unwrap()
    }

    /// Starts a run of the test function.
    pub(crate) async fn run(&self, input: Value) -> RunId {
        let new = NewRun {
            kind: "test".into(),
            title: "a test".into(),
            input,
            caller: self.owner.clone(),
            placing: matrix_engine::queue::Placing::default(),
        };
        self.engine.create_run(new).await.unwrap()
    }

    /// Starts a run and waits until it ended or waits.
    pub(crate) async fn settled(&self, input: Value) -> RunId {
        let run = self.run(input).await;
        self.engine.settled(run).await.unwrap();
        run
    }

    pub(crate) fn ask(&self, method: &str, address: &str) -> Ask {
        Ask {
            to: self.address,
            method: method.into(),
            address: address.into(),
            headers: vec![("host".into(), self.address.to_string())],
            body: Bytes::new(),
        }
    }

    /// A request with the user's token.
    pub(crate) fn get(&self, address: &str) -> Ask {
        self.ask("GET", address).token(&self.user)
    }
}

fn gateway(engine: &Engine, access: &Access, spans: Option<Arc<dyn SpanSink>>) -> Gateway {
    let database = engine.database().clone();
    let clock = Arc::clone(engine.clock());
    let http = Http::new(HttpOptions::default()).unwrap();
    Gateway::new(GatewayParts {
        registry: Registry::new(
            database.clone(),
            Arc::clone(&clock),
            None,
            KeySources::default(),
        ),
        database,
        providers: Providers::new(http),
        guards: Guards::default(),
        authorizer: Arc::new(access.clone()),
        holder: WORKER.into(),
        clock,
        entropy: Arc::clone(engine.entropy()),
        spans,
        log: None,
    })
}

fn open_doors(
    (listener, names, unix): (TcpListener, AllowedNames, UnixListener),
    server: &Server,
    engine: &Engine,
    stop: &watch::Sender<bool>,
) -> Vec<JoinHandle<()>> {
    let told = |mut stop: watch::Receiver<bool>| async move {
        drop(stop.wait_for(|stop| *stop).await);
    };
    let tcp = serve_tcp(listener, names, server.clone(), told(stop.subscribe()));
    let socket = serve_socket(unix, server.clone(), told(stop.subscribe()));
    let working = engine.clone();
    vec![
        tokio::spawn(tcp),
        tokio::spawn(socket),
        tokio::spawn(async move { working.work().await }),
    ]
}

fn engine(
    (database, blobs): (&Database, &Blobs),
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
    sink: Option<Arc<dyn SpanSink>>,
) -> Engine {
    let journal = Journal::new(
        database.clone(),
        blobs.clone(),
        Arc::clone(clock),
        Arc::clone(entropy),
    )
    .told_to(sink);
    let options = EngineOptions {
        worker: WORKER.into(),
        concurrency: 8,
        lease: Duration::from_secs(15),
        on_full_disk: OnFullDisk::Stop,
        scheduling: matrix_engine::Scheduling::default(),
    };
    Engine::new(journal, vec![Arc::new(Function)], options)
}

async fn tokens(
    accounts: &Accounts,
    access: &Access,
    owner: &Caller,
    directory: &Path,
) -> (String, String) {
    let file = directory.join("api.token");
    accounts
        .ensure_service_token(owner, "api", &file)
        .await
        .unwrap();
    let service = std::fs::read_to_string(file).unwrap().trim().to_owned();
    let add = UserAdd {
        name: "ursula".into(),
        roles: [Role::Approver, Role::Submitter].into(),
    };
    let request = Authorised::obtain(access, owner.clone(), add).unwrap();
    let user = accounts.user_add(request).await.unwrap();
    (service, user.token.reveal().to_owned())
}

async fn workshop(
    layout: &Layout,
    database: Database,
    blobs: Blobs,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Workshop {
    #[expect(
        clippy::default_trait_access,
        reason = "the type's room is not one that the server's may name"
    )]
    let settings = Settings {
        layout: layout.clone(),
        launcher: layout.root().join("no-launcher"),
        search: Search::default(),
        vulnerabilities: None,
        sandboxes: 1,
        fetch_hosts: Vec::new(),
        upstream: None,
        limits: Default::default(),
        retention: Default::default(),
    };
    let path = "/usr/local/bin:/usr/bin:/bin".as_ref();
    let git = matrix_changes::Git::find(path).await.unwrap();
    Workshop::new(settings, database, blobs, clock, entropy, git)
}

/// A request that says exactly what it is told to.
#[derive(Clone)]
pub(crate) struct Ask {
    to: SocketAddr,
    method: String,
    address: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Ask {
    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Sets a header; an empty value takes it away.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.headers.push((name.into(), value.into()));
        }
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into();
        self.header("content-type", "application/json")
    }

    pub(crate) fn raw(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and gives the answer with its body still on its way.
    pub(crate) async fn open(self) -> Response<Incoming> {
        let stream = TcpStream::connect(self.to).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(Method::from_bytes(self.method.as_bytes()).unwrap())
            .uri(self.address);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body)).unwrap();
        let sent = tokio::time::timeout(Duration::from_secs(20), sender.send_request(request));
        sent.await.expect("no answer").unwrap()
    }

    pub(crate) async fn send(self) -> Answer {
        let what = format!("{} {}", self.method, self.address);
        let response = self.open().await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            what,
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }
}

pub(crate) struct Answer {
    what: String,
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that it is a whole problem of this code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["code"], code, "{}: {problem}", self.what);
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert!(problem["exit_code"].is_u64(), "{problem}");
        assert_ne!(problem["detail"], "", "{problem}");
        problem
    }
}
