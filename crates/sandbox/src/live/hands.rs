//! The hands: this program inside a sandbox that stays, doing what the host asks.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use matrix_core::Clock;
use matrix_core::system::SystemClock;
use rustix::process::{Pid, Signal};

use super::wire::{self, Answer, Done, FileFault, Frame, Request};
use super::{LiveCommand, files, search};

/// First argument of the hands.
pub(crate) const HANDS: &str = "__hands";

/// Bytes read from a command at once.
const CHUNK: usize = 32 << 10;

/// How often what a command left is looked for again: a process may have forked meanwhile.
const SWEEPS: usize = 20;

/// How long may pass between a command's end and the end of its output, once all it left is killed.
const DREGS: Duration = Duration::from_secs(2);

/// Serves until the sandbox ends.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let port = args.next().and_then(|port| port.to_str()?.parse().ok());
    let Some(listener) =
        port.and_then(|port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
    else {
        return ExitCode::FAILURE;
    };
    for stream in listener.incoming().flatten() {
        drop(stream.set_nodelay(true));
        // A thread that could not be started closes the connection, which the host notices.
        drop(thread::Builder::new().spawn(move || converse(&stream)));
    }
    ExitCode::SUCCESS
}

/// Answers requests until the other side closes.
fn converse(stream: &TcpStream) {
    while let Ok(Some(request)) = request(stream) {
        if answer(stream, request).is_err() {
            return;
        }
    }
}

fn frame(mut stream: &TcpStream) -> io::Result<(Frame, Vec<u8>)> {
    let mut head = [0; wire::HEAD];
    stream.read_exact(&mut head)?;
    let (kind, length) = wire::head(head)?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok((kind, payload))
}

fn request(stream: &TcpStream) -> io::Result<Option<Request>> {
    match frame(stream)? {
        (Frame::Word, payload) => Ok(Some(serde_json::from_slice(&payload)?)),
        _ => Ok(None),
    }
}

fn say(mut stream: &TcpStream, kind: Frame, payload: &[u8]) -> io::Result<()> {
    stream.write_all(&wire::framed(kind, payload)?)
}

fn answer(stream: &TcpStream, request: Request) -> io::Result<()> {
    let answer = match request {
        Request::Hello => Answer::Hello,
        Request::Execute(command) => execute(stream, &command)?,
        Request::Read { path, most } => match files::read(&path, most) {
            Ok(bytes) => {
                say(stream, Frame::Bytes, &bytes)?;
                Answer::Read
            }
            Err(fault) => Answer::Fault(fault),
        },
        Request::Write { path } => match frame(stream)? {
            (Frame::Bytes, bytes) => {
                files::write(&path, &bytes).map_or_else(Answer::Fault, |()| Answer::Written)
            }
            _ => Answer::Fault(FileFault::Refused {
                why: "the content is missing".into(),
            }),
        },
        Request::Search(asked) => match search::search(&asked) {
            Ok((hits, more)) => Answer::Found { hits, more },
            Err(fault) => Answer::Fault(fault),
        },
    };
    say(stream, Frame::Word, &serde_json::to_vec(&answer)?)
}

/// What ends the wait for a command.
enum Event {
    Exited(io::Result<ExitStatus>),
    /// The host does not want it any more.
    Hung,
}

/// Runs a command and kills what it leaves.
fn execute(stream: &TcpStream, asked: &LiveCommand) -> io::Result<Answer> {
    let clock = SystemClock::start();
    let Some((program, arguments)) = asked.command.split_first() else {
        return Ok(Answer::NotStarted {
            detail: "the command is empty".into(),
        });
    };
    let started = Command::new(program)
        .args(arguments)
        .current_dir(&asked.cwd)
        .envs(&asked.env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            return Ok(Answer::NotStarted {
                detail: error.to_string(),
            });
        }
    };
    let passed = Arc::new(Passed {
        out: Mutex::new(stream.try_clone()?),
        seen: AtomicU64::new(0),
        most: asked.output_bytes,
    });
    let outputs = [
        child
            .stdout
            .take()
            .map(|pipe| pass(pipe, Frame::Out, &passed)),
        child
            .stderr
            .take()
            .map(|pipe| pass(pipe, Frame::Err, &passed)),
    ];
    let (tell, hear) = mpsc::channel();
    let exited = tell.clone();
    thread::spawn(move || exited.send(Event::Exited(child.wait())));
    let watched = stream.try_clone()?;
    thread::spawn(move || {
        // The host says nothing while a command runs: a byte to read is the end of the connection.
        if !matches!(watched.peek(&mut [0]), Ok(1)) {
            let _ = tell.send(Event::Hung);
        }
    });
    let first = hear.recv_timeout(asked.wall);
    sweep();
    let late = first.is_err();
    let status = match first {
        Ok(Event::Exited(status)) => Some(status?),
        Ok(Event::Hung) => return Err(io::ErrorKind::BrokenPipe.into()),
        Err(_) => match hear.recv_timeout(DREGS) {
            Ok(Event::Exited(status)) => Some(status?),
            _ => None,
        },
    };
    for output in outputs.into_iter().flatten() {
        // What holds a pipe open beyond its killing is not waited for.
        let _ = output.recv_timeout(DREGS);
    }
    passed.close();
    Ok(Answer::Done(Done {
        code: status.and_then(|status| status.code()).filter(|_| !late),
        signal: status.and_then(|status| status.signal()),
        late,
        output_bytes: passed.seen.load(Ordering::Acquire),
        duration_ms: u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX),
    }))
}

/// Where a command's output goes.
struct Passed {
    out: Mutex<TcpStream>,
    seen: AtomicU64,
    most: u64,
}

impl Passed {
    /// Passes on what is within the limit.
    fn pass(&self, kind: Frame, bytes: &[u8]) {
        let before = self.seen.fetch_add(bytes.len() as u64, Ordering::AcqRel);
        let room = usize::try_from(self.most.saturating_sub(before)).unwrap_or(usize::MAX);
        let within = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if !within.is_empty() {
            // A host that is gone is noticed by who waits for the command.
            drop(say(&out, kind, within));
        }
    }

    /// Nothing is passed on any more: what comes now belongs to nobody.
    fn close(&self) {
        let _out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        self.seen.fetch_max(self.most, Ordering::AcqRel);
    }
}

/// Reads a pipe to its end in a thread of its own.
fn pass(
    mut pipe: impl Read + Send + 'static,
    kind: Frame,
    passed: &Arc<Passed>,
) -> mpsc::Receiver<()> {
    let (tell, hear) = mpsc::channel();
    let passed = Arc::clone(passed);
    thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            passed.pass(kind, buffer.get(..length).unwrap_or_default());
        }
        let _ = tell.send(());
    });
    hear
}

/// Kills every process inside but the sandbox's first one and ourselves.
fn sweep() {
    for _ in 0..SWEEPS {
        let mut found = false;
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(pid) = pid.filter(|pid: &i32| *pid > 1).and_then(Pid::from_raw) else {
                continue;
            };
            if pid != rustix::process::getpid() && is_alive(pid) {
                found = true;
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        if !found {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether it runs; one that only waits to be reaped does not.
fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let stat = stat.unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}
