//! Claiming and ending a job on PostgreSQL: ours beside two queues, each in a database of its own on
//! the same server, which waits for its disk.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::contest::{self, Contender};
use super::{engine, node};
use crate::tools;
use crate::workspace::Workspace;

const PORT: &str = "54329";
const REQUIREMENTS: &str = "xtask/peers/requirements.txt";

/// Measures all in turn, with 16 workers and with 64.
pub(crate) fn run(workspace: &Workspace, rounds: usize) -> Result<()> {
    tools::postgresql()?;
    let ours = engine::example(workspace, "matrix-engine", "job_cost")?;
    let python = tools::environment(workspace, "peers", &[REQUIREMENTS])?.join("bin/python");
    let (node, queue) = (node::program()?, node::install(workspace, "queue")?);
    let script = |path: PathBuf| vec![path.display().to_string()];
    let address = |login| format!("postgres://{login}@127.0.0.1:{PORT}/bench");
    let (owner, login) = (address("admin"), address("measure"));
    let server = Server::start()?;
    let folder = workspace.target.join("bench/queue");
    for (title, workers) in [("16 workers", "16"), ("64 workers", "64")] {
        let title = format!("jobs on PostgreSQL, {title}");
        let after = |jobs| contest::words(&[&owner, workers, jobs]);
        let contenders = [
            Contender {
                name: "Matrix",
                program: ours.clone(),
                before: Vec::new(),
                after: contest::words(&[&owner, &login, workers, "10000"]),
            },
            Contender {
                name: "pg-boss",
                program: node.clone(),
                before: script(queue.join("pgboss_jobs.mjs")),
                after: after("4000"),
            },
            Contender {
                name: "Procrastinate",
                program: python.clone(),
                before: script(workspace.root.join("xtask/peers/procrastinate_jobs.py")),
                after: after("2000"),
            },
        ];
        let even = || server.empty();
        contest::hold((&title, "jobs"), &contenders, rounds, (&folder, &even))?;
    }
    Ok(())
}

/// A server of the benchmark's own; it ends with it.
struct Server {
    folder: PathBuf,
    programs: PathBuf,
    user: Option<(u32, u32)>,
}

impl Server {
    fn start() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("matrix-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let server = Self {
            programs: tools::find_postgresql(Path::new("/")).context("there is no PostgreSQL")?,
            user: unprivileged()?,
            folder,
        };
        if let Some((user, group)) = server.user {
            chown(&server.folder, Some(user), Some(group))?;
        }
        fs::set_permissions(&server.folder, fs::Permissions::from_mode(0o755))?;
        server.ask(
            "initdb",
            &["-U", "admin", "-A", "trust", "-E", "UTF8", "-D"],
        )?;
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {PORT}\nunix_socket_directories = ''\n\
             max_connections = 120\nshared_buffers = '256MB'\n"
        );
        fs::write(server.folder.join("data/postgresql.auto.conf"), settings)?;
        server.ask("pg_ctl", &["start", "-w", "-s", "-D"])?;
        server.say("CREATE ROLE measure LOGIN")?;
        Ok(server)
    }

    /// Runs one of PostgreSQL's programs on the data.
    fn ask(&self, program: &str, words: &[&str]) -> Result<()> {
        let mut command = Command::new(self.programs.join(program));
        command.args(words).arg(self.folder.join("data"));
        command.current_dir(&self.folder);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        // The server must not hold our own pipes open.
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        let status = quiet.stderr(Stdio::null()).status()?;
        if !status.success() {
            bail!("`{program}` ended with {status}");
        }
        Ok(())
    }

    /// Makes the database anew.
    fn empty(&self) -> Result<()> {
        self.say("DROP DATABASE IF EXISTS bench WITH (FORCE)")?;
        self.say("CREATE DATABASE bench")
    }

    fn say(&self, sql: &str) -> Result<()> {
        let status = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-U", "admin", "-h", "127.0.0.1", "-p", PORT])
            .args(["-d", "postgres", "-c", sql])
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            bail!("`{sql}` ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.ask("pg_ctl", &["stop", "-m", "immediate", "-s", "-D"]));
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Whom the server runs as: it refuses to be root's.
fn unprivileged() -> Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let nobody = users.lines().find_map(|line| {
        let mut fields = line.strip_prefix("nobody:")?.split(':').skip(1);
        let mut number = || fields.next()?.parse().ok();
        Some((number()?, number()?))
    });
    nobody
        .context("there is no user `nobody` to run PostgreSQL as")
        .map(Some)
}
