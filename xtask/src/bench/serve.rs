//! The server: how soon it answers, and how much memory it holds while it has nothing to do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bench::measure::{self, Samples};
use crate::machine::Stopwatch;
use crate::say;
use crate::workspace::Workspace;

/// How long a server may take before the measurement gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(2);

/// From starting `matrix serve` in a new data directory to its first answer, and its resident
/// memory then.
pub(crate) fn run(workspace: &Workspace, rounds: usize) -> Result<()> {
    let matrix = workspace.build("quick")?;
    let (mut ready, mut memory) = (Vec::new(), Vec::new());
    let folder = workspace.target.join("bench").join("serve");
    for _ in 0..rounds {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let port = free_port()?;
        let watch = Stopwatch::start();
        let mut server = Command::new(&matrix)
            .args([
                "serve",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--data-dir",
            ])
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start `matrix serve`")?;
        let answered = until_alive(&mut server, (port, "/livez"), PATIENCE, INTERVAL);
        let took = watch.elapsed();
        let resident = resident_kb(server.id());
        server.kill().context("cannot end `matrix serve`")?;
        server.wait().context("cannot end `matrix serve`")?;
        answered?;
        ready.push(took);
        memory.push(resident?);
    }
    measure::table("server ready", &[("matrix serve", &Samples::new(ready)?)]);
    memory.sort_unstable();
    let median = memory.get(memory.len() / 2).copied().unwrap_or_default();
    say::line(&format!(
        "resident memory when ready: {} MB (median)",
        median / 1024
    ));
    Ok(())
}

/// A port that nobody listens on.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr().context("no free port")?.port())
}

/// Waits until a server answers a question that needs no body.
pub(super) fn until_alive(
    server: &mut Child,
    (port, path): (u16, &str),
    patience: Duration,
    interval: Duration,
) -> Result<()> {
    let watch = Stopwatch::start();
    while watch.elapsed() < patience {
        if let Some(status) = server.try_wait().context("cannot watch the server")? {
            bail!("the server ended with {status}");
        }
        if alive(port, path).unwrap_or(false) {
            return Ok(());
        }
        std::thread::sleep(interval);
    }
    bail!("the server did not answer within {} s", patience.as_secs())
}

fn alive(port: u16, path: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// The memory that a process holds.
pub(super) fn resident_kb(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .context("cannot read the server's memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next())
        .and_then(|number| number.parse().ok())
        .context("the system does not tell the server's memory")
}
