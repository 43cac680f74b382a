//! A PostgreSQL server of a test's own: a fresh cluster in a temporary directory, reached by its
//! Unix socket only, run by a user without rights, with fsync on. It ends with the test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use matrix_core::Clock;
use matrix_core::system::SystemClock;
use matrix_store::Database;
use matrix_store::postgres::{Address, PostgresOptions, migrate};

/// The login that the program uses.
pub(crate) const LOGIN: &str = "matrix_login";

pub(crate) struct Server {
    directory: tempfile::TempDir,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    databases: AtomicU32,
}

impl Server {
    /// Starts a server with a migrated database to copy from.
    pub(crate) fn start() -> Self {
        let server = Self {
            directory: tempfile::Builder::new()
                .prefix("pg")
                .tempdir_in("/tmp")
                .unwrap(),
            programs: programs(),
            user: unprivileged(),
            databases: AtomicU32::new(0),
        };
        if let Some((user, group)) = server.user {
            chown(server.path(), Some(user), Some(group)).unwrap();
        }
        fs::set_permissions(server.path(), fs::Permissions::from_mode(0o755)).unwrap();
        server.run(
            "initdb",
            &[
                "--no-sync",
                "-U",
                "admin",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "-D",
            ],
        );
        let settings = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nmax_connections = 80\n\
             shared_buffers = '32MB'\nlogging_collector = off\nlog_line_prefix = ''\n",
            server.path().display()
        );
        let file = server.data().join("postgresql.auto.conf");
        fs::write(&file, settings).unwrap();
        server.begin();
        server.admin("postgres", &format!("CREATE ROLE {LOGIN} LOGIN"));
        server.admin("postgres", "CREATE DATABASE pattern");
        migrate(&server.address("admin", "pattern"), Some(LOGIN)).unwrap();
        server
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(crate) fn begin(&self) {
        let log = self.path().join("log");
        self.run(
            "pg_ctl",
            &["start", "-w", "-s", "-l", log.to_str().unwrap(), "-D"],
        );
    }

    /// Ends the server as a power cut would.
    pub(crate) fn cut(&self) {
        self.run("pg_ctl", &["stop", "-m", "immediate", "-s", "-D"]);
    }

    /// Runs one of PostgreSQL's programs on the cluster.
    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        command
            .args(arguments)
            .arg(self.data())
            .current_dir(self.path());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        // A server must not hold the test's own pipes open.
        let output = command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        let log = fs::read_to_string(self.path().join("log")).unwrap_or_default();
        assert!(output.success(), "{program} failed: {output}\n{log}");
    }

    pub(crate) fn url(&self, login: &str, database: &str) -> String {
        format!(
            "host={} user={login} dbname={database}",
            self.path().display()
        )
    }

    pub(crate) fn address(&self, login: &str, database: &str) -> Address {
        Address::parse(&self.url(login, database)).unwrap()
    }

    /// Runs SQL as the administrator and gives what it prints.
    pub(crate) fn admin(&self, database: &str, sql: &str) -> String {
        let output = Command::new(self.programs.join("psql"))
            .args([
                "-X",
                "-A",
                "-t",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "admin",
            ])
            .arg("-h")
            .arg(self.path())
            .args(["-d", database, "-c", sql])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}\n{error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A new database with every table and no row.
    pub(crate) fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("d{number}");
        self.admin(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE pattern"),
        );
        name
    }

    /// Takes every row out of a database.
    pub(crate) fn empty(&self, database: &str) {
        let empty = "DO $$ DECLARE name TEXT; BEGIN
            FOR name IN SELECT oid::regclass FROM pg_class
                WHERE relnamespace = 'matrix'::regnamespace AND relkind IN ('r', 'p')
                      AND NOT relispartition AND relname NOT IN ('shards', 'refinery_schema_history')
                ORDER BY relname IN ('runs', 'principals')
            LOOP EXECUTE format('DELETE FROM %s', name); END LOOP;
            UPDATE matrix.shards SET lsn = 0; END $$";
        self.admin(database, empty);
    }

    /// How a process of the product connects.
    pub(crate) fn connect(&self, database: &str) -> Database {
        Database::connect(&self.options(LOGIN, database)).unwrap()
    }

    pub(crate) fn options(&self, login: &str, database: &str) -> PostgresOptions {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        PostgresOptions {
            address: self.address(login, database),
            clock,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut command = Command::new(self.programs.join("pg_ctl"));
        command.args(["stop", "-m", "immediate", "-s", "-D"]);
        command.arg(self.data()).current_dir("/");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        drop(command.output());
    }
}

/// Where PostgreSQL's programs are. A machine without them fails the test.
fn programs() -> PathBuf {
    let known = (15..=30)
        .rev()
        .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")))
        .chain(["/usr/local/pgsql/bin".into(), "/usr/bin".into()])
        .find(|folder| folder.join("initdb").exists());
    known.expect(
        "PostgreSQL 15 or newer is not installed, so nothing can be said about it: \
         `apt-get install postgresql`, or `cargo xtask test`, which does that",
    )
}

/// Whom the server runs as: it refuses to be root's.
fn unprivileged() -> Option<(u32, u32)> {
    let own = fs::metadata("/proc/self").unwrap();
    if std::os::unix::fs::MetadataExt::uid(&own) != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    ["postgres", "nobody"].iter().find_map(|name| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(|id| id.parse().unwrap());
        Some((ids.next()?, ids.next()?))
    })
}
