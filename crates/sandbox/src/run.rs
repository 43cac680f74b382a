//! One execution, seen from the host.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::check;
use crate::detect::Sandbox;
use crate::error::SandboxError;
use crate::launcher::SANDBOX;
use crate::spec::{Outcome, OutputSink, SandboxSpec, Stream};
use crate::wire::{self, CANCEL, Failure, Lines, OUTPUT_FULL, Report, Stage, TERMINATE};

/// Bytes read from a stream at once.
const CHUNK: usize = 64 << 10;

impl Sandbox {
    /// Runs one command in isolation and waits until it and every process it left have ended.
    ///
    /// Output goes to `output` as it comes. Setting `cancel` to true ends everything; so does
    /// dropping the future, or the end of this process.
    ///
    /// As root, the work tree and the writable mounts belong to the sandbox's own user meanwhile
    /// and to root afterwards; a writable tree is therefore for one execution at a time.
    ///
    /// # Errors
    /// [`SandboxError`] when the command was not executed or its ending is unknown. A command that
    /// fails or is killed is an [`Outcome`].
    pub async fn run(
        &self,
        spec: SandboxSpec,
        output: OutputSink,
        cancel: watch::Receiver<bool>,
    ) -> Result<Outcome, SandboxError> {
        let (_keep, terminate) = watch::channel(false);
        let wishes = Wishes {
            cancel,
            terminate,
            started: None,
        };
        self.execute(spec, output, wishes).await
    }

    /// Runs with everything a supervisor may wish.
    pub(crate) async fn execute(
        &self,
        spec: SandboxSpec,
        output: OutputSink,
        wishes: Wishes,
    ) -> Result<Outcome, SandboxError> {
        let forbidden: Vec<&Path> = self
            .shared
            .options
            .forbidden
            .iter()
            .map(AsRef::as_ref)
            .collect();
        check::check(&spec, &forbidden)?;
        let started = self.shared.options.clock.monotonic();
        let program = spec
            .command
            .first()
            .map(|word| word.to_string_lossy().into_owned())
            .unwrap_or_default();
        let limit = spec.limits.output_bytes;
        let (child, control) = self.launch(spec).await?;
        let mut conversation = Conversation {
            control,
            lines: Lines::default(),
            output,
            seen: 0,
            limit,
            wishes,
            last: None,
        };
        let report = conversation.follow(child).await?;
        let duration = self
            .shared
            .options
            .clock
            .monotonic()
            .saturating_sub(started);
        match report {
            Report::Ended {
                ending,
                mechanism,
                denials,
            } => Ok(Outcome {
                ending,
                denials,
                mechanism,
                duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                output_bytes: conversation.seen,
            }),
            Report::Failed(failure) => Err(refine(failure, program)),
            Report::Started { .. } => Err(lost("it reported a start after its end")),
        }
    }

    async fn launch(&self, spec: SandboxSpec) -> Result<(Child, UnixStream), SandboxError> {
        let setup = |doing: &str, error: std::io::Error| SandboxError::Setup {
            detail: format!("cannot {doing}: {error}"),
        };
        let bytes = wire::job_bytes(&self.job(spec)).map_err(|error| SandboxError::Spec {
            detail: error.to_string(),
        })?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()
            .map_err(|error| setup("make a socket", error))?;
        ours.set_nonblocking(true)
            .map_err(|error| setup("prepare a socket", error))?;
        let child = Command::new(&self.shared.options.launcher)
            .arg(SANDBOX)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| setup("start the launcher", error))?;
        let mut control =
            UnixStream::from_std(ours).map_err(|error| setup("watch a socket", error))?;
        control
            .write_all(&bytes)
            .await
            .map_err(|error| setup("send the launcher its job", error))?;
        Ok((child, control))
    }
}

pub(crate) fn refine(failure: Failure, program: String) -> SandboxError {
    let Failure { stage, detail } = failure;
    match stage {
        Stage::Spec => SandboxError::Spec { detail },
        Stage::Isolation => SandboxError::Setup { detail },
        Stage::NotFound | Stage::Execute => SandboxError::Program { program, detail },
    }
}

fn lost(detail: &str) -> SandboxError {
    SandboxError::Lost {
        detail: detail.into(),
    }
}

/// What may be asked of an execution while it runs.
pub(crate) struct Wishes {
    /// Kill everything.
    pub(crate) cancel: watch::Receiver<bool>,
    /// Ask the program to end by itself.
    pub(crate) terminate: watch::Receiver<bool>,
    /// Told the id of the first process inside once the program is started.
    pub(crate) started: Option<tokio::sync::oneshot::Sender<i32>>,
}

struct Conversation {
    control: UnixStream,
    lines: Lines,
    output: OutputSink,
    seen: u64,
    limit: u64,
    wishes: Wishes,
    last: Option<Report>,
}

impl Conversation {
    /// Streams output and listens to the launcher until both have ended.
    async fn follow(&mut self, mut child: Child) -> Result<Report, SandboxError> {
        let mut stdout = child.stdout.take();
        let mut stderr = child.stderr.take();
        let (mut from_out, mut from_err) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut words = vec![0; 4096];
        let (mut listening, mut cancellable, mut terminable) = (true, true, true);
        while listening || stdout.is_some() || stderr.is_some() {
            tokio::select! {
                read = read_some(&mut stdout, &mut from_out), if stdout.is_some() => {
                    match read {
                        Some(bytes) => self.pass(Stream::Stdout, bytes).await,
                        None => stdout = None,
                    }
                }
                read = read_some(&mut stderr, &mut from_err), if stderr.is_some() => {
                    match read {
                        Some(bytes) => self.pass(Stream::Stderr, bytes).await,
                        None => stderr = None,
                    }
                }
                read = self.control.read(&mut words), if listening => {
                    let length = read.unwrap_or(0);
                    listening = length > 0;
                    self.hear(words.get(..length).unwrap_or_default())?;
                }
                wished = wish(&mut self.wishes.cancel), if cancellable => {
                    cancellable = false;
                    if wished {
                        self.tell(CANCEL).await;
                    }
                }
                wished = wish(&mut self.wishes.terminate), if terminable => {
                    terminable = false;
                    if wished {
                        self.tell(TERMINATE).await;
                    }
                }
            }
        }
        let status = child.wait().await;
        self.last.take().ok_or_else(|| {
            lost(&status.map_or_else(|error| error.to_string(), |status| status.to_string()))
        })
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), SandboxError> {
        let reports = self
            .lines
            .push(bytes)
            .map_err(|error| lost(&error.to_string()))?;
        for report in reports {
            if let Report::Started { pid } = report {
                if let Some(started) = self.wishes.started.take() {
                    // Whoever asked may no longer wait.
                    let _ = started.send(pid);
                }
            } else {
                self.last = Some(report);
            }
        }
        Ok(())
    }

    /// Passes on what is within the limit; the byte beyond it ends the execution.
    async fn pass(&mut self, stream: Stream, bytes: &[u8]) {
        let room = usize::try_from(self.limit.saturating_sub(self.seen)).unwrap_or(usize::MAX);
        let within = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        if !within.is_empty() {
            (self.output)(stream, within);
        }
        let before = self.seen;
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        if before <= self.limit && self.seen > self.limit {
            self.tell(OUTPUT_FULL).await;
        }
    }

    /// A launcher that has already ended needs no word.
    async fn tell(&mut self, word: u8) {
        drop(self.control.write_all(&[word]).await);
    }
}

async fn read_some<'a>(
    stream: &mut Option<impl AsyncReadExt + Unpin>,
    buffer: &'a mut [u8],
) -> Option<&'a [u8]> {
    let length = stream.as_mut()?.read(buffer).await.ok()?;
    (length > 0).then(|| buffer.get(..length))?
}

/// True when asked; false when nobody can ask any more.
async fn wish(asked: &mut watch::Receiver<bool>) -> bool {
    asked.wait_for(|asked| *asked).await.is_ok()
}
