//! A sandbox that stays: commands and files, one request after another, in one isolation.
//!
//! Making a sandbox takes some ten milliseconds, and a tool that reads a file should not. So this
//! same program is started once inside, as the *hands* ([`hands`]), and is told what to do through
//! the one loopback port that the sandbox publishes to the host. The hands have no right that any
//! program inside lacks: they are a convenience, and nothing they answer is believed more than the
//! output of a program would be.
//!
//! One connection is one conversation of a request and its answer at a time ([`wire`]); commands
//! that write belong behind a lock of the caller's, for at the end of each one every process it left
//! is killed.

mod files;
pub(crate) mod hands;
mod search;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use self::wire::{Answer, Frame, Request};
use crate::detect::Sandbox;
use crate::error::SandboxError;
use crate::spec::{Access, Limits, Mount, Network, OutputSink, Profile, SandboxSpec, Stream};

pub use self::search::{Hit, Search};
pub use self::wire::{Done, FileFault};

/// Where this program is shown inside.
const PROGRAM: &str = "/toolchains/matrix/hands";

/// The loopback port that the hands listen on, inside.
const PORT: u16 = 4077;

/// How long the hands may take until they answer for the first time.
const START: Duration = Duration::from_secs(20);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(3);

/// How long the reason is waited for when a connection breaks.
const WHY: Duration = Duration::from_secs(2);

/// Idle connections that are kept.
const KEPT: usize = 8;

/// A sandbox to keep open.
#[derive(Debug, Clone)]
pub struct LiveSpec {
    /// The one writable work tree, shown at `/work`; its `.git`, if any, is read-only.
    pub work_tree: PathBuf,
    /// More directories, such as toolchains.
    pub mounts: Vec<Mount>,
    /// Directories inside that are put before the system's in `PATH`.
    pub path: Vec<PathBuf>,
    /// The environment of every command.
    pub env: BTreeMap<String, String>,
    /// Limits on everything inside together; the wall-clock time is that of the whole stay.
    pub limits: Limits,
}

/// A command inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveCommand {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Working directory inside.
    pub cwd: PathBuf,
    /// More of the environment.
    pub env: BTreeMap<String, String>,
    /// How long it may take; then it and all it started is killed.
    pub wall: Duration,
    /// The most bytes of its output that are passed on; the rest is counted and dropped.
    pub output_bytes: u64,
}

/// An open sandbox. It ends when this value is dropped, with all that runs in it.
#[derive(Debug)]
pub struct Live {
    socket: PathBuf,
    idle: Mutex<Vec<UnixStream>>,
    cancel: watch::Sender<bool>,
    ended: watch::Receiver<Option<String>>,
    _running: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.cancel.send_replace(true);
    }
}

impl Sandbox {
    /// Opens a sandbox that stays, and waits until it answers.
    ///
    /// # Errors
    /// [`SandboxError`] when it cannot be made, or ends at once.
    pub async fn open(&self, spec: LiveSpec) -> Result<Live, SandboxError> {
        let setup = |doing: &str, error: std::io::Error| SandboxError::Setup {
            detail: format!("cannot {doing}: {error}"),
        };
        let options = &self.shared.options;
        let program = std::fs::read_link(&options.launcher)
            .or_else(|_| std::fs::canonicalize(&options.launcher))
            .map_err(|error| setup("find this program", error))?;
        let directory = tempfile::Builder::new()
            .prefix("live-")
            .tempdir_in(&options.scratch)
            .map_err(|error| setup("make a directory", error))?;
        let socket = directory.path().join("s");
        let mut mounts = spec.mounts;
        mounts.push(Mount {
            source: program,
            target: PROGRAM.into(),
            access: Access::ReadOnly,
        });
        let spec = SandboxSpec {
            profile: Profile::Service,
            command: vec![PROGRAM.into(), hands::HANDS.into(), PORT.to_string().into()],
            cwd: "/work".into(),
            env: spec.env,
            work_tree: spec.work_tree,
            mounts,
            path: spec.path,
            network: Network::Publish {
                port: PORT,
                socket: socket.clone(),
            },
            limits: spec.limits,
        };
        let (cancel, cancelled) = watch::channel(false);
        let (ending, ended) = watch::channel(None);
        let sandbox = self.clone();
        let running = tokio::spawn(async move {
            let nothing: OutputSink = Box::new(|_, _| {});
            let how = match sandbox.run(spec, nothing, cancelled).await {
                Ok(outcome) => format!("it ended: {:?}", outcome.ending),
                Err(error) => error.to_string(),
            };
            ending.send_replace(Some(how));
        });
        let live = Live {
            socket,
            idle: Mutex::new(Vec::new()),
            cancel,
            ended,
            _running: running,
            _directory: directory,
        };
        live.greet().await?;
        Ok(live)
    }
}

impl Live {
    /// Waits for the first answer.
    async fn greet(&self) -> Result<(), SandboxError> {
        let greeted = async {
            loop {
                if self.has_ended().is_some() {
                    return Err(self.lost());
                }
                if let Ok(mut stream) = UnixStream::connect(&self.socket).await
                    && matches!(
                        ask(&mut stream, &Request::Hello, None, &mut |_, _| {}).await,
                        Ok((Answer::Hello, _))
                    )
                {
                    self.keep(stream).await;
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let late = |_| SandboxError::Setup {
            detail: format!("the sandbox did not answer within {} s", START.as_secs()),
        };
        tokio::time::timeout(START, greeted).await.map_err(late)?
    }

    /// Why it is no more, if it is not.
    fn has_ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    fn lost(&self) -> SandboxError {
        SandboxError::Lost {
            detail: self
                .has_ended()
                .unwrap_or_else(|| "its connection broke".into()),
        }
    }

    async fn keep(&self, stream: UnixStream) {
        let mut idle = self.idle.lock().await;
        if idle.len() < KEPT {
            idle.push(stream);
        }
    }

    async fn ask(
        &self,
        request: &Request,
        bytes: Option<&[u8]>,
        output: &mut (dyn FnMut(Stream, &[u8]) + Send),
    ) -> Result<(Answer, Vec<u8>), SandboxError> {
        let idle = self.idle.lock().await.pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => UnixStream::connect(&self.socket)
                .await
                .map_err(|_| self.lost())?,
        };
        let mut ended = self.ended.clone();
        let answered = tokio::select! {
            answered = ask(&mut stream, request, bytes, output) => answered.ok(),
            _ = ended.wait_for(Option::is_some) => None,
        };
        let Some(answered) = answered else {
            // Why comes a moment after the connection breaks.
            let _ = tokio::time::timeout(WHY, ended.wait_for(Option::is_some)).await;
            return Err(self.lost());
        };
        self.keep(stream).await;
        Ok(answered)
    }

    /// Runs a command to its end; output goes to `output` as it comes. Dropping the future kills it.
    ///
    /// # Errors
    /// [`SandboxError`] when the command could not be started or the sandbox ended. A command that
    /// fails or is killed is [`Done`].
    pub async fn execute(
        &self,
        command: &LiveCommand,
        output: &mut (dyn FnMut(Stream, &[u8]) + Send),
    ) -> Result<Done, SandboxError> {
        let request = Request::Execute(command.clone());
        match self.ask(&request, None, output).await?.0 {
            Answer::Done(done) => Ok(done),
            Answer::NotStarted { detail } => Err(SandboxError::Program {
                program: command.command.first().cloned().unwrap_or_default(),
                detail,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// A file's bytes, at most so many; a longer file is a fault.
    pub async fn read(
        &self,
        path: &Path,
        most: u64,
    ) -> Result<Result<Vec<u8>, FileFault>, SandboxError> {
        let path = path.to_owned();
        let (answer, bytes) = self
            .ask(&Request::Read { path, most }, None, &mut |_, _| {})
            .await?;
        match answer {
            Answer::Read => Ok(Ok(bytes)),
            Answer::Fault(fault) => Ok(Err(fault)),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes a file, with the directories above it; its mode stays, or is an ordinary one.
    pub async fn write(
        &self,
        path: &Path,
        bytes: &[u8],
    ) -> Result<Result<(), FileFault>, SandboxError> {
        let path = path.to_owned();
        let (answer, _) = self
            .ask(&Request::Write { path }, Some(bytes), &mut |_, _| {})
            .await?;
        match answer {
            Answer::Written => Ok(Ok(())),
            Answer::Fault(fault) => Ok(Err(fault)),
            other => Err(unexpected(&other)),
        }
    }

    /// Looks for files by name or content.
    pub async fn search(
        &self,
        search: &Search,
    ) -> Result<Result<(Vec<Hit>, bool), FileFault>, SandboxError> {
        let request = Request::Search(search.clone());
        match self.ask(&request, None, &mut |_, _| {}).await?.0 {
            Answer::Found { hits, more } => Ok(Ok((hits, more))),
            Answer::Fault(fault) => Ok(Err(fault)),
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(answer: &Answer) -> SandboxError {
    SandboxError::Lost {
        detail: format!("it answered something else: {answer:?}"),
    }
}

/// One request and its answer.
async fn ask(
    stream: &mut UnixStream,
    request: &Request,
    bytes: Option<&[u8]>,
    output: &mut (dyn FnMut(Stream, &[u8]) + Send),
) -> std::io::Result<(Answer, Vec<u8>)> {
    stream.write_all(&wire::asked(request, bytes)?).await?;
    let mut content = Vec::new();
    loop {
        let (kind, payload) = frame(stream).await?;
        match kind {
            Frame::Out => output(Stream::Stdout, &payload),
            Frame::Err => output(Stream::Stderr, &payload),
            Frame::Bytes => content = payload,
            Frame::Word => return Ok((serde_json::from_slice(&payload)?, content)),
        }
    }
}

async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(Frame, Vec<u8>)> {
    let mut head = [0; wire::HEAD];
    stream.read_exact(&mut head).await?;
    let (kind, length) = wire::head(head)?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok((kind, payload))
}
